"""QK attribution: why a head looks where it looks, in exact source x source terms.

A head's pre-softmax score of a query position with a key position is query . key, and with all
norms held each side is a sum over sources: features, errors, embeddings, and a constant that comes
from no node. The d_head numbers of a side are targets of the sweep (their vectors at the stream in
front of attention, rotation and norms on queries and keys included), so each source's part of a
side is one column of h numbers, and the products of the two sides' columns are the terms. They sum
to the model's own score. Source: method.md section 6; "Tracing Attention Computation Through
Feature Interactions" (Anthropic, July 2025).

Softmax compares keys, so the difference of two keys' scores is taken apart the same way: the key
side is then what the one key is made of minus what the other is.

Shapes: T tokens, h head width, n sources of the query, m of the key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from circuit_tracer.attribution.largest_products import Pairs, strongest_pairs
from circuit_tracer.attribution.reopening import freeze_again
from circuit_tracer.attribution.replacement import LocalReplacementModel
from circuit_tracer.attribution.sources import Piece
from circuit_tracer.attribution.sweep import Sweep, SweepTargets, batches
from circuit_tracer.errors import ConservationError, UsageError
from circuit_tracer.graphs.graph import NodeKind
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.qk_terms import (
    KINDS,
    Against,
    KeyScore,
    Parts,
    QkAttribution,
    Share,
    Source,
    Term,
)
from circuit_tracer.models import Model
from circuit_tracer.models.capture import Capture
from circuit_tracer.models.devices import as_floats, as_numpy
from circuit_tracer.models.scores import FrozenHead, FrozenProjection, freeze_head
from circuit_tracer.models.wiring import Wiring
from circuit_tracer.transcoders.neurons import AnyDictionary

_ROWS = np.array([2, 0, 1])
"""Number in `KINDS` of each `NodeKind` of a source."""
CONSTANT = -1
"""Stands for the constant among columns."""
MOST_HELD = 1 << 25
"""Numbers of a side that are held at a time; beyond them the weakest sources are only summed."""
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}
"""Most that the terms may miss the score by, as a share of the absolute sum by kinds."""


def explain_score(
    model: Model,
    dictionary: AnyDictionary,
    pruned: PrunedGraph,
    *,
    layer: int,
    head: int,
    query: int,
    key: int,
    against: Sequence[int] | None = None,
    n_terms: int = 10,
) -> QkAttribution:
    """`qk_attribution` on the prompt of a traced graph, run again.

    `model` and `dictionary` must be those of the graph.
    """
    frozen = freeze_again(model, dictionary, pruned.graph.info)
    return qk_attribution(
        frozen.replacement,
        frozen.capture,
        model.wiring,
        layer=layer,
        head=head,
        query=query,
        key=key,
        against=against,
        n_terms=n_terms,
    )


@torch.no_grad()
def qk_attribution(
    model: LocalReplacementModel,
    capture: Capture,
    wiring: Wiring,
    *,
    layer: int,
    head: int,
    query: int,
    key: int,
    against: Sequence[int] | None = None,
    n_terms: int = 10,
) -> QkAttribution:
    """Take one head's score of a query position with a key position apart.

    `model` must be frozen from `capture`. `against` are competing key positions, by default the
    three with most attention. Raises UsageError for a head or position that is not there and a key
    that the mask hides from the query, ModelError where the wiring's scores are not the model's,
    ConservationError where the terms miss the score.
    """
    _check_places(wiring, model.n_tokens, layer, head, query)
    sees = _seen(wiring, layer, query)
    _check_keys(f"L{layer}.H{head}", query, sees, wiring.window(layer), key, against or ())
    frozen = freeze_head(capture, wiring, layer, head)
    pattern, scores = capture.patterns[layer][head, query], frozen.scores(query)
    keys = tuple(
        KeyScore(at, float(scores[at]), float(pattern[at]))
        for at in sees
        if pattern[at] > 0 or at == key
    )
    if against is None:
        rivals = sorted((k for k in keys if k.position != key), key=lambda k: -k.attention)
        against = [rival.position for rival in rivals[:3]]
    taking = _Taking(model, frozen, layer, n_terms)
    found = taking.apart(query, key, list(against))
    return QkAttribution(
        layer=layer,
        head=head,
        query=query,
        key=key,
        attention=float(pattern[key]),
        softcap=frozen.softcap,
        window=wiring.window(layer),
        sees=(sees.start, query),
        parts=found[0],
        keys=keys,
        against=tuple(Against(*pair) for pair in zip(against, found[1:], strict=True)),
    )


def _seen(wiring: Wiring, layer: int, query: int) -> range:
    """The key positions that the mask leaves a query."""
    window = wiring.window(layer)
    return range(0 if window is None else max(0, query - window + 1), query + 1)


def _check_places(wiring: Wiring, n_tokens: int, layer: int, head: int, query: int) -> None:
    if not (0 <= layer < wiring.n_layers and 0 <= head < wiring.n_heads):
        raise UsageError(
            f"there is no head {layer}.{head}: the model has layers 0 to {wiring.n_layers - 1} "
            f"with heads 0 to {wiring.n_heads - 1} each"
        )
    if not 0 <= query < n_tokens:
        raise UsageError(
            f"the query position {query} is outside what was traced (0 to {n_tokens - 1})"
        )


def _check_keys(
    name: str, query: int, sees: range, window: int | None, key: int, against: Sequence[int]
) -> None:
    for at in (key, *against):
        if at not in sees:
            why = (
                "comes after the query"
                if at > query
                else f"is outside its sliding window of {window} tokens"
            )
            raise UsageError(
                f"{name} cannot see position {at} from {query}: it {why}; give a key from "
                f"{sees.start} to {query}"
            )
    if key in against:
        raise UsageError(f"the key position {key} cannot compete with itself; name another one")


@dataclass(frozen=True)
class Side:
    """What a query or key (or a difference of two keys) is made of."""

    columns: Int[Tensor, "n"]
    """Columns of the sources held; `CONSTANT` comes last."""
    vectors: Float[Tensor, "n h"]
    by_kind: Float[Tensor, "4 h"]
    """Sums over all sources, held or not."""
    left_out: float
    """Largest norm of a source that is not held."""


class _Taking:
    """The sweep of one prompt, asked for one head."""

    def __init__(
        self, model: LocalReplacementModel, head: FrozenHead, layer: int, n_terms: int
    ) -> None:
        self.model, self.head, self.layer, self.n_terms = model, head, layer, n_terms
        self.sweep = Sweep(model)

    def apart(self, query: int, key: int, against: list[int]) -> list[Parts]:
        """The score, then its differences to those of competing keys."""
        q, keys = self.head.queries[query], self.head.keys
        ours, theirs = self._side(self.head.query, query), self._side(self.head.key, key)
        found = [self._parts(ours, theirs, q, keys[key])]
        for other in against:
            apart = _minus(theirs, self._side(self.head.key, other))
            found.append(self._parts(ours, apart, q, keys[key] - keys[other]))
        return found

    def _side(self, projection: FrozenProjection, position: int) -> Side:
        """What a query or key is made of: one walk, as wide as the head."""
        rows = projection.rows(position)
        at = torch.full((len(rows),), position, device=rows.device)
        targets = SweepTargets(torch.full_like(at, self.layer), at, rows, at_attention=True)
        collector = _Collector(len(rows), projection.W)

        def take(piece: Piece) -> None:
            collector.take(piece.kind, piece.first, piece.weight.T.to(projection.W.dtype))

        (every,) = batches(targets, len(rows))
        constant = self.sweep.walk(targets, every, take)
        return collector.side(constant + projection.own(position))

    def _parts(self, query: Side, key: Side, q: Tensor, k: Tensor) -> Parts:
        value = float(q @ k)
        by_kind = as_floats(query.by_kind @ key.by_kind.T)
        gross = float(np.abs(by_kind).sum()) or 1.0
        residual = abs(float(by_kind.sum()) - value) / gross
        _check_conserved(residual, value, q.dtype)
        pairs = strongest_pairs(query.vectors, key.vectors, self.n_terms)
        unseen = max(query.left_out * _largest(key), key.left_out * _largest(query))
        return Parts(
            value=value,
            by_kind=by_kind,
            feature_share=abs(float(by_kind[0, 0])) / gross,
            residual=residual,
            positive=self._terms(query, key, pairs.positive),
            negative=self._terms(query, key, pairs.negative),
            complete=unseen <= pairs.weakest,
            query_sources=self._shares(query, k),
            key_sources=self._shares(key, q),
        )

    def _terms(self, query: Side, key: Side, pairs: Pairs) -> tuple[Term, ...]:
        ours = self._sources(query.columns[pairs.row])
        theirs = self._sources(key.columns[pairs.column])
        values = pairs.value.tolist()
        return tuple(Term(*term) for term in zip(ours, theirs, values, strict=True))

    def _shares(self, side: Side, other: Float[Tensor, "h"]) -> tuple[Share, ...]:
        values = side.vectors @ other
        best = values.abs().topk(min(self.n_terms, len(values))).indices
        found = self._sources(side.columns[best])
        return tuple(Share(*pair) for pair in zip(found, values[best].tolist(), strict=True))

    def _sources(self, columns: Int[Tensor, "n"]) -> list[Source]:
        numbers: NDArray[np.int64] = columns.cpu().numpy()
        found = self.sweep.columns.describe(np.maximum(numbers, 0))
        constant = numbers == CONSTANT
        kind = np.where(constant, KINDS.index("constant"), _ROWS[found.kind])
        feature, error = kind == 0, kind == 1
        layer = np.where(constant, -1, found.layer)
        position = np.where(constant, -1, numbers)
        position[error] = found.error_position[error] + self.model.n_zeroed
        index = np.full(len(numbers), -1)
        places = self.model.features.at(torch.from_numpy(found.number[feature]).to(columns.device))
        position[feature] = as_numpy(places.position)
        index[feature] = as_numpy(places.index)
        names = [KINDS[i] for i in kind.tolist()]
        columns_of = (names, layer.tolist(), position.tolist(), index.tolist())
        return [Source(*one) for one in zip(*columns_of, strict=True)]


class _Collector:
    """Takes the columns of one side as the sweep hands them out."""

    def __init__(self, h: int, like: Tensor) -> None:
        self.by_kind = like.new_zeros(len(KINDS), h)
        self.most = max(1, MOST_HELD // h)
        self.columns: list[Tensor] = []
        self.vectors: list[Tensor] = []
        self.held = 0
        self.left_out = 0.0

    def take(self, kind: NodeKind, first: int, vectors: Float[Tensor, "n h"]) -> None:
        self.by_kind[int(_ROWS[kind])] += vectors.sum(0)
        there = vectors.any(1).nonzero().squeeze(1)
        self.columns.append(there + first)
        self.vectors.append(vectors[there])
        self.held += len(there)
        if self.held > 2 * self.most:
            self._keep_strongest()

    def side(self, constant: Float[Tensor, "h"]) -> Side:
        self.by_kind[KINDS.index("constant")] = constant
        if self.held > self.most:
            self._keep_strongest()
        last = torch.tensor([CONSTANT], device=constant.device)
        return Side(
            columns=torch.cat([*self.columns, last]),
            vectors=torch.cat([*self.vectors, constant[None]]),
            by_kind=self.by_kind,
            left_out=self.left_out,
        )

    def _keep_strongest(self) -> None:
        columns, vectors = torch.cat(self.columns), torch.cat(self.vectors)
        norms = vectors.norm(dim=1)
        order = norms.argsort(descending=True, stable=True)
        kept = order[: self.most]
        self.left_out = max(self.left_out, float(norms[order[self.most]]))
        self.columns, self.vectors, self.held = [columns[kept]], [vectors[kept]], len(kept)


def _minus(side: Side, other: Side) -> Side:
    """The difference of two, source by source.

    A source that one of them holds and the other may have left out is left out: only part of its
    difference is known.
    """
    columns = torch.cat([side.columns, other.columns])
    unique, place = columns.unique(return_inverse=True)  # ascending: the constant comes first
    vectors = side.vectors.new_zeros(len(unique), side.vectors.shape[1])
    vectors.index_add_(0, place, torch.cat([side.vectors, -other.vectors]))
    is_first = torch.arange(len(columns), device=place.device) < len(side.columns)
    missing = torch.zeros(len(unique), device=place.device)
    for one, held in ((side, is_first), (other, ~is_first)):
        absent = torch.ones_like(missing)
        absent[place[held]] = 0
        missing += one.left_out * absent
    known = missing == 0
    partial = vectors[~known].norm(dim=1) + missing[~known]
    return Side(
        columns=torch.cat([unique[1:][known[1:]], unique[:1]]),
        vectors=torch.cat([vectors[1:][known[1:]], vectors[:1]]),
        by_kind=side.by_kind - other.by_kind,
        left_out=max(side.left_out + other.left_out, float(partial.max()) if len(partial) else 0.0),
    )


def _largest(side: Side) -> float:
    return float(side.vectors.norm(dim=1).max())


def _check_conserved(residual: float, value: float, dtype: torch.dtype) -> None:
    if not residual <= TOLERANCE.get(dtype, 1e-2):  # also for NaN
        raise ConservationError(
            f"the source x source terms miss the score {value:.4g} by a share of {residual:.2g}; "
            "they are refused (a trace with --dtype float64 helps if it is rounding; otherwise the "
            "wiring of this model is wrong)"
        )
