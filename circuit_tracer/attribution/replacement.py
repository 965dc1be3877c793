"""The local replacement model: one prompt's forward pass, frozen until only linear maps are left.

Attention patterns and norm denominators are frozen; every MLP output is (active features x
decoders) + skip + decoder bias + error, the error being the true output minus that reconstruction,
a constant per (layer, position). By construction it reproduces the model. Source: method.md section
2; "Circuit Tracing" (Anthropic, March 2025), local replacement model.

Shapes: T tokens, L layers, d model width, N active features.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit_tracer.attribution.features import ActiveFeatures, EveryNeuron, Features, Places
from circuit_tracer.models.capture import Capture
from circuit_tracer.models.frozen import (
    FoldedAttention,
    FrozenAttention,
    fold_attention,
    freeze_attention,
)
from circuit_tracer.models.norms import FrozenNorm
from circuit_tracer.models.parts import RESIDUAL, MlpReadPoint
from circuit_tracer.models.wiring import Wiring
from circuit_tracer.transcoders.dictionary import reading_point
from circuit_tracer.transcoders.neurons import AnyDictionary, Neurons


@dataclass(frozen=True)
class FrozenLayer:
    """One decoder layer of the local replacement model."""

    attention: FrozenAttention
    read: FrozenNorm
    """Residual stream before the MLP's norm -> what the dictionary reads."""
    write: FrozenNorm | None
    """What the dictionary writes -> residual stream; None where it writes there itself."""
    seen: Float[Tensor, "T d"]
    """What the dictionary reads."""
    skip: Float[Tensor, "d d"] | None
    """(d_out, d_in) affine skip from the reading to the writing point."""
    error: Float[Tensor, "T d"] | None
    """True output minus reconstruction, in the residual stream; zero at zeroed positions. None for
    neurons, which reconstruct everything."""
    constant: Float[Tensor, "T d"]
    """Biases, in the residual stream; at zeroed positions all of the MLP's output but what the skip
    carries."""

    def pull_write(
        self, cotangent: Float[Tensor, "*batch n d"], position: Int[Tensor, "n"] | slice
    ) -> Float[Tensor, "*batch n d"]:
        """Cotangents at the residual stream as cotangents where the dictionary writes."""
        return cotangent if self.write is None else self.write.pull(cotangent, position)

    def push_write(
        self, x: Float[Tensor, "*batch n d"], position: Int[Tensor, "n"] | slice
    ) -> Float[Tensor, "*batch n d"]:
        """What is written at these positions as what is added to the residual stream."""
        return x if self.write is None else self.write.push(x, position)

    def pull_skip(
        self, cotangent: Float[Tensor, "*batch n d"], position: Int[Tensor, "n"] | slice
    ) -> Float[Tensor, "*batch n d"] | None:
        """What the skip carries down, zeroed positions included; None without one."""
        if self.skip is None:
            return None
        written = self.pull_write(cotangent, position).reshape(-1, cotangent.shape[-1])
        return self.read.pull((written @ self.skip).view(cotangent.shape), position)

    def push_skip(self, streams: Float[Tensor, "*batch P d"]) -> Float[Tensor, "*batch P d"]:
        """What the skip adds to streams at the MLP's norm input, zeroed positions included."""
        if self.skip is None:
            return torch.zeros_like(streams)
        here = slice(streams.shape[-2])
        return self.push_write(self.read.push(streams, here) @ self.skip.T, here)


@dataclass(frozen=True)
class LocalReplacementModel:
    """Everything the sweep needs, on one device and in one dtype."""

    layers: tuple[FrozenLayer, ...]
    features: Features
    dictionary: AnyDictionary
    token_ids: Int[Tensor, "T"]
    embeddings: Float[Tensor, "T d"]
    beneath: Float[Tensor, "T d"] | None
    """What else is at the bottom of the residual stream (position embeddings): no node."""
    final: FrozenNorm
    """Residual stream -> what the explained targets read: the final norm, unless `until` says."""
    parallel: bool
    """Whether attention and MLP of a layer read the same stream."""
    n_zeroed: int
    """How many leading positions carry no features and no errors (1 for BOS)."""
    at_mlp: bool = False
    """Whether the targets read before the highest layer's MLP, not after it."""

    @property
    def target_level(self) -> int:
        """The level (`SweepTargets`) at which the explained targets read."""
        return self.n_layers - int(self.at_mlp)

    def until(self, layer: int, read: FrozenNorm, *, at_mlp: bool) -> LocalReplacementModel:
        """The part of it below a target that reads after a layer, or before its MLP."""
        return replace(
            self,
            layers=self.layers[: layer + 1],
            features=self.features.until(layer),
            final=read,
            at_mlp=at_mlp,
        )

    @property
    def n_layers(self) -> int:
        """Number of decoder layers, L."""
        return len(self.layers)

    @property
    def n_tokens(self) -> int:
        """Number of tokens, T, BOS included."""
        return self.embeddings.shape[0]

    @property
    def has_errors(self) -> bool:
        """Whether there are error nodes: neurons have none."""
        return self.layers[0].error is not None

    def linear_rows(self, places: Places) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n"]]:
        """Features' vectors, pulled back to the residual stream, and their own biases."""
        vectors = self.embeddings.new_empty(len(places.layer), self.embeddings.shape[1])
        biases = self.embeddings.new_empty(len(places.layer))
        for layer, here, some in self._by_layer(places):
            vectors[here], biases[here] = self.layer_rows(layer, some)
        return vectors, biases

    def layer_rows(
        self, layer: int, places: Places
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n"]]:
        """`linear_rows` of features that all read at this layer."""
        read = self.layers[layer].read
        vector, bias = self._read_rows(layer, places)
        if read.bias is not None:
            bias = bias + vector @ read.bias
        return read.pull(vector, places.position), bias

    def terms_at(self, places: Places) -> Float[Tensor, "n"]:
        """Absolute sum of the products that add up to each feature's value.

        Where most of them cancel, a unit roundoff of it is what the value itself is worth.
        """
        terms = self.embeddings.new_empty(len(places.layer))
        for layer, here, some in self._by_layer(places):
            vector, bias = self._read_rows(layer, some)
            seen = self.layers[layer].seen[some.position]
            terms[here] = (vector * seen).abs().sum(-1) + bias.abs()
        return terms

    def _read_rows(
        self, layer: int, places: Places
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n"]]:
        """Vectors and biases of features at what the dictionary reads."""
        seen = self.layers[layer].seen[places.position]
        return self.dictionary.layers[layer].linear_rows(places.index, seen, places.activation)

    def _by_layer(self, places: Places) -> Iterator[tuple[int, Int[Tensor, "m"], Places]]:
        """Layer by layer which features read there."""
        for layer in range(self.n_layers):
            here = (places.layer == layer).nonzero().squeeze(1)
            if len(here):
                yield layer, here, places.take(here)


@dataclass(frozen=True)
class Encoded:
    """What a dictionary makes of a prompt."""

    seen: list[Float[Tensor, "T d"]]
    """What it reads, by layer."""
    features: Features
    """None at zeroed positions."""
    reconstruction: list[Float[Tensor, "T d"]] | None
    """By layer; None for neurons, which leave nothing over."""


def encode(
    captures: Sequence[Capture], wiring: Wiring, dictionary: AnyDictionary, *, n_zeroed: int = 1
) -> list[Encoded]:
    """Encode prompts of equal length together: an encoder's weights are read once for all.

    Of transcoders, which may have a hundred times as many features as are active, the activations
    of one layer are in memory at a time.
    """
    seen = read_streams(captures, wiring, dictionary)
    layers = activations_by_layer(seen, dictionary, n_zeroed)
    features: list[Features]
    if isinstance(dictionary, Neurons):
        given, every = None, list(layers)
        features = [EveryNeuron.of(list(one), n_zeroed) for one in zip(*every, strict=True)]
    else:
        active: list[list[Places]] = [[] for _ in captures]
        given = dictionary.reconstruct(seen, _listed(layers, active))
        features = [ActiveFeatures.joined(one) for one in active]
    return [
        Encoded(
            seen=[of_layer[one] for of_layer in seen],
            features=features[one],
            reconstruction=None if given is None else [of_layer[one] for of_layer in given],
        )
        for one in range(len(captures))
    ]


def _listed(
    layers: Iterable[Float[Tensor, "B T _F"]], active: list[list[Places]]
) -> Iterator[Float[Tensor, "B T _F"]]:
    """The same activations; what is not zero is added to each prompt's list as they pass."""
    for layer, activations in enumerate(layers):
        for places, own in zip(active, activations, strict=True):
            places.append(Places.nonzero(layer, own))
        yield activations


def read_streams(
    captures: Sequence[Capture], wiring: Wiring, dictionary: AnyDictionary
) -> list[Float[Tensor, "B T d"]]:
    """By layer what a dictionary reads of prompts of equal length."""
    reads = dictionary.reads
    if reads == RESIDUAL:
        layers = range(wiring.n_layers)
        return [torch.stack([capture.resid_post(i) for capture in captures]) for i in layers]
    seen = []
    for i in range(wiring.n_layers):
        resid_mid = torch.stack([capture.resid_mid[i] for capture in captures])
        mlp_in = torch.stack([capture.mlp_in[i] for capture in captures])
        seen.append(wiring.read(reads, i, resid_mid, mlp_in))
    return seen


def activations_by_layer(
    seen: Sequence[Float[Tensor, "B T d"]], dictionary: AnyDictionary, n_zeroed: int
) -> Iterator[Float[Tensor, "B T _F"]]:
    """The features' activations, zero at the first `n_zeroed` positions, a layer when asked for."""
    for i, read in enumerate(seen):
        activations = dictionary.layers[i].encode(read)
        activations[:, :n_zeroed] = 0
        yield activations


def build_replacement(
    capture: Capture,
    wiring: Wiring,
    dictionary: AnyDictionary,
    *,
    n_zeroed: int = 1,
    encoded: Encoded | None = None,
    folded: Sequence[FoldedAttention] | None = None,
) -> LocalReplacementModel:
    """Freeze a captured forward pass around a dictionary.

    Features and errors at the first `n_zeroed` positions are left out: there the skip carries on
    and the rest of the MLP's output is a constant (method.md section 3). The dictionary must fit
    the model (`check_fits`). Of many prompts `encoded`, what `encode` gave for this one and the
    same positions, and `folded`, the model's attention by layer, save doing it again.
    """
    L = wiring.n_layers
    if folded is None:
        folded = [fold_attention(wiring, layer) for layer in range(L)]
    if encoded is None:
        (encoded,) = encode([capture], wiring, dictionary, n_zeroed=n_zeroed)
    beneath = capture.resid_pre[0] - capture.embeddings
    return LocalReplacementModel(
        layers=tuple(
            _frozen_layer(capture, wiring, dictionary, i, encoded, folded[i], n_zeroed)
            for i in range(L)
        ),
        features=encoded.features,
        dictionary=dictionary,
        token_ids=capture.token_ids,
        embeddings=capture.embeddings,
        beneath=beneath if bool(beneath.any()) else None,
        final=wiring.final_norm().freeze(capture.resid_final),
        parallel=wiring.parallel,
        n_zeroed=n_zeroed,
    )


def _frozen_layer(
    capture: Capture,
    wiring: Wiring,
    dictionary: AnyDictionary,
    layer: int,
    encoded: Encoded,
    folded: FoldedAttention,
    n_zeroed: int,
) -> FrozenLayer:
    """One layer around what the dictionary reads and gives there."""
    transcoder, norm = dictionary.layers[layer], wiring.norm("mlp_post_norm", layer)
    written = capture.mlp_out[layer]
    write = None if norm is None else norm.freeze(written)
    added = written if write is None else write.apply(written)
    if dictionary.writes == "hook_mlp_out":
        written, write = added, None
    reads = reading_point(dictionary.identity.name, dictionary.reads)
    read = freeze_read(wiring, reads, layer, capture.resid_mid[layer])
    constant = transcoder.b_dec.expand_as(written)
    if transcoder.W_skip is not None and read.bias is not None:
        constant = constant + transcoder.W_skip @ read.bias
    given = encoded.reconstruction
    error = None if given is None else written - given[layer]
    if write is not None:
        constant = write.apply(constant)
        error = None if error is None else write.push(error, slice(None))
    if error is not None:
        error[:n_zeroed] = 0
    frozen = FrozenLayer(
        attention=freeze_attention(capture, folded, layer),
        read=read,
        write=write,
        seen=encoded.seen[layer],
        skip=transcoder.W_skip,
        error=error,
        constant=constant,
    )
    # As upstream has it: zeroed positions keep their true output, and the skip carries on in it.
    zeroed = added[:n_zeroed] - frozen.push_skip(capture.resid_mid[layer][:n_zeroed])
    return replace(frozen, constant=torch.cat([zeroed, constant[n_zeroed:]]))


def freeze_read(
    wiring: Wiring, reads: MlpReadPoint, layer: int, resid_mid: Float[Tensor, "T d"]
) -> FrozenNorm:
    """From the residual stream before the MLP's norm to the reading point."""
    norm = wiring.norm("mlp_norm", layer)
    if norm is None or reads == "hook_resid_mid":
        return FrozenNorm.identity(resid_mid)
    return norm.freeze(resid_mid, weighted=reads == "mlp.hook_in")
