"""7. Controls: what any ten features restore, random directions chosen alike, and the ceiling.

All get their sizes by the same rule, and are tested on the same prompts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from circuit_tracer.experiments.diff.directions import Candidate
from circuit_tracer.experiments.diff.doses import TEN, DosesResult, lacks
from circuit_tracer.experiments.diff.features import CHOSEN, FeaturesResult, screen
from circuit_tracer.experiments.diff.ranking import Ranking, Streams, of_residual, rank
from circuit_tracer.experiments.diff.step import Earlier, Step
from circuit_tracer.experiments.diff.study import Progress, Study
from circuit_tracer.experiments.diff.testing import CELLS, COLUMNS, EditRow, Tested, Testing
from circuit_tracer.experiments.kit.measurement_table import Row
from circuit_tracer.experiments.kit.statistics import known_denominator
from circuit_tracer.experiments.kit.tables import Table, table_of, written
from circuit_tracer.graphs.bootstrap import Interval
from circuit_tracer.graphs.graph import Floats, Ints
from circuit_tracer.render.numbers import with_interval
from circuit_tracer.transcoders.dictionary import Dictionary

RANDOM, QUICK_RANDOM = 20, 4
MATCHED, QUICK_MATCHED = 10, 2
NEAREST = 5
"""Features of the nearest change among which a match is drawn."""
SHIFT, CONTRAST = "dense shift", "dense contrast"


@dataclass(frozen=True)
class ControlsResult:
    """7. The same with what was not chosen so, and the ceiling."""

    edits: tuple[EditRow, ...]
    """The dense shift and contrast, a random dictionary through the same selection."""
    random: tuple[EditRow, ...]
    """Tens drawn from all active features."""
    matched: tuple[EditRow, ...]
    """Tens whose features changed as much as the chosen ones."""
    over_random: Interval
    """Restored by the ten, less by the best random ten."""
    over_matched: Interval

    def best_tens(self) -> Iterator[tuple[str, EditRow, tuple[EditRow, ...]]]:
        """The best of the random and of the matched tens, named, and all of them."""
        for kind, tens in (("random", self.random), ("matched", self.matched)):
            if tens:
                best = max(tens, key=lambda one: one.right.value)
                yield f"best of {len(tens)} {kind} tens", best, tens


def measure(study: Study, earlier: Earlier, progress: Progress) -> tuple[ControlsResult, list[Row]]:
    """Sizes and tests of all."""
    ranking = earlier.once(of_residual, study)
    chosen = earlier.of(FeaturesResult).chosen(ranking)
    generator = np.random.default_rng(study.settings.seed + 70)
    n_random, n_matched = RANDOM, MATCHED
    if study.settings.quick:
        n_random, n_matched = QUICK_RANDOM, QUICK_MATCHED
    tens = {f"random ten {i + 1}": random_ten(ranking, chosen, generator) for i in range(n_random)}
    tens |= {
        f"matched ten {i + 1}": matched_ten(ranking, chosen, generator) for i in range(n_matched)
    }
    given = [*_dense(ranking), *_of_random_dictionary(study, ranking)]
    testing = Testing(study, ranking)
    wanted = [*given, *(ranking.candidate(*one) for one in tens.items())]
    tested = testing.tested("restore", wanted, progress)
    random, matched = tested[len(given) : -n_matched], tested[-n_matched:]
    edit = earlier.of(DosesResult).edit(TEN, "restore")
    assert edit is not None
    the_ten = [ranking.candidate(TEN, chosen)]
    (ten,) = testing.at("restore", the_ten, np.array([edit.size]))

    def over(others: Sequence[Tested]) -> Interval:
        """What the ten restore above the best of others in every draw."""
        gained = np.stack([one.gained for one in others], 1)

        def shares(counts: Floats) -> Floats:
            more: Floats = counts @ ten.gained - (counts @ gained).max(1)
            return more / known_denominator(counts @ testing.lost)

        return testing.main.draws.figure(shares)

    result = ControlsResult(
        edits=tuple(one.row for one in tested[: len(given)]),
        random=tuple(one.row for one in random),
        matched=tuple(one.row for one in matched),
        over_random=over(random),
        over_matched=over(matched),
    )
    return result, [row for one in tested for row in one.measurements]


def random_ten(ranking: Ranking, chosen: Ints, generator: np.random.Generator) -> Ints:
    """Numbers, of all features that are active in either model and were not chosen."""
    active = np.flatnonzero(np.maximum(ranking.base, ranking.tuned) > 0)
    free = np.setdiff1d(active, chosen)
    return generator.choice(free, min(CHOSEN, len(free)), replace=False)


def matched_ten(ranking: Ranking, chosen: Ints, generator: np.random.Generator) -> Ints:
    """For each chosen feature another whose activation changed about as much."""
    change = np.abs(ranking.change)
    is_free = change > 0
    is_free[chosen] = False
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
    tens = (_range("random", found.random), _range("matched", found.matched))
    over = (found.over_random, found.over_matched)
    random, matched = (with_interval(one, percent=True, sign=True) for one in over)
    note = (
        f"The chosen ten restore {random} more than the best of the random tens, and {matched} "
        "more than the best matched."
    )
    yield replace(edits, rows=(*edits.rows, *tens), note=note)


def _range(name: str, given: Sequence[EditRow]) -> tuple[str, ...]:
    """The lowest to the highest of some tens."""

    def ends(column: str) -> str:
        of, _, form = column.partition(":")
        values = [getattr(one, of) for one in given]
        values = [one.value if isinstance(one, Interval) else one for one in values]
        form = {"[%]": "0%", "[+]": "+.3f"}.get(form, form)
        return f"{written(min(values), form)} to {written(max(values), form)}"

    _, *figures = CELLS.split()
    return (f"restore: {len(given)} {name} tens", *map(ends, figures))


STEP = Step("controls", ControlsResult, measure, tables, lacks=lacks)
