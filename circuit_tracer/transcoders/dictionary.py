"""What a dictionary is: transcoders and sparse autoencoders in one internal form.

Per-layer ("plt") and cross-layer ("clt") transcoders stand for MLPs. Sparse autoencoders ("sae")
of the residual stream read and write it after some layers: they stand for no part of the model and
name what is in the stream.

Shapes: T tokens, d model width, F features of a layer, W layers a feature writes to (1 for a
per-layer transcoder, L - l for a cross-layer transcoder reading at layer l).
Source: method.md section 1; Dunefsky et al. 2024 (transcoders), Anthropic 2025 (cross-layer), Gao
et al. 2024 (TopK sparse autoencoders).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit_tracer.errors import DictionaryError
from circuit_tracer.graphs.graph import Identity
from circuit_tracer.models import Model
from circuit_tracer.models.parts import RESIDUAL, MlpReadPoint, ReadPoint, WritePoint
from circuit_tracer.transcoders.decoders import DecoderFile

Activation = Literal["relu", "jumprelu", "topk"]
Kind = Literal["plt", "clt", "sae"]


@dataclass(frozen=True)
class LayerTranscoder:
    """The features that read at one layer."""

    layer: int
    W_enc: Float[Tensor, "F d"]
    b_enc: Float[Tensor, "F"]
    W_dec: Float[Tensor, "F W d"] | DecoderFile
    """`W_dec[:, m - layer]` writes to the MLP output of layer m (a sparse autoencoder's to the
    stream after its layer); a file if it stays on disk."""
    b_dec: Float[Tensor, "d"]
    """Bias of the reconstruction of what is at this layer's writing point."""
    activation: Activation
    threshold: Float[Tensor, "F"] | None = None
    """JumpReLU thresholds."""
    k: int | None = None
    """How many features TopK keeps per token."""
    W_skip: Float[Tensor, "d d"] | None = None
    """Affine skip (d_out, d_in), used as x @ W_skip.T, into the same layer's MLP output."""
    rectified: bool = True
    """Whether ReLU comes before TopK or the thresholds; some published sets leave it out, and a
    feature may then be active with a negative value."""

    @classmethod
    def without_features(cls, layer: int, like: LayerTranscoder) -> LayerTranscoder:
        """A layer that a dictionary of some layers leaves out, with the widths and dtype of one
        that it has."""
        none = like.b_dec.new_zeros(0, like.W_enc.shape[1])
        nothing, zero = none[:, 0], torch.zeros_like(like.b_dec)
        threshold = None if like.threshold is None else nothing
        return LayerTranscoder(
            layer, none, nothing, none[:, None], zero, like.activation, threshold, like.k
        )

    @property
    def n_features(self) -> int:
        """F, the number of features that read here."""
        return self.W_enc.shape[0]

    @property
    def n_written(self) -> int:
        """W, the number of layers that are written to, from this one on."""
        return self.W_dec.shape[1]

    def tensors(self) -> dict[str, Tensor | DecoderFile]:
        """The tensors there are, by name."""
        values = vars(self).items()
        return {name: value for name, value in values if isinstance(value, Tensor | DecoderFile)}

    def pre_activations(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch F"]:
        """Linear part of the encoder."""
        return x @ self.W_enc.T + self.b_enc

    def encode(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch F"]:
        """Feature activations, zero where a feature is silent."""
        return activate(
            self.pre_activations(x),
            self.activation,
            threshold=self.threshold,
            k=self.k,
            rectified=self.rectified,
        )

    def linear_rows(
        self,
        index: Int[Tensor, "n"],
        x: Float[Tensor, "n d"],
        activation: Float[Tensor, "n"],
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n"]]:
        """Vectors and biases with which features are linear in what they read: x @ vector + bias.

        For a transcoder they are the encoder's own, whatever `x` was read and how strongly they
        fired.
        """
        return self.W_enc[index], self.b_enc[index]

    def decoder_rows(self, index: Int[Tensor, "n"], written_layer: int) -> Float[Tensor, "n d"]:
        """What features write to the MLP output of `written_layer`, per unit of activation."""
        if isinstance(self.W_dec, DecoderFile):
            return self.W_dec.rows(index, written_layer - self.layer)
        return self.W_dec[index, written_layer - self.layer]

    def write(
        self, activations: Float[Tensor, "*batch F"], written_layer: int
    ) -> Float[Tensor, "*batch d"]:
        """What activations add to the MLP output of `written_layer`.

        Of a decoder on disk only the rows of active features are read.
        """
        if not isinstance(self.W_dec, DecoderFile):
            return activations @ self.W_dec[:, written_layer - self.layer]
        active = activations.reshape(-1, self.n_features).ne(0).any(0).nonzero().squeeze(1)
        return activations[..., active] @ self.decoder_rows(active, written_layer)

    def summed_decoder(self) -> Float[Tensor, "F d"]:
        """Decoder rows summed over the layers written to, in float32."""
        if isinstance(self.W_dec, DecoderFile):
            return torch.cat([part.float().sum(1) for part in self.W_dec.chunks()])
        return self.W_dec.float().sum(1)

    def skip(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        """The linear skip's part of this layer's reconstruction (zeros without a skip)."""
        if self.W_skip is None:
            return torch.zeros_like(x)
        return x @ self.W_skip.T


def activate(
    pre: Float[Tensor, "*batch F"],
    activation: Activation,
    *,
    threshold: Float[Tensor, "F"] | None = None,
    k: int | None = None,
    rectified: bool = True,
) -> Float[Tensor, "*batch F"]:
    """ReLU, JumpReLU (x where x > threshold) or TopK (ReLU first, then the k largest).

    Without `rectified`, JumpReLU and TopK let negative values pass.
    """
    if activation == "relu":
        return pre.relu()
    if activation == "jumprelu":
        if threshold is None:
            raise DictionaryError("a JumpReLU dictionary needs thresholds; this one has none")
        passed = torch.where(pre > threshold, pre, torch.zeros_like(pre))
        return passed.relu() if rectified else passed
    if k is None:
        raise DictionaryError("a TopK dictionary must say its k; this one does not")
    positive = pre.relu() if rectified else pre
    values, indices = positive.topk(min(k, pre.shape[-1]), dim=-1)
    return torch.zeros_like(pre).scatter(-1, indices, values)


@dataclass(frozen=True)
class Dictionary:
    """Features at a model's layers; all of them, for transcoders."""

    kind: Kind
    layers: tuple[LayerTranscoder, ...] = field(repr=False)
    """By the model's layer. Sparse autoencoders have no features where there is none, and a layer
    is the stream after it."""
    reads: ReadPoint
    identity: Identity
    writes: WritePoint = "mlp.hook_out"
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """What its file says of it beyond the weights (training settings, figures)."""
    notes: tuple[str, ...] = ()
    """What was chosen or assumed when it was opened, in sentences for the user."""

    @property
    def n_layers(self) -> int:
        """Number of layers, equal to the model's."""
        return len(self.layers)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The layers that have features."""
        return tuple(t.layer for t in self.present)

    @property
    def present(self) -> tuple[LayerTranscoder, ...]:
        """Those that have features."""
        return tuple(t for t in self.layers if t.n_features)

    @property
    def named_layers(self) -> str:
        """The same in words: "layer 1", "layers 1, 2"."""
        listed = ", ".join(map(str, self.numbers))
        return f"layer{'' if len(self.numbers) == 1 else 's'} {listed}"

    @property
    def shape(self) -> tuple[int, int]:
        """Number of layers, and width of what is read."""
        return self.n_layers, self.layers[0].W_enc.shape[1]

    def to(self, *, device: torch.device | str, dtype: torch.dtype) -> Dictionary:
        """The dictionary on another device and in another dtype; decoders on disk stay there."""

        def moved(t: LayerTranscoder) -> LayerTranscoder:
            tensors: dict[str, Any] = {
                name: tensor.to(device=device, dtype=dtype) for name, tensor in t.tensors().items()
            }
            return replace(t, **tensors)

        return replace(self, layers=tuple(map(moved, self.layers)))

    def reconstruct(
        self,
        inputs: Sequence[Float[Tensor, "*batch d"]],
        activations: Iterable[Float[Tensor, "*batch _F"]] | None = None,
    ) -> list[Float[Tensor, "*batch d"]]:
        """What the dictionary makes of every layer's writing point, from what it reads at each.

        A layer without features gives zeros. Activations are asked for a layer at a time, and none
        is kept.
        """
        if activations is None:
            activations = (t.encode(x) for t, x in zip(self.layers, inputs, strict=True))
        outputs = [t.b_dec + t.skip(x) for t, x in zip(self.layers, inputs, strict=True)]
        for transcoder, acts in zip(self.layers, activations, strict=True):
            for written in range(transcoder.layer, transcoder.layer + transcoder.n_written):
                outputs[written] = outputs[written] + transcoder.write(acts, written)
        return outputs


def every_layer(layers: Sequence[LayerTranscoder], n_layers: int) -> tuple[LayerTranscoder, ...]:
    """One for each of a model's layers, without features where `layers` has none."""
    given = {layer.layer: layer for layer in layers}
    return tuple(
        given.get(i) or LayerTranscoder.without_features(i, layers[0]) for i in range(n_layers)
    )


def reading_point(name: str, reads: ReadPoint) -> MlpReadPoint:
    """Where the dictionary `name` reads at MLPs.

    DictionaryError for sparse autoencoders of the residual stream, which replace no MLP.
    """
    if reads == RESIDUAL:
        raise DictionaryError(
            f"{name} is a sparse autoencoder of the residual stream: it stands "
            "for no MLP, so no graph can be traced through it; steer or ablate its features, or "
            "trace through transcoders towards one of them as a target"
        )
    return reads


def check_fits(
    name: str, shape: tuple[int, int], model: Model, *, made_for: str | None = None
) -> None:
    """DictionaryError if the dictionary `name` has another depth or width than the model."""
    nouns, wanted = ("layers", "dimensions"), (model.n_layers, model.d_model)
    for noun, theirs, ours in zip(nouns, shape, wanted, strict=True):
        if theirs != ours:
            raise DictionaryError(
                f"the dictionary {name} has {theirs} {noun} and the model {model.identity.name} "
                f"has {ours}; give a dictionary made for this model"
                f"{f' (it was made for {made_for})' if made_for else ''}"
            )
