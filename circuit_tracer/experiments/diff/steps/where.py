"""2. Which weights carry the change.

By kind and by layer, the base's weights are put back into the tuned model (restoration), and the
tuned ones alone into the base (induction); held-out prompts of the main form are asked each time.
Models of many layers are looked at in bands of layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from circuit_tracer.experiments.diff.ranks import numerical_rank
from circuit_tracer.experiments.diff.results.where import WhereResult, WhereRow
from circuit_tracer.experiments.diff.step import Earlier, Step
from circuit_tracer.experiments.diff.steps.behaviour import of_ask
from circuit_tracer.experiments.diff.study import Progress, Side, Study
from circuit_tracer.experiments.kit.measurement_table import Row
from circuit_tracer.experiments.kit.passes import Ask, contrasts
from circuit_tracer.experiments.kit.statistics import known_denominator
from circuit_tracer.graphs.bootstrap import Bootstrap, Interval
from circuit_tracer.graphs.graph import Floats
from circuit_tracer.models.model import parse_dtype
from circuit_tracer.models.weight_parts import WEIGHT_KINDS, WeightPart, exchanged, weight_parts

MOST_LAYERS, BANDS, QUICK_BANDS = 12, 8, 4
"""Layers that are looked at one by one; bands of layers where there are more."""
LOW = 8
"""A rank of at most 1/8 of what it could be is low."""


@dataclass(frozen=True)
class Group:
    """Some weights, by kind and layers, and how far they moved."""

    kind: str
    layers: tuple[int, int] | None
    changed: float
    rank: int | None
    full_rank: int | None

    def has(self, part: WeightPart) -> bool:
        """Whether a part is among them."""
        first, last = self.layers or (0, 0)
        in_layers = self.layers is None or (part.layer is not None and first <= part.layer <= last)
        return in_layers and self.kind in ("", part.kind)


@dataclass(frozen=True)
class Where:
    """Answers with weights exchanged."""

    groups: tuple[Group, ...]
    """Those in which something changed."""
    unchanged: tuple[str, ...]
    layers: tuple[int, ...]
    low_rank: bool
    base: Floats
    """(prompts,) right minus wrong, in logits, of the base."""
    tuned: Floats
    back: Floats
    """(groups, prompts) of the tuned model with the base's weights put back."""
    alone: Floats
    """(groups, prompts) of the base with the tuned weights put in alone."""


def located_asks(study: Study) -> tuple[Ask, ...]:
    """Held-out prompts of the main form by which weights are located."""
    return study.some_asks("selection", "test", most=study.settings.most_located)


def measure(study: Study, earlier: Earlier, progress: Progress) -> Where:
    """All groups, both ways."""
    asks = located_asks(study)
    base, tuned = weight_parts(study.base), weight_parts(study.tuned)
    moved = _moved(study, base, tuned)
    groups = [one for one in _groups(study, base, moved) if one.changed > 0]
    back, alone = (np.zeros((len(groups), len(asks))) for _ in range(2))
    for done, group in enumerate(groups):
        progress(done, len(groups))
        with exchanged(tuned, base, group.has):
            back[done] = contrasts(study.tuned, asks)
        with exchanged(base, tuned, group.has):
            alone[done] = contrasts(study.base, asks)
    ranked = [one for one in moved if one.rank is not None]
    changed = [part for part, one in zip(base, moved, strict=True) if one.squares > 0]
    return Where(
        groups=tuple(groups),
        unchanged=tuple(one for one in WEIGHT_KINDS if one not in {part.kind for part in changed}),
        layers=tuple(sorted({part.layer for part in changed if part.layer is not None})),
        low_rank=bool(ranked) and all(LOW * (one.rank or 0) <= one.full_rank for one in ranked),
        base=contrasts(study.base, asks),
        tuned=contrasts(study.tuned, asks),
        back=back,
        alone=alone,
    )


@dataclass(frozen=True)
class _Moved:
    """How far one part moved."""

    squares: float
    before: float
    rank: int | None
    full_rank: int


def _moved(study: Study, base: list[WeightPart], tuned: list[WeightPart]) -> list[_Moved]:
    found = []
    stored = parse_dtype(study.tuned.weights_dtype)
    for one, other in zip(base, tuned, strict=True):
        before, after = one.read(), other.read()
        squares = float((after.double() - before.double()).square().sum())
        # An embedding is as long as the vocabulary: its rank would take minutes.
        is_ranked = before.ndim == 2 and squares > 0 and one.kind != "embedding"
        rank = numerical_rank(before, after, stored) if is_ranked else None
        found.append(
            _Moved(squares, float(before.double().square().sum()), rank, min(before.shape))
        )
    return found


def _groups(study: Study, parts: list[WeightPart], moved: list[_Moved]) -> Iterator[Group]:
    """Kinds over all layers, layers, kinds by half and by layer."""
    n_layers = study.base.n_layers
    bands = _bands(n_layers, QUICK_BANDS if study.settings.quick else BANDS)
    halves = [one for one in _split(n_layers, 2) if one not in bands]
    wanted: list[tuple[str, tuple[int, int] | None]] = [(kind, None) for kind in WEIGHT_KINDS]
    wanted += [("", band) for band in bands]
    wanted += [(kind, band) for kind in ("QK", "VO", "MLP") for band in (*halves, *bands)]
    for kind, layers in wanted:
        plain = Group(kind, layers, 0.0, None, None)
        here = [one for part, one in zip(parts, moved, strict=True) if plain.has(part)]
        squares, before = sum(one.squares for one in here), sum(one.before for one in here)
        ranked = [(one.rank, one.full_rank) for one in here if one.rank is not None]
        rank, full = max(ranked, default=(None, None))
        yield Group(kind, layers, (squares / before) ** 0.5 if before else 0.0, rank, full)


def _bands(n_layers: int, most: int) -> list[tuple[int, int]]:
    return _split(n_layers, n_layers if n_layers <= MOST_LAYERS else most)


def _split(n_layers: int, count: int) -> list[tuple[int, int]]:
    """The layers in so many ranges."""
    count = min(count, n_layers)
    ends = [round(i * n_layers / count) for i in range(count + 1)]
    return [(first, last - 1) for first, last in pairwise(ends)]


def result(study: Study, found: Where) -> WhereResult:
    """The figures of step 2."""
    of_item = Shares(study, located_asks(study), 20)
    base, tuned = of_item.right(found.base), of_item.right(found.tuned)
    lost = base - tuned
    rows = []
    for group, back, alone in zip(found.groups, found.back, found.alone, strict=True):
        right_back, right_alone = of_item.right(back), of_item.right(alone)
        rows.append(
            WhereRow(
                kind=group.kind,
                layers=group.layers,
                changed=group.changed,
                rank=group.rank,
                full_rank=group.full_rank,
                right_back=of_item.draws.mean(right_back),
                restored=of_item.share(right_back - tuned, lost),
                right_alone=of_item.draws.mean(right_alone),
                induced=of_item.share(base - right_alone, lost),
            )
        )
    return WhereResult(
        prompts=len(found.base),
        base=of_item.draws.mean(base),
        tuned=of_item.draws.mean(tuned),
        rows=tuple(rows),
        unchanged=found.unchanged,
        layers=found.layers,
        low_rank=found.low_rank,
    )


class Shares:
    """Figures over the items of some prompts, with a stream of random numbers to themselves."""

    def __init__(self, study: Study, asks: Sequence[Ask], stream: int) -> None:
        items = [ask.item for ask in asks]
        _, self._item = np.unique(items, return_inverse=True)
        self.draws: Bootstrap = study.bootstrap(int(self._item.max()) + 1, stream)

    def right(self, contrast: Floats) -> Floats:
        """(items,) share of each one's prompts answered rightly."""
        count = np.bincount(self._item)
        found: Floats = np.bincount(self._item, (contrast > 0).astype(float)) / count
        return found

    def share(self, part: Floats, whole: Floats) -> Interval:
        """A sum over items over another."""
        return self.draws.figure(lambda counts: (counts @ part) / known_denominator(counts @ whole))


def rows(study: Study, found: Where) -> Iterator[Row]:
    """Every answer under every exchange; `model` is the one that was changed."""
    asks = located_asks(study)
    ways: tuple[tuple[Side, Floats], ...] = (("tuned", found.back), ("base", found.alone))
    for side, table in ways:
        for group, values in zip(found.groups, table, strict=True):
            layers = "all" if group.layers is None else "{}-{}".format(*group.layers)
            name = f"exchanged {group.kind or 'all'}, layers {layers}"
            for ask, value in zip(asks, values, strict=True):
                yield {"model": side, "name": name, "value": value, **of_ask(study, ask)}


STEP = Step("where", Where, measure, result, rows)
