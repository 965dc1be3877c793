"""The local replacement model: one prompt's forward pass, frozen until only linear maps are left.

Attention patterns and norm denominators are held; every MLP output is (active features x decoders)
+ skip + decoder bias + error, the error being the true output minus that reconstruction, a constant
per (layer, position). By construction it reproduces the model. Source: method.md section 2;
"Circuit Tracing" (Anthropic, March 2025), local replacement model.

Shapes: T tokens, L layers, d model width, H heads, K key-value heads, Q = H / K, h head width,
N active features.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit_tracer.errors import DictionaryError
from circuit_tracer.models.capture import Capture
from circuit_tracer.models.wiring import AttentionWeights, Wiring
from circuit_tracer.transcoders.dictionary import Dictionary


@dataclass(frozen=True)
class ActiveFeatures:
    """The features that fire on the prompt, sorted by layer, position, index."""

    layer: Int[Tensor, "N"]
    position: Int[Tensor, "N"]
    index: Int[Tensor, "N"]
    activation: Float[Tensor, "N"]

    def __len__(self) -> int:
        return len(self.layer)


@dataclass(frozen=True)
class FrozenAttention:
    """One layer's attention as a linear map of the residual stream in front of its norm.

    The norm's weight is folded into the values, its frozen scale into the pattern's keys.
    """

    pattern: Float[Tensor, "K j Q i"]
    """scale[j] x pattern[i, j] of query head (K, Q), transposed for the walk downwards."""
    W_O: Float[Tensor, "d Khq"]
    """(d, K * Q * h)"""
    W_V: Float[Tensor, "Kh d"]
    """(K * h, d), times the norm's weight."""
    constant: Float[Tensor, "T d"] | None
    """What the biases add to the residual stream, where there are any."""
    n_groups: int
    """Q, query heads per key-value head."""

    def push(self, stream: Float[Tensor, "T d"]) -> Float[Tensor, "T T d"]:
        """What each position j of a stream in front of the norm is behind attention at each i.

        [j, i]: its own stream for i = j, plus what the heads at i fetch from j.
        """
        T, d = stream.shape
        K = self.pattern.shape[0]
        values = (stream @ self.W_V.T).view(T, K, -1)
        heads = torch.einsum("kjqi,jkh->jikqh", self.pattern, values)
        moved = (heads.reshape(T * T, -1) @ self.W_O.T).view(T, T, d)
        own = torch.arange(T, device=stream.device)
        moved[own, own] += stream
        return moved

    def pull(self, cotangent: Float[Tensor, "B P d"]) -> None:
        """Turn cotangents behind attention into those in front of its norm, in place."""
        B, P, d = cotangent.shape
        K, Q = self.pattern.shape[0], self.n_groups
        heads = (cotangent.view(B * P, d) @ self.W_O).view(B, P, K, Q, -1)
        heads = heads.permute(2, 3, 1, 0, 4).reshape(K, Q * P, -1)
        pattern = self.pattern[:, :P, :, :P].reshape(K, P, Q * P)
        values = torch.bmm(pattern, heads).view(K, P, B, -1).permute(2, 1, 0, 3)
        cotangent.view(B * P, d).addmm_(values.reshape(B * P, -1), self.W_V)


@dataclass(frozen=True)
class FrozenLayer:
    """One decoder layer of the local replacement model."""

    attention: FrozenAttention
    read_gain: Float[Tensor, "T d"]
    """Residual stream in front of the MLP norm -> what the dictionary reads."""
    skip: Float[Tensor, "d d"] | None
    """(d_out, d_in) affine skip from the reading point to the MLP's output."""
    error: Float[Tensor, "T d"]
    """True MLP output minus reconstruction; zero at zeroed positions."""
    constant: Float[Tensor, "T d"]
    """Decoder bias; the whole MLP output at zeroed positions."""


@dataclass(frozen=True)
class LocalReplacementModel:
    """Everything the sweep needs, on one device and in one dtype."""

    layers: tuple[FrozenLayer, ...]
    features: ActiveFeatures
    dictionary: Dictionary
    token_ids: Int[Tensor, "T"]
    embeddings: Float[Tensor, "T d"]
    final_gain: Float[Tensor, "T d"]
    """Residual stream in front of the final norm -> what the unembedding reads."""
    n_zeroed: int
    """How many leading positions carry no features and no errors (1 for BOS)."""

    @property
    def n_layers(self) -> int:
        """L."""
        return len(self.layers)

    @property
    def n_tokens(self) -> int:
        """T, BOS included."""
        return self.embeddings.shape[0]

    def encoder_rows(self, rows: Int[Tensor, "n"]) -> Float[Tensor, "n d"]:
        """Encoder vectors of active features, pulled back to the residual stream."""
        features = self.features
        vectors = self.embeddings.new_empty(len(rows), self.embeddings.shape[1])
        for layer, frozen in enumerate(self.layers):
            here = (features.layer[rows] == layer).nonzero().squeeze(1)
            if len(here):
                index = features.index[rows[here]]
                gain = frozen.read_gain[features.position[rows[here]]]
                vectors[here] = self.dictionary.layers[layer].W_enc[index] * gain
        return vectors

    def encoder_biases(self) -> Float[Tensor, "N"]:
        """Encoder biases of all active features, which are sorted by layer."""
        features, layers = self.features, self.dictionary.layers
        return torch.cat([t.b_enc[features.index[features.layer == t.layer]] for t in layers])


def build_replacement(
    capture: Capture, wiring: Wiring, dictionary: Dictionary, *, n_zeroed: int = 1
) -> LocalReplacementModel:
    """Freeze a captured forward pass around a dictionary.

    Features and errors at the first `n_zeroed` positions are left out and their MLP outputs become
    constants (method.md section 3). The dictionary must fit the model (`check_fits`).
    """
    L = wiring.n_layers
    reads = [
        wiring.read(dictionary.reads, i, capture.resid_mid[i], capture.mlp_in[i]) for i in range(L)
    ]
    activations = [t.encode(x) for t, x in zip(dictionary.layers, reads, strict=True)]
    for acts in activations:
        acts[:n_zeroed] = 0
    reconstructions = dictionary.reconstruct(reads, activations)
    layers = []
    for i in range(L):
        constant = dictionary.layers[i].b_dec.expand_as(capture.mlp_out[i]).clone()
        error = capture.mlp_out[i] - reconstructions[i]
        # A zeroed position still receives what the skip would carry there: hold its true output.
        constant[:n_zeroed] = capture.mlp_out[i][:n_zeroed]
        error[:n_zeroed] = 0
        layers.append(
            FrozenLayer(
                attention=freeze_attention(capture, wiring, i),
                read_gain=wiring.read_gain(dictionary.reads, i, capture.resid_mid[i]),
                skip=dictionary.layers[i].W_skip,
                error=error,
                constant=constant,
            )
        )
    scale = wiring.norm_scale(capture.resid_final)
    return LocalReplacementModel(
        layers=tuple(layers),
        features=_active(activations),
        dictionary=dictionary,
        token_ids=capture.token_ids,
        embeddings=capture.embeddings,
        final_gain=scale[:, None] * wiring.final_norm_weight(),
        n_zeroed=n_zeroed,
    )


def check_fits(dictionary: Dictionary, wiring: Wiring) -> None:
    """Raise DictionaryError when a dictionary's layers or width are not the model's."""
    name = dictionary.identity.name
    if dictionary.n_layers != wiring.n_layers:
        raise DictionaryError(
            f"the dictionary {name} has {dictionary.n_layers} layers and the model "
            f"{wiring.n_layers}; it was made for another model"
        )
    width = dictionary.layers[0].W_enc.shape[1]
    if width != wiring.d_model:
        raise DictionaryError(
            f"the dictionary {name} reads vectors of width {width} and the model's are "
            f"{wiring.d_model} wide; it was made for another model"
        )


def freeze_attention(capture: Capture, wiring: Wiring, layer: int) -> FrozenAttention:
    """One layer's attention with its pattern and its norm's denominator held."""
    weights = wiring.attention_weights(layer)
    K, h, d = weights.W_V.shape
    H = weights.W_O.shape[0]
    scale = wiring.norm_scale(capture.resid_pre[layer])
    pattern = capture.patterns[layer] * scale  # (H, i, j), keys scaled
    norm_weight = wiring.attention_norm_weight(layer)
    return FrozenAttention(
        pattern=pattern.view(K, H // K, *pattern.shape[1:]).permute(0, 3, 1, 2).contiguous(),
        W_O=weights.W_O.permute(1, 0, 2).reshape(d, H * h).contiguous(),
        W_V=(weights.W_V * norm_weight).reshape(K * h, d).contiguous(),
        constant=_attention_constant(weights, capture.patterns[layer]),
        n_groups=H // K,
    )


def _attention_constant(
    weights: AttentionWeights, pattern: Float[Tensor, "H T T"]
) -> Float[Tensor, "T d"] | None:
    """What value and output biases add at every position."""
    if weights.b_V is None and weights.b_O is None:
        return None
    T, d = pattern.shape[-1], weights.W_V.shape[-1]
    constant = pattern.new_zeros(T, d)
    if weights.b_V is not None:
        H, K = weights.W_O.shape[0], weights.b_V.shape[0]
        bias = weights.b_V.repeat_interleave(H // K, dim=0)
        per_head = torch.einsum("hdk,hk->hd", weights.W_O, bias)
        constant = constant + torch.einsum("hij,hd->id", pattern, per_head)
    if weights.b_O is not None:
        constant = constant + weights.b_O
    return constant


def _active(activations: list[Float[Tensor, "T F"]]) -> ActiveFeatures:
    found = [acts.nonzero() for acts in activations]  # rows (position, index), sorted
    layers = [torch.full_like(rows[:, 0], layer) for layer, rows in enumerate(found)]
    rows = torch.cat(found)
    return ActiveFeatures(
        layer=torch.cat(layers),
        position=rows[:, 0],
        index=rows[:, 1],
        activation=torch.cat(
            [a[f[:, 0], f[:, 1]] for a, f in zip(activations, found, strict=True)]
        ),
    )
