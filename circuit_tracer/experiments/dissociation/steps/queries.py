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
from circuit_tracer.models.capture import Place
from circuit_tracer.models.norms import Norm
from circuit_tracer.models.scores import norm_gain, turned
from circuit_tracer.models.wiring import Wiring


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
        self.by_layer: dict[int, dict[int, list[QueryEdit]]] = {}
        for edit in edits:
            self.by_layer.setdefault(edit.layer, {}).setdefault(edit.head, []).append(edit)
        self.heads = {layer: _Heads(model.wiring, layer, n_tokens) for layer in self.by_layer}

    def wants(self, place: Place, layer: int) -> bool:
        """Attention of layers with a changed head."""
        return place == "attention" and layer in self.by_layer

    def edit(self, place: Place, layer: int, seen: Tensor, given: Tensor) -> Tensor:
        """Attention's output with what the changed heads fetch instead."""
        out, heads = given.clone(), self.heads[layer]
        for head, edits in self.by_layer[layer].items():
            rows = torch.tensor([edit.row for edit in edits], device=seen.device)
            at = torch.tensor([edit.position for edit in edits], device=seen.device)
            theirs = torch.stack([edit.given for edit in edits])
            moved = heads.moved(head, seen[rows], at, theirs)
            out.index_put_((rows, at), moved, accumulate=True)
        return out


class _Heads:
    """One layer's heads, from what attention reads to what they add to its output."""

    def __init__(self, wiring: Wiring, layer: int, n_tokens: int) -> None:
        self.wiring, self.layer = wiring, layer
        self.weights = wiring.query_key_weights(layer)
        self.mixing = wiring.attention_weights(layer)
        self.rotary = wiring.rotary(layer, n_tokens)
        self.group = wiring.n_heads // wiring.n_kv_heads

    def moved(
        self,
        head: int,
        seen: Float[Tensor, "n T d"],
        at: Int[Tensor, "n"],
        theirs: Float[Tensor, "n d"],
    ) -> Float[Tensor, "n d"]:
        """What the head adds with another query at `at`, minus what it adds with its own."""
        w, kv = self.weights, head // self.group
        own = seen[torch.arange(len(seen), device=seen.device), at]
        keys = self._projected(w.W_K, w.b_K, w.k_norm, kv, 1.0, seen, slice(None))
        patterns = [
            self._pattern(self._projected(w.W_Q, w.b_Q, w.q_norm, head, w.scaling, x, at), keys, at)
            for x in (theirs, own)
        ]
        values = seen @ self.mixing.W_V[kv].T
        if self.mixing.b_V is not None:
            values = values + self.mixing.b_V[kv]
        fetched = torch.einsum("nt,nth->nh", patterns[0] - patterns[1], values)
        return fetched @ self.mixing.W_O[head].T

    def _pattern(
        self, query: Float[Tensor, "n h"], keys: Float[Tensor, "n T h"], at: Int[Tensor, "n"]
    ) -> Float[Tensor, "n T"]:
        scores = torch.einsum("nh,nth->nt", query, keys)
        cap = self.weights.softcap
        scores = scores if cap is None else cap * torch.tanh(scores / cap)
        keys_at = torch.arange(keys.shape[1], device=keys.device)
        seen = self.wiring.sees(self.layer, at[:, None], keys_at)
        return scores.masked_fill(~seen, -torch.inf).softmax(-1)

    def _projected(
        self,
        W: Float[Tensor, "heads h d"],
        bias: Float[Tensor, "heads h"] | None,
        norm: Norm | None,
        head: int,
        scaling: float,
        x: Float[Tensor, "n *T d"],
        at: slice | Int[Tensor, "n"],
    ) -> Float[Tensor, "n *T h"]:
        """Queries or keys of one head, normed and turned by their positions."""
        flat = x.reshape(-1, x.shape[-1])
        raw = flat @ W[head].T
        raw = raw if bias is None else raw + bias[head]
        gain = norm_gain(flat, W, bias, norm, head) * scaling
        return turned((raw * gain).view(*x.shape[:-1], -1), self.rotary, at)
