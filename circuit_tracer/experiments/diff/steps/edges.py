"""6. What changed in the edges into an answer, a feature or a direction, and which weights did it.

On a few test prompts of the main form the change of a value between base and tuned model is split
exactly (`attribution/two_models.py`): changed weights on the same input, the same weights on
changed input, by module, head and source token. Then it is shared out to the weights that made it,
all the way down (`attribution/changed_weights.py`).

Shapes: n prompts, M modules, G kinds of source tokens, K kinds of weights by layer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from circuit_tracer.attribution.changed_weights import ChangedWeights, by_changed_weights
from circuit_tracer.attribution.directions import DirectionTarget
from circuit_tracer.attribution.two_models import NONE, TwoModels, compare_edges
from circuit_tracer.experiments.diff.results.edges import (
    EdgesResult,
    ModuleRow,
    Parts,
    SourceRow,
    TargetEdges,
    WeightShare,
)
from circuit_tracer.experiments.diff.step import Earlier, Step
from circuit_tracer.experiments.diff.steps.behaviour import of_ask
from circuit_tracer.experiments.diff.steps.edge_targets import directions
from circuit_tracer.experiments.diff.study import Progress, Study
from circuit_tracer.experiments.kit.measurement_table import Row
from circuit_tracer.experiments.kit.passes import Ask
from circuit_tracer.experiments.kit.statistics import known_denominator
from circuit_tracer.graphs.bootstrap import Bootstrap, Interval
from circuit_tracer.graphs.graph import Floats, Ints
from circuit_tracer.models import Model

ANSWER = "wrong - right"
START, OTHERS = "BOS", "the rest"
"""Source tokens: what stands before the prompt, and words that differ between prompts."""
PARTS = ("weights", "pattern_weights", "input", "cross")
"""Of a change, as `ModuleChange` has them."""
Place = tuple[str, int, int]
"""A module: what it is, its layer, its head."""


@dataclass(frozen=True)
class Split:
    """The change of one target, taken apart on every prompt."""

    name: str
    layer: int
    """After which it reads, or at whose MLP; -1 for the answer."""
    base: Floats
    """(n,) its value."""
    tuned: Floats
    modules: tuple[Place, ...]
    sources: tuple[str, ...]
    parts: Floats
    """(n, M, G, 4) `PARTS` of the change."""
    weights: tuple[tuple[str, int], ...]
    """Kind and layer."""
    effects: Floats
    """(n, K) of these changed weights, all the way down."""

    @property
    def change(self) -> Floats:
        """(n,) tuned minus base."""
        return self.tuned - self.base


@dataclass(frozen=True)
class Edges:
    """All targets."""

    targets: tuple[Split, ...]


def edge_asks(study: Study) -> tuple[Ask, ...]:
    """Test prompts of the main form on which changes are taken apart."""
    return study.some_asks("test", most=study.settings.most_split)


def measure(study: Study, earlier: Earlier, progress: Progress) -> Edges:
    """Every target on every prompt."""
    asks, found = edge_asks(study), []
    targets: list[DirectionTarget | None] = [None, *directions(study, earlier)]
    for number, target in enumerate(targets):
        splits, shares = [], []
        for done, ask in enumerate(asks):
            progress(number * len(asks) + done, len(targets) * len(asks))
            value = (ask.minus, ask.plus) if target is None else target
            splits.append(compare_edges(study.base, study.tuned, ask.ids, value))
            shares.append(by_changed_weights(study.base, study.tuned, ask.ids, value))
        place = (ANSWER, NONE) if target is None else (target.name, target.layer)
        found.append(_split(study.base, asks, *place, splits, shares))
    return Edges(tuple(found))


def _split(
    model: Model,
    asks: Sequence[Ask],
    name: str,
    layer: int,
    splits: Sequence[TwoModels],
    shares: Sequence[ChangedWeights],
) -> Split:
    kinds = source_kinds(model, asks)
    sources = tuple(dict.fromkeys(kind for row in kinds for kind in row))
    modules = tuple(dict.fromkeys((c.module, c.layer, c.head) for s in splits for c in s.changes))
    parts = np.zeros((len(asks), len(modules), len(sources), len(PARTS)))
    for row, split in enumerate(splits):
        for one in split.changes:
            at = modules.index((one.module, one.layer, one.head))
            values = [getattr(one, part) for part in PARTS]
            parts[row, at, sources.index(kinds[row][one.source])] += values
    weights = tuple(dict.fromkeys((c.kind, c.layer) for s in shares for c in s.changes))
    effects = np.zeros((len(asks), len(weights)))
    for row, share in enumerate(shares):
        for change in share.changes:
            effects[row, weights.index((change.kind, change.layer))] = change.effect
    return Split(
        name=name,
        layer=layer,
        base=np.array([one.base for one in splits]),
        tuned=np.array([one.tuned for one in splits]),
        modules=modules,
        sources=sources,
        parts=parts,
        weights=weights,
        effects=effects,
    )


def source_kinds(model: Model, asks: Sequence[Ask]) -> list[tuple[str, ...]]:
    """What each token of each prompt is: a word that all prompts have, the start, or another."""
    texts = [[model.token_text(one).strip() for one in ask.ids] for ask in asks]
    count = Counter(text for one in texts for text in set(one))
    found = []
    for ask, words in zip(asks, texts, strict=True):
        first = model.zeroed_positions(list(ask.ids))
        shared = [text if count[text] == len(asks) else OTHERS for text in words]
        found.append((*([START] * first), *shared[first:]))
    return found


def result(study: Study, found: Edges) -> EdgesResult:
    """The figures of step 6."""
    items = np.unique([ask.item for ask in edge_asks(study)], return_inverse=True)[1]
    draws = study.bootstrap(int(items.max()) + 1, 60)
    figures = tuple(_Figures(one, items, draws).all() for one in found.targets)
    return EdgesResult(prompts=len(items), targets=figures)


class _Figures:
    """Of one target, over the items."""

    def __init__(self, split: Split, items: Ints, draws: Bootstrap) -> None:
        self._split, self._draws = split, draws
        self._items = np.eye(draws.n)[items]  # (n, items)
        self._sign = 1.0 if split.change.sum() >= 0 else -1.0

    def all(self) -> TargetEdges:
        """Shares of the change, then means over prompts by module, source and weights."""
        split, parts = self._split, self._split.parts
        kinds = dict.fromkeys(kind for kind, _ in split.weights)
        means = parts.mean(0)
        by_source = zip(split.sources, means[self._of("head")].sum(0), strict=True)
        size = float(np.abs(split.change).mean())
        return TargetEdges(
            name=split.name,
            layer=None if split.layer == NONE else split.layer,
            base=self._mean(split.base),
            tuned=self._mean(split.tuned),
            change=self._mean(split.change),
            values_output=self._share(self._weights("head", "attention bias")),
            queries_keys=self._share(parts[..., 1].sum((1, 2))),
            mlps=self._share(self._weights("mlp")),
            elsewhere=self._share(self._weights("embedding", "reading")),
            input=self._share(parts[..., 2].sum((1, 2))),
            cross=self._share(parts[..., 3].sum((1, 2))),
            miss=_over(np.abs(parts.sum((1, 2, 3)) - split.change).max(), size),
            modules=tuple(
                ModuleRow(*module, Parts(*map(float, row)))
                for module, row in zip(split.modules, means.sum(1), strict=True)
            ),
            sources=tuple(SourceRow(name, Parts(*map(float, row))) for name, row in by_source),
            weights=tuple(WeightShare(kind, None, self._by_kind(kind)) for kind in kinds)
            + tuple(
                WeightShare(kind, layer, self._share(split.effects[:, at]))
                for at, (kind, layer) in enumerate(split.weights)
            ),
            weights_miss=_over(np.abs(split.effects.sum(1) - split.change).max(), size),
        )

    def _of(self, *modules: str) -> list[int]:
        return [at for at, one in enumerate(self._split.modules) if one[0] in modules]

    def _weights(self, *modules: str) -> Floats:
        """(n,) what changed weights of some modules do on the base's input."""
        found: Floats = self._split.parts[..., 0][:, self._of(*modules)].sum((1, 2))
        return found

    def _by_kind(self, kind: str) -> Interval:
        at = [i for i, (one, _) in enumerate(self._split.weights) if one == kind]
        return self._share(self._split.effects[:, at].sum(1))

    def _mean(self, values: Floats) -> Interval:
        return self._draws.mean(values @ self._items / self._items.sum(0))

    def _share(self, part: Floats) -> Interval:
        """Of the whole change, over all prompts."""
        own, whole = (self._sign * one @ self._items for one in (part, self._split.change))
        return self._draws.figure(lambda counts: counts @ own / known_denominator(counts @ whole))


def _over(miss: float, size: float) -> float:
    """The largest miss over the mean size of the change; itself where nothing changed."""
    return float(miss) / size if size else float(miss)


def rows(study: Study, found: Edges) -> Iterator[Row]:
    """Of every prompt: the values, the parts by module, the effects of weights."""
    for row, ask in enumerate(edge_asks(study)):
        for one in found.targets:
            about = of_ask(study, ask)
            yield {**about, "model": "base", "name": one.name, "value": one.base[row]}
            yield {**about, "model": "tuned", "name": one.name, "value": one.tuned[row]}
            for (module, layer, head), parts in zip(one.modules, one.parts[row], strict=True):
                for part, value in zip(PARTS, parts.sum(0), strict=True):
                    name = f"{one.name}: {module}, {part}"
                    where = {"layer": layer, "head": head}
                    where = {key: number for key, number in where.items() if number != NONE}
                    yield {**about, **where, "name": name, "value": value}
            for (kind, layer), value in zip(one.weights, one.effects[row], strict=True):
                where = {} if layer == NONE else {"layer": layer}
                yield {**about, **where, "name": f"{one.name}: weights, {kind}", "value": value}


STEP = Step("edges", Edges, measure, result, rows)
