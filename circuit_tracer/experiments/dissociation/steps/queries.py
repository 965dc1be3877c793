"""Change a head's query alone: at one position, in that head, give it the query of another prompt.

The head then looks elsewhere from there; its keys and values, and all other heads, see what they
saw. What the changed pattern fetches instead is added to attention's output. The other prompt's
query is the one of its own untouched pass; both prompts must be equally long, because queries are
turned by their position.

Source: "Tracing Attention Computation Through Feature Interactions" (Anthropic, July 2025), where
concordance heads are tested on their query side. Patterns are computed from the wiring's weights
over the positions that the layer's mask leaves a query.

Shapes: B rows, n rows that change a head, T tokens, d model width, h head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit_tracer.models import Model
from circuit_tracer.models.norms import Norm
from circuit_tracer.models.parts import Place
from circuit_tracer.models.scores import norm_gain, turned


class QueryEdit(NamedTuple):
    """One head of one row that gets another query."""

    row: int
    layer: int
    head: int
    position: int
    given: Float[Tensor, "d"]
    """What the other prompt's attention reads at that position of that layer."""


class QuerySwapping:
    """A pass whose rows change the queries of some heads."""

    def __init__(self, model: Model, edits: Sequence[QueryEdit], *, n_tokens: int) -> None:
        """Of rows of `n_tokens` tokens each."""
        self.wiring, self.n_tokens = model.wiring, n_tokens
        self.by_layer: dict[int, dict[int, list[QueryEdit]]] = {}
        for edit in edits:
            self.by_layer.setdefault(edit.layer, {}).setdefault(edit.head, []).append(edit)

    def wants(self, place: Place, layer: int) -> bool:
        """Attention of layers with a changed head."""
        return place == "attention" and layer in self.by_layer

    def edit(self, place: Place, layer: int, seen: Tensor, given: Tensor) -> Tensor:
        """Attention's output with what the changed heads fetch instead."""
        out, weights = given.clone(), self.wiring.attention_weights(layer)
        for head, edits in self.by_layer[layer].items():
            rows = torch.tensor([edit.row for edit in edits], device=seen.device)
            at = torch.tensor([edit.position for edit in edits], device=seen.device)
            theirs = torch.stack([edit.given for edit in edits])
            moved = self._moved(layer, head, seen[rows], at, theirs)
            kv = head // (self.wiring.n_heads // self.wiring.n_kv_heads)
            values = seen[rows] @ weights.W_V[kv].T
            if weights.b_V is not None:
                values = values + weights.b_V[kv]
            fetched = torch.einsum("nt,nth->nh", moved, values)
            out.index_put_((rows, at), fetched @ weights.W_O[head].T, accumulate=True)
        return out

    def _moved(
        self,
        layer: int,
        head: int,
        seen: Float[Tensor, "n T d"],
        at: Int[Tensor, "n"],
        theirs: Float[Tensor, "n d"],
    ) -> Float[Tensor, "n T"]:
        """The head's pattern at `at` with another query, minus that with its own."""
        w, rotary = self.wiring.query_key_weights(layer), self.wiring.rotary(layer, self.n_tokens)
        kv = head // (self.wiring.n_heads // self.wiring.n_kv_heads)
        keys = turned(_projected(w.W_K, w.b_K, w.k_norm, kv, 1.0, seen), rotary, slice(None))
        keys_at = torch.arange(seen.shape[1], device=seen.device)
        sees = self.wiring.sees(layer, at[:, None], keys_at)
        patterns = []
        for x in (theirs, seen[torch.arange(len(seen), device=seen.device), at]):
            query = turned(_projected(w.W_Q, w.b_Q, w.q_norm, head, w.scaling, x), rotary, at)
            scores = torch.einsum("nh,nth->nt", query, keys)
            if w.softcap is not None:
                scores = w.softcap * torch.tanh(scores / w.softcap)
            patterns.append(scores.masked_fill(~sees, -torch.inf).softmax(-1))
        return patterns[0] - patterns[1]


def _projected(
    W: Float[Tensor, "heads h d"],
    bias: Float[Tensor, "heads h"] | None,
    norm: Norm | None,
    head: int,
    scaling: float,
    x: Float[Tensor, "n *T d"],
) -> Float[Tensor, "n *T h"]:
    """Queries or keys of one head, normed."""
    flat = x.reshape(-1, x.shape[-1])
    raw = flat @ W[head].T
    raw = raw if bias is None else raw + bias[head]
    gain = norm_gain(flat, W, bias, norm, head) * scaling
    return (raw * gain).view(*x.shape[:-1], -1)
