"""7. Controls: what any ten features restore, random directions chosen alike, and the ceiling.

All get their sizes by the same rule, and are tested on the same prompts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from circuit_tracer.experiments.diff.persona import TEN
from circuit_tracer.experiments.diff.results.features import ControlsResult
from circuit_tracer.experiments.diff.step import Earlier, Step
from circuit_tracer.experiments.diff.steps.doses import (
    Doses,
    candidate,
    lacks,
    tested_asks,
)
from circuit_tracer.experiments.diff.steps.features import CHOSEN, Features, residual, screen
from circuit_tracer.experiments.diff.steps.ranking import Streams, rank, streams
from circuit_tracer.experiments.diff.steps.testing import (
    Candidate,
    Figures,
    Tested,
    Testing,
    edit_rows,
)
from circuit_tracer.experiments.diff.study import Progress, Study, unreported
from circuit_tracer.experiments.kit.measurement_table import Row
from circuit_tracer.experiments.kit.statistics import known_denominator
from circuit_tracer.graphs.bootstrap import Interval
from circuit_tracer.graphs.graph import Floats, Ints
from circuit_tracer.transcoders.dictionary import Dictionary

RANDOM, QUICK_RANDOM = 20, 4
MATCHED, QUICK_MATCHED = 10, 2
NEAREST = 5
"""Features of the nearest change among which a match is drawn."""
SHIFT, CONTRAST = "dense shift", "dense contrast"


@dataclass(frozen=True)
class Controls:
    """Every control on test topics, in the main form."""

    base: Floats
    """(prompts,) right minus wrong without an edit, in logits."""
    tuned: Floats
    ten: Floats
    """(prompts,) of the tuned model under the chosen ten."""
    edits: tuple[Tested, ...]
    random: tuple[Tested, ...]
    matched: tuple[Tested, ...]


def measure(study: Study, earlier: Earlier, progress: Progress) -> Controls:
    """Sizes and tests of all."""
    dictionary, found = residual(study), earlier.of(Features)
    assert dictionary is not None
    ranking, quick = found.ranking, study.settings.quick
    generator = np.random.default_rng(study.settings.seed + 70)
    random = [
        candidate(dictionary, found, f"random ten {i + 1}", *random_ten(found, generator))
        for i in range(QUICK_RANDOM if quick else RANDOM)
    ]
    matched = [
        candidate(dictionary, found, f"matched ten {i + 1}", *matched_ten(found, generator))
        for i in range(QUICK_MATCHED if quick else MATCHED)
    ]
    dense = [Candidate(SHIFT, (), -ranking.shift)]
    if np.isfinite(ranking.contrast).all():
        dense.append(Candidate(CONTRAST, (), -ranking.contrast))
    dense += _of_random_dictionary(study, dictionary)
    testing = Testing(study, "restore", dictionary.numbers, (study.spec.main,))
    wanted = [*dense, *random, *matched]
    tested = testing.tested(wanted, float(np.linalg.norm(ranking.shift)), progress)
    first, second = len(dense), len(dense) + len(random)
    doses = earlier.of(Doses)
    ten = next(one for one in doses.edits if (one.name, one.way) == (TEN, "restore"))
    main = [ask.family == study.spec.main.name for ask in tested_asks(study)]
    return Controls(
        base=doses.base[main],
        tuned=doses.tuned[main],
        ten=ten.contrast[main],
        edits=tuple(tested[:first]),
        random=tuple(tested[first:second]),
        matched=tuple(tested[second:]),
    )


def random_ten(found: Features, generator: np.random.Generator) -> tuple[Ints, Ints]:
    """Of all features that are active in either model and were not chosen."""
    ranking = found.ranking
    active = np.flatnonzero(np.maximum(ranking.base, ranking.tuned) > 0)
    chosen = np.ravel_multi_index(found.screening.chosen, ranking.base.shape)
    free = np.setdiff1d(active, chosen)
    drawn = generator.choice(free, min(CHOSEN, len(free)), replace=False)
    layer, feature = np.unravel_index(drawn, ranking.base.shape)
    return layer, feature


def matched_ten(found: Features, generator: np.random.Generator) -> tuple[Ints, Ints]:
    """For each chosen feature another whose activation changed about as much."""
    change = np.abs(found.ranking.change).ravel()
    chosen = np.ravel_multi_index(found.screening.chosen, found.ranking.change.shape)
    is_free = change > 0
    is_free[chosen] = False
    drawn = []
    for one in chosen:
        free = np.flatnonzero(is_free)
        if not len(free):
            break
        near = free[np.argsort(np.abs(change[free] - change[one]), kind="stable")[:NEAREST]]
        drawn.append(int(generator.choice(near)))
        is_free[drawn[-1]] = False
    layer, feature = np.unravel_index(np.array(drawn, dtype=int), found.ranking.change.shape)
    return layer, feature


def _of_random_dictionary(study: Study, dictionary: Dictionary) -> Iterator[Candidate]:
    """Ten random directions and the best of them, ranked and screened like features."""
    given = streams(study, dictionary.numbers)
    random = random_dictionary(dictionary, given, seed=study.settings.seed)
    ranking = rank(random, given)
    screening = screen(study, random, ranking, unreported)
    found = Features(ranking, screening)
    for name, count in (("ten", CHOSEN), ("one", 1)):
        layer, feature = (one[:count] for one in screening.chosen)
        plain = candidate(random, found, f"{name} of a random dictionary", layer, feature)
        yield replace(plain, features=())


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


def result(study: Study, found: Controls) -> ControlsResult:
    """The figures, and how far the ten features are above tens that were not chosen so."""
    figures = Figures(study, study.some_asks("test"), found.base, found.tuned)
    draws, lost = figures.shares.draws, figures.base - figures.tuned
    ten = figures.right(found.ten) - figures.tuned

    def over(others: tuple[Tested, ...]) -> Interval:
        """Above the best of them in every draw."""
        gained = np.stack([figures.gained(one) for one in others], 1)
        return draws.figure(
            lambda counts: (
                (counts @ ten - (counts @ gained).max(1)) / known_denominator(counts @ lost)
            )
        )

    return ControlsResult(
        edits=tuple(map(figures.row, found.edits)),
        random=tuple(map(figures.row, found.random)),
        matched=tuple(map(figures.row, found.matched)),
        over_random=over(found.random),
        over_matched=over(found.matched),
    )


def rows(study: Study, found: Controls) -> Iterator[Row]:
    """Every answer under every control."""
    tested = (*found.edits, *found.random, *found.matched)
    yield from edit_rows(study, study.some_asks("test"), tested)


STEP = Step("controls", Controls, measure, result, rows, lacks)
