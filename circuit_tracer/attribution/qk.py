"""QK attribution: why a head looks where it looks, in exact source x source terms.

A head's pre-softmax score of a query position with a key position is query . key, and with all
norms frozen each side is a sum over sources: features, errors, embeddings, and a constant that
comes from no node. The d_head numbers of a side are targets of the sweep (their vectors at the
stream before attention, rotation and norms on queries and keys included), so each source's part of
a side is one column of h numbers, and the products of the two sides' columns are the terms. They
sum to the model's own score. Source: method.md section 6; "Tracing Attention Computation Through
Feature Interactions" (Anthropic, July 2025).

Softmax compares keys, so the difference of two keys' scores is taken apart the same way: the key
side is then what the one key is made of minus what the other is.

Shapes: T tokens, h head width, n sources of the query, m of the key.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit_tracer.attribution.largest_products import Products, strongest_products
from circuit_tracer.attribution.qk_sides import CONSTANT, KIND_ROWS, Side, SideCollector
from circuit_tracer.attribution.reopening import FrozenPrompt, freeze_again
from circuit_tracer.attribution.resources import products
from circuit_tracer.attribution.sources import Piece
from circuit_tracer.attribution.sweep import Sweep, SweepTargets, batches
from circuit_tracer.errors import ConservationError, UsageError
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
from circuit_tracer.models.devices import as_floats, as_numpy
from circuit_tracer.models.scores import FrozenProjection, freeze_head
from circuit_tracer.models.wiring import Wiring
from circuit_tracer.transcoders.neurons import AnyDictionary

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
    """Take one head's score of a query position with a key position apart, on a graph's prompt.

    `model` and `dictionary` must be those of the graph. `against` are competing key positions, by
    default the three with most attention. Raises UsageError for a head or position that is not
    there and a key that the mask hides from the query, ModelError where the wiring's scores are not
    the model's, ConservationError where the terms miss the score.
    """
    frozen = freeze_again(model, dictionary, pruned.graph.info)
    scores = HeadScores(frozen, model.wiring, layer=layer, head=head, n_terms=n_terms)
    return scores.attribution(query, key, against)


class HeadScores:
    """The scores of one head on a frozen prompt, to be taken apart."""

    @products()
    @torch.no_grad()
    def __init__(
        self, prompt: FrozenPrompt, wiring: Wiring, *, layer: int, head: int, n_terms: int = 10
    ) -> None:
        if not (0 <= layer < wiring.n_layers and 0 <= head < wiring.n_heads):
            raise UsageError(
                f"there is no head {layer}.{head}: the model has layers 0 to {wiring.n_layers - 1} "
                f"with heads 0 to {wiring.n_heads - 1} each"
            )
        self.model, self.wiring = prompt.replacement, wiring
        self.layer, self.number, self.n_terms = layer, head, n_terms
        self.pattern = prompt.capture.patterns[layer][head]
        self.head = freeze_head(prompt.capture, wiring, layer, head)
        self.sweep = Sweep(self.model)

    @products()
    @torch.no_grad()
    def attribution(
        self, query: int, key: int, against: Sequence[int] | None = None
    ) -> QkAttribution:
        """The score of a query position with a key position, taken apart as in `explain_score`."""
        sees = self._seen(query)
        self._check_keys(query, sees, key, against or ())
        pattern, scores = self.pattern[query], self.head.scores(query)
        keys = tuple(
            KeyScore(at, float(scores[at]), float(pattern[at]))
            for at in sees
            if pattern[at] > 0 or at == key
        )
        if against is None:
            rivals = sorted((k for k in keys if k.position != key), key=lambda k: -k.attention)
            against = [rival.position for rival in rivals[:3]]
        whole, *differences = self._apart(query, key, against)
        return QkAttribution(
            layer=self.layer,
            head=self.number,
            query=query,
            key=key,
            attention=float(pattern[key]),
            softcap=self.head.softcap,
            window=self.wiring.window(self.layer),
            sees=(sees.start, query),
            parts=whole,
            keys=keys,
            against=tuple(Against(*pair) for pair in zip(against, differences, strict=True)),
        )

    def _seen(self, query: int) -> range:
        """The key positions that the mask leaves a query."""
        if not 0 <= query < self.model.n_tokens:
            raise UsageError(
                f"the query position {query} is outside what was traced (0 to "
                f"{self.model.n_tokens - 1})"
            )
        window = self.wiring.window(self.layer)
        return range(0 if window is None else max(0, query - window + 1), query + 1)

    def _check_keys(self, query: int, sees: range, key: int, against: Sequence[int]) -> None:
        for at in (key, *against):
            if at not in sees:
                window = self.wiring.window(self.layer)
                why = (
                    "comes after the query"
                    if at > query
                    else f"is outside its sliding window of {window} tokens"
                )
                raise UsageError(
                    f"L{self.layer}.H{self.number} cannot see position {at} from {query}: it "
                    f"{why}; give a key from {sees.start} to {query}"
                )
        if key in against:
            raise UsageError(f"the key position {key} cannot compete with itself; name another one")

    def _apart(self, query: int, key: int, against: Sequence[int]) -> list[Parts]:
        """The score, then its differences to those of competing keys."""
        q, keys = self.head.queries[query], self.head.keys
        ours, theirs = self._side(self.head.query, query), self._side(self.head.key, key)
        found = [self._parts(ours, theirs, q, keys[key])]
        for other in against:
            apart = theirs.minus(self._side(self.head.key, other))
            found.append(self._parts(ours, apart, q, keys[key] - keys[other]))
        return found

    def _side(self, projection: FrozenProjection, position: int) -> Side:
        """What a query or key is made of: one walk, as wide as the head."""
        rows = projection.rows(position)
        at = torch.full((len(rows),), position, device=rows.device)
        targets = SweepTargets(torch.full_like(at, self.layer), at, rows, at_attention=True)
        collector = SideCollector(len(rows), projection.W)

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
        pairs = strongest_products(query.vectors, key.vectors, self.n_terms)
        unseen = max(query.left_out * key.largest, key.left_out * query.largest)
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

    def _terms(self, query: Side, key: Side, pairs: Products) -> tuple[Term, ...]:
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
        numbers = as_numpy(columns)
        found = self.sweep.columns.describe(np.maximum(numbers, 0))
        constant = numbers == CONSTANT
        kind = np.where(constant, KINDS.index("constant"), KIND_ROWS[found.kind])
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


def _check_conserved(residual: float, value: float, dtype: torch.dtype) -> None:
    if not residual <= TOLERANCE.get(dtype, 1e-2):  # also for NaN
        raise ConservationError(
            f"the source x source terms miss the score {value:.4g} by a share of {residual:.2g}; "
            "they are refused (a trace with `dtype` float64 helps if it is rounding; otherwise the "
            "wiring of this model is wrong)"
        )
