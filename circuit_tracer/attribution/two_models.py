"""What a tuning changed in the edges into one target: weights, or what they read (method.md 12).

Base and tuned model run the same prompt. The residual stream that the target reads is the sum of
what the modules write: the embedding, every head from every source token, every MLP. Of each
module's change, tuned minus base, three parts sum to the whole:

* changed weights on the base's input: f'(x) - f(x). Of a head, apart: those of values and output
  (the pattern stays the base's), and those of queries and keys (the pattern alone changes);
* the base's weights on the changed input: f(x') - f(x);
* their cross term, what is left of f'(x') - f(x).

Contributions are measured along the base's reading (its frozen norm and unembedding). What the
target's own reading changes is one more row, so that all rows sum to the change of its value.

Shapes: T tokens, d model width, H heads, K key-value heads, h head width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from circuit_tracer.attribution.directions import DirectionTarget
from circuit_tracer.models import Model
from circuit_tracer.models.capture import Capture
from circuit_tracer.models.norms import Norm
from circuit_tracer.models.scores import head_on, head_pattern
from circuit_tracer.models.wiring import Wiring

Module = Literal["embedding", "head", "attention bias", "mlp", "reading"]
NONE = -1
"""Layer, head or source where there is none."""


class ModuleChange(NamedTuple):
    """What one module contributes to the target's value in both models, and why it changed."""

    module: Module
    layer: int
    head: int
    source: int
    """Position that a head reads; the target's own for all other modules."""
    base: float
    tuned: float
    weights: float
    """Changed weights on the base's input; of a head those of values and output."""
    pattern_weights: float
    """Changed queries and keys on the base's input; 0 for what is no head."""
    input: float
    """The base's weights on the changed input."""
    cross: float
    """What both changes together make, beyond each."""


@dataclass(frozen=True)
class TwoModels:
    """The difference of one target's value between two models, taken apart."""

    base: float
    """The target's value in the base model."""
    tuned: float
    changes: tuple[ModuleChange, ...]

    @property
    def residual(self) -> float:
        """What the parts miss of tuned - base: rounding alone."""
        parts = (c.weights + c.pattern_weights + c.input + c.cross for c in self.changes)
        return abs(self.tuned - self.base - sum(parts))


@torch.no_grad()
def compare_edges(
    base: Model,
    tuned: Model,
    token_ids: Sequence[int],
    target: DirectionTarget | tuple[int, int],
    position: int = -1,
) -> TwoModels:
    """Take apart what changed of a direction's value, or of logit(first) - logit(second).

    Both models must be of one architecture and read the same tokens. A direction keeps its vector:
    it is the base's in both.
    """
    captures = [one.capture(list(token_ids)) for one in (base, tuned)]
    at, kept = position % len(token_ids), None
    if not isinstance(target, tuple):
        kept = target.linear(target.seen(base, captures[0])[at])
    sides = [
        _Side(model, capture, target, kept)
        for model, capture in zip((base, tuned), captures, strict=True)
    ]
    ours, theirs = (one.streams[at] for one in sides)
    vector = sides[0].pulled(ours)
    readings = [[side.read(stream) for stream in (ours, theirs)] for side in sides]
    linear = float(vector @ (theirs - ours))
    (plain, moved), (weighed, whole) = readings
    reading = ModuleChange(
        module="reading",
        layer=NONE,
        head=NONE,
        source=at,
        base=0.0,
        tuned=whole - plain - linear,
        weights=weighed - plain,
        pattern_weights=0.0,
        input=moved - plain - linear,
        cross=whole - weighed - moved + plain,
    )
    changes = (*_modules(sides[0], sides[1], vector, at), reading)
    return TwoModels(plain, whole, changes)


class _Side:
    """One of the models on the prompt."""

    def __init__(
        self,
        model: Model,
        capture: Capture,
        target: DirectionTarget | tuple[int, int],
        kept: tuple[Tensor, Tensor] | None,
    ) -> None:
        """`kept` are a direction's vector and constant."""
        self.wiring: Wiring = model.wiring
        self.capture, self.n_layers = capture, model.n_layers
        self.norm: Norm | None = None
        self.constant = 0.0
        self.mlp_there = True
        """Whether the highest layer's MLP writes to what the target reads."""
        if isinstance(target, tuple):
            self.norm, self.streams = self.wiring.final_norm(), capture.resid_final
            rows, bias = model.unembedding, self.wiring.unembedding_bias()
            self.vector = rows[target[0]] - rows[target[1]]
            self.constant = 0.0 if bias is None else float(bias[target[0]] - bias[target[1]])
            return
        self.n_layers, layer = target.layer + 1, target.layer
        self.streams = capture.resid_post(layer)
        if target.reads != "hook_resid_post":
            self.streams, self.mlp_there = capture.resid_mid[layer], False
            if target.reads != "hook_resid_mid":
                self.norm = self.wiring.norm("mlp_norm", layer)
            if self.norm is not None and target.reads == "ln2.hook_normalized":
                bare = torch.ones_like(self.norm.weight)
                self.norm = Norm(bare, None, self.norm.epsilon, self.norm.centred)
        assert kept is not None
        self.vector, self.constant = kept[0], float(kept[1])

    def pulled(self, stream: Float[Tensor, "d"]) -> Float[Tensor, "d"]:
        """The direction at the stream, the norm's scale frozen."""
        if self.norm is None:
            return self.vector
        return self.norm.freeze(stream[None]).pull(self.vector[None], slice(None))[0]

    def read(self, stream: Float[Tensor, "d"]) -> float:
        """The target's value of any stream."""
        seen = (
            stream if self.norm is None else self.norm.freeze(stream[None]).apply(stream[None])[0]
        )
        return float(seen @ self.vector) + self.constant


def _modules(
    base: _Side, tuned: _Side, vector: Float[Tensor, "d"], at: int
) -> Iterator[ModuleChange]:
    """All that write to the stream at a position."""
    ours, theirs = (float(one.capture.resid_pre[0][at] @ vector) for one in (base, tuned))
    yield ModuleChange("embedding", NONE, NONE, at, ours, theirs, theirs - ours, 0.0, 0.0, 0.0)
    for layer in range(base.n_layers):
        parallel = base.wiring.parallel
        last = layer == base.n_layers - 1 and not base.mlp_there
        if not (last and parallel):
            yield from _heads(base, tuned, vector, layer, at)
        if not last:
            yield _mlp(base, tuned, vector, layer, at)


def _mlp(
    base: _Side, tuned: _Side, vector: Float[Tensor, "d"], layer: int, at: int
) -> ModuleChange:
    def written(weights: Wiring, side: _Side) -> float:
        stream = side.capture.resid_mid[layer][at : at + 1]
        norm = weights.norm("mlp_norm", layer)
        seen = stream if norm is None else norm.freeze(stream).apply(stream)
        out = weights.submodule(layer, weights.paths.mlp)(seen[None])[0]
        return float(weights.mlp_added(layer, out)[0] @ vector)

    plain, moved = written(base.wiring, base), written(base.wiring, tuned)
    weighed, whole = written(tuned.wiring, base), written(tuned.wiring, tuned)
    parts = weighed - plain, 0.0, moved - plain, whole - weighed - moved + plain
    return ModuleChange("mlp", layer, NONE, at, plain, whole, *parts)


def _heads(
    base: _Side, tuned: _Side, vector: Float[Tensor, "d"], layer: int, at: int
) -> Iterator[ModuleChange]:
    """Every head from every source token, and what biases write."""

    def written(patterns: Wiring, values: Wiring, side: _Side) -> Float[Tensor, "rows T"]:
        stream = side.capture.resid_pre[layer]
        pattern = torch.stack([
            head_pattern(
                head_on(stream, patterns, layer, head, side.capture.pass_length), patterns, layer
            )[at]
            for head in range(patterns.n_heads)
        ])  # fmt: skip
        return _by_source(values, layer, stream, pattern, vector)

    B, T = base.wiring, tuned.wiring
    plain, whole = written(B, B, base), written(T, T, tuned)
    values, patterns = written(B, T, base) - plain, written(T, B, base) - plain
    moved = written(B, B, tuned) - plain
    cross = whole - plain - values - patterns - moved
    columns = torch.stack([plain, whole, values, patterns, moved, cross], -1).tolist()
    for head, row in enumerate(columns[:-1]):
        for source, parts in enumerate(row[: at + 1]):
            yield ModuleChange("head", layer, head, source, *parts)
    yield ModuleChange("attention bias", layer, NONE, at, *columns[-1][0])


def _by_source(
    wiring: Wiring,
    layer: int,
    stream: Float[Tensor, "T d"],
    pattern: Float[Tensor, "H T"],
    vector: Float[Tensor, "d"],
) -> Float[Tensor, "rows T"]:
    """What each head writes from each source along a vector; the last row holds the bias first."""
    weights = wiring.attention_weights(layer)
    before, after = wiring.norm("attention_norm", layer), wiring.norm("attention_post_norm", layer)
    seen = stream if before is None else before.freeze(stream).apply(stream)
    values = torch.einsum("khd,td->tkh", weights.W_V, seen)
    values = values if weights.b_V is None else values + weights.b_V
    values = values.repeat_interleave(len(weights.W_O) // values.shape[1], dim=1)
    written = torch.einsum("ht,thc,hdc->htd", pattern, values, weights.W_O)
    bias = torch.zeros_like(vector) if weights.b_O is None else weights.b_O
    if after is not None:
        frozen = after.freeze((written.sum((0, 1)) + bias)[None])
        written, bias = frozen.push(written, slice(None)), frozen.apply(bias[None])[0]
    own = torch.zeros_like(written[:1, :, 0])
    own[0, 0] = bias @ vector
    return torch.cat([written @ vector, own])
