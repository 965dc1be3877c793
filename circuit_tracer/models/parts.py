"""What a wiring knows of a model: places, weights, module paths.

Shapes: d model width, H query heads, K key-value heads, h head width, F neurons of a layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from jaxtyping import Float
from torch import Tensor

from circuit_tracer.models.norms import Norm

MlpReadPoint = Literal["mlp.hook_in", "ln2.hook_normalized", "hook_resid_mid"]
"""Where a transcoder reads: the MLP's input (normalised, with the norm's weight), the same without
the norm's weight, or the residual stream before the norm (TransformerLens names, formats.md)."""

MlpWritePoint = Literal["mlp.hook_out", "hook_mlp_out"]
"""Where a transcoder writes: the MLP module's output, or what is added to the residual stream. They
differ in models with a norm after the MLP (Gemma 2 and 3, OLMo 2)."""

ResidualPoint = Literal["hook_resid_post"]
"""The residual stream after a layer, which a sparse autoencoder reads and writes."""
RESIDUAL: Final = "hook_resid_post"

ReadPoint = Literal[MlpReadPoint, ResidualPoint]
"""Where a dictionary reads."""
WritePoint = Literal[MlpWritePoint, ResidualPoint]
"""Where a dictionary writes; the residual stream exactly if it reads there."""

NormPlace = Literal["attention_norm", "attention_post_norm", "mlp_norm", "mlp_post_norm"]
"""The norms of a decoder layer, as `Paths` calls them."""
Projected = Literal["q", "k", "v"]
"""Queries, keys, values."""


@dataclass(frozen=True)
class AttentionWeights:
    """The value and output maps of one layer; queries and keys are frozen into the pattern."""

    W_V: Float[Tensor, "K h d"]
    W_O: Float[Tensor, "H d h"]
    b_V: Float[Tensor, "K h"] | None
    b_O: Float[Tensor, "d"] | None


@dataclass(frozen=True)
class QueryKeyWeights:
    """The query and key maps of one layer, and what turns their products into scores."""

    W_Q: Float[Tensor, "H h d"]
    W_K: Float[Tensor, "K h d"]
    b_Q: Float[Tensor, "H h"] | None
    b_K: Float[Tensor, "K h"] | None
    q_norm: Norm | None
    """On queries, before the rotation: over each head's h numbers or over all H * h of them,
    as wide as its weight is."""
    k_norm: Norm | None
    scaling: float
    """What the product of query and key is multiplied by."""
    softcap: float | None
    """Scores are capped to +-this by tanh before the softmax."""


@dataclass(frozen=True)
class Rotary:
    """Rotary positions of one layer: the first r numbers of a query or key are turned."""

    cos: Float[Tensor, "T r"]
    sin: Float[Tensor, "T r"]


@dataclass(frozen=True)
class MlpWeights:
    """One MLP as neurons: down @ (act(gate x) * (up x)), or down @ act(gate x) without an `up`."""

    gate: Float[Tensor, "F d"]
    gate_bias: Float[Tensor, "F"] | None
    up: Float[Tensor, "F d"] | None
    up_bias: Float[Tensor, "F"] | None
    down: Float[Tensor, "d F"]
    down_bias: Float[Tensor, "d"] | None
    act: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Paths:
    """Module paths of one architecture, relative to the model; `layer` holds a `{}`.

    Norms are None where the architecture has none.
    """

    embedding: str
    layer: str
    attention_norm: str | None
    attention: str
    mlp_norm: str | None
    mlp: str
    final_norm: str
    head: str
    attention_post_norm: str | None = None
    """Applied to attention's output before it is added to the residual stream."""
    mlp_post_norm: str | None = None
    rotary: str | None = None
    """What turns queries and keys by their positions."""


_InAttention = Literal["attention_norm", "attention_output", "attention", "attention_post_norm"]
PlaceInLayer = Literal[_InAttention, "mlp_norm", "mlp", "mlp_post_norm"]
"""Modules of a decoder layer, in the order they run; "attention_output" is the projection of what
the heads fetched."""
Place = Literal["embedding", PlaceInLayer, "layer", "final_norm"]
"""A module whose output can be edited, as `Paths` calls it. A layer's output is the residual stream
after it."""
