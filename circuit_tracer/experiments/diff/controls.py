"""7. Controls: what any ten features restore, random directions chosen alike, and the ceiling.

All get their sizes by the same rule, and are tested on the same prompts. Tens are also tested at
the scale of the chosen ten: their changes taken back as many times over as its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice

import numpy as np
import torch

from circuit_tracer.experiments.diff.directions import Candidate
from circuit_tracer.experiments.diff.doses import TEN, DosesResult, lacks
from circuit_tracer.experiments.diff.features import (
    CHOSEN,
    OF_CONTRAST,
    FeaturesResult,
    in_order,
    screen,
)
from circuit_tracer.experiments.diff.ranking import Ranking, Streams, of_residual, rank
from circuit_tracer.experiments.diff.study import Earlier, Step, Study
from circuit_tracer.experiments.diff.testing import CELLS, COLUMNS, EditRow, Tested, Testing
from circuit_tracer.experiments.kit.stages import Row
from circuit_tracer.experiments.kit.statistics import known_denominator
from circuit_tracer.experiments.kit.study import Progress
from circuit_tracer.experiments.kit.tables import Table, table_of, written
from circuit_tracer.graphs.bootstrap import Interval
from circuit_tracer.graphs.graph import Floats, Ints
from circuit_tracer.render.numbers import with_interval
from circuit_tracer.transcoders.dictionary import Dictionary

NEAREST = 5
"""Features of the nearest change among which a match is drawn."""
DECISIVE = ("random", "matched")
"""Tens that the verdict compares with. Those outside the contrast are beside them: the method does
not see the contrast, and not every spec has one."""
OUTSIDE = "matched, outside contrast"
SAME_SCALE = "same scale"
SHIFT, CONTRAST = "dense shift", "dense contrast"


@dataclass(frozen=True)
class Tens:
    """Sets of as many features that were not chosen, all drawn alike."""

    kind: str
    """"random": of all active features; "matched": of those that changed as much as the chosen;
    `OUTSIDE`: likewise, and none of the first 20 by the contrast. With `SAME_SCALE` after it, the
    first two not at a size of their own: their changes are taken back as many times over as the
    chosen ten's, so that features that changed little are moved little."""
    edits: tuple[EditRow, ...]
    over: Interval
    """Restored by the chosen ten, less by the best of these."""

    @property
    def best(self) -> EditRow:
        """The one with the most right answers."""
        return max(self.edits, key=lambda one: one.right.value)

    @property
    def words(self) -> str:
        """ "best of 20 random tens"."""
        kind, _, more = self.kind.partition(", ")
        return f"best of {len(self.edits)} {kind} tens" + (f", {more}" if more else "")


@dataclass(frozen=True)
class ControlsResult:
    """7. The same with what was not chosen so, and the ceiling."""

    edits: tuple[EditRow, ...]
    """The dense shift and contrast, a random dictionary through the same selection."""
    tens: tuple[Tens, ...]

    @property
    def decisive(self) -> list[Tens]:
        """Those that the verdict compares with."""
        return [one for one in self.tens if one.kind in DECISIVE]


def measure(study: Study, earlier: Earlier, progress: Progress) -> tuple[ControlsResult, list[Row]]:
    """Sizes and tests of all."""
    ranking = earlier.once(of_residual, study)
    chosen = earlier.of(FeaturesResult).chosen(ranking)
    given = [*_dense(ranking), *_of_random_dictionary(study, ranking)]
    drawn = draw_tens(study, ranking, chosen)
    testing = Testing(study, ranking)
    named = {
        kind: [ranking.candidate(f"{kind} ten {i}", one) for i, one in enumerate(tens, start=1)]
        for kind, tens in drawn.items()
    }
    tested = testing.tested("restore", [*given, *chain(*named.values())], progress)
    of_tens = iter(tested[len(given) :])
    parts = {kind: list(islice(of_tens, len(tens))) for kind, tens in drawn.items()}
    edit = earlier.of(DosesResult).edit(TEN, "restore")
    assert edit is not None
    the_ten = ranking.candidate(TEN, chosen)
    (ten,) = testing.at("restore", [the_ten], np.array([edit.size]))
    for kind in filter(named.get, DECISIVE):
        same = [replace(one, name=f"{one.name}, {SAME_SCALE}") for one in named[kind]]
        lengths = np.array([np.linalg.norm(one.direction) for one in same])
        sizes = edit.size * lengths / np.linalg.norm(the_ten.direction)
        parts[f"{kind}, {SAME_SCALE}"] = testing.at("restore", same, sizes)

    def over(others: Sequence[Tested]) -> Interval:
        """What the ten restore above the best of others in every draw."""
        gained = np.stack([one.gained for one in others], 1)

        def shares(counts: Floats) -> Floats:
            more: Floats = counts @ ten.gained - (counts @ gained).max(1)
            return more / known_denominator(counts @ testing.lost)

        return testing.main.draws.figure(shares)

    result = ControlsResult(
        edits=tuple(one.row for one in tested[: len(given)]),
        tens=tuple(
            Tens(kind, tuple(one.row for one in part), over(part)) for kind, part in parts.items()
        ),
    )
    every = chain(tested[: len(given)], *parts.values())
    return result, [row for one in every for row in one.measurements]


def draw_tens(study: Study, ranking: Ranking, chosen: Ints) -> dict[str, list[Ints]]:
    """By kind of control, the numbers of each ten."""
    n_random, n_matched = study.settings.random_tens, study.settings.matched_tens
    generator = np.random.default_rng(study.settings.seed + 70)
    active = np.flatnonzero(np.maximum(ranking.base, ranking.tuned) > 0)
    free = np.setdiff1d(active, chosen)
    size = min(CHOSEN, len(free))
    found = {
        "random": [generator.choice(free, size, replace=False) for _ in range(n_random)],
        "matched": [matched_ten(ranking, chosen, generator) for _ in range(n_matched)],
    }
    if study.spec.contrast is not None:
        first = in_order(np.abs(ranking.toward - ranking.away))[:OF_CONTRAST]
        found[OUTSIDE] = [
            matched_ten(ranking, chosen, generator, without=first) for _ in range(n_matched)
        ]
    return {kind: tens for kind, tens in found.items() if len(tens[0])}


def matched_ten(
    ranking: Ranking, chosen: Ints, generator: np.random.Generator, without: Ints | None = None
) -> Ints:
    """For each chosen feature another whose activation changed about as much, and none of some."""
    change = np.abs(ranking.change)
    is_free = change > 0
    is_free[chosen] = False
    is_free[[] if without is None else without] = False
    drawn: list[int] = []
    for one in chosen:
        free = np.flatnonzero(is_free)
        if not len(free):
            break
        near = free[np.argsort(np.abs(change[free] - change[one]), kind="stable")[:NEAREST]]
        drawn.append(int(generator.choice(near)))
        is_free[drawn[-1]] = False
    return np.array(drawn, dtype=int)


def _dense(ranking: Ranking) -> Iterator[Candidate]:
    yield Candidate(SHIFT, (), -ranking.shift)
    if ranking.contrast is not None:
        yield Candidate(CONTRAST, (), -ranking.contrast)


def _of_random_dictionary(study: Study, ranking: Ranking) -> Iterator[Candidate]:
    """Ten random directions and the best of them, ranked and screened like features."""
    given = ranking.streams
    random = rank(random_dictionary(ranking.dictionary, given, seed=study.settings.seed), given)
    picked = screen(study, random).picked
    for name, count in (("ten", CHOSEN), ("one", 1)):
        edit = random.candidate(f"{name} of a random dictionary", picked[:count])
        yield replace(edit, features=())


def random_dictionary(dictionary: Dictionary, given: Streams, *, seed: int) -> Dictionary:
    """Random directions from the mean of ordinary text, as many and as many active at a token."""
    generator = torch.Generator(device="cpu").manual_seed(seed)
    layers = list(dictionary.layers)
    for i, number in enumerate(dictionary.numbers):
        one, text = layers[number], given.text_base[:, i]
        active = (one.encode(text) != 0).sum(1).double().mean()
        rows = torch.randn(one.W_enc.shape, generator=generator, device="cpu").to(one.W_enc)
        rows = rows / rows.norm(dim=1, keepdim=True)
        mean = text.mean(0)
        layers[number] = replace(
            one,
            W_enc=rows,
            b_enc=-rows @ mean,
            W_dec=rows[:, None],
            b_dec=mean,
            activation="topk",
            k=max(1, round(float(active))),
            threshold=None,
            rectified=True,
        )
    return replace(dictionary, layers=tuple(layers))


HEADING = "7. Controls"


def tables(found: ControlsResult) -> Iterator[Table]:
    """Dense and random directions; the ranges of the random and the matched tens."""
    edits = table_of(HEADING, found.edits, COLUMNS, CELLS)
    tens = (_range(one.kind, one.edits) for one in found.tens)
    more = (
        f"{with_interval(one.over, percent=True, sign=True)} more than the {one.words}"
        for one in found.tens
    )
    note = f"The chosen ten restore {'; '.join(more)}."
    yield replace(edits, rows=(*edits.rows, *tens), note=note)


def _range(kind: str, given: Sequence[EditRow]) -> tuple[str, ...]:
    """The lowest to the highest of some tens."""

    def ends(column: str) -> str:
        of, _, form = column.partition(":")
        values = [getattr(one, of) for one in given]
        values = [one.value if isinstance(one, Interval) else one for one in values]
        form = {"[%]": "0%", "[+]": "+.3f"}.get(form, form)
        return f"{written(min(values), form)} to {written(max(values), form)}"

    _, *figures = CELLS.split()
    name, _, more = kind.partition(", ")
    words = f"restore: {len(given)} {name} tens" + (f", {more}" if more else "")
    return (words, *map(ends, figures))


STEP = Step("controls", ControlsResult, measure, tables, lacks=lacks)
