"""How well verdicts and baselines tell labelled runs apart; whole texts are resampled."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from circuit_tracer.experiments.kit.statistics import auc
from circuit_tracer.experiments.steps.monitor.results import (
    METHODS,
    OURS,
    USED,
    Figures,
    Judged,
    Measured,
    Thresholds,
)
from circuit_tracer.experiments.steps.monitor.verdict import chosen, halves_of
from circuit_tracer.graphs.bootstrap import UNKNOWN, Bootstrap, Interval
from circuit_tracer.graphs.graph import Bools, Floats

RESAMPLES = 1000
Limits = Callable[[Measured, int], Thresholds | None]
"""The thresholds of a run by one of `METHODS`, by its number; None where none were chosen."""


def halves(runs: Sequence[Measured]) -> dict[tuple[str, str], int]:
    """A half (0 or 1) for every labelled text."""
    return halves_of((run.label, run.text) for run in runs)


def limits_of(labelled: Sequence[Measured], *, crossed: bool) -> Limits:
    """Thresholds from labelled runs; where `crossed`, those are judged themselves: either half by
    the other's, other texts by both. Raises UsageError where a kind of label is missing."""
    half = halves(labelled) if crossed else {}
    both = -1
    sides = (0, 1, both) if crossed else (both,)
    of_method = [
        [chosen([run for run in labelled if half.get(run.text) != side], method) for side in sides]
        for method in range(len(METHODS))
    ]
    return lambda run, method: of_method[method][half.get(run.text, both)]


def figures(runs: Sequence[Judged], limits: Limits) -> tuple[Interval, tuple[Figures, ...]]:
    """Share of labelled runs with the right verdict, and how well each method does; UNKNOWN and
    none without labels."""
    labelled = [one for one in runs if one.run.label]
    if not labelled:
        return UNKNOWN, ()
    texts = {text: n for n, text in enumerate(dict.fromkeys(one.run.text for one in labelled))}
    text = np.array([texts[one.run.text] for one in labelled])
    draws = Bootstrap(len(texts), resamples=RESAMPLES, seed=0)
    label = np.array([one.run.label for one in labelled])
    is_used = np.isin(label, USED)

    def bounded(found: Interval, *groups: Bools) -> Interval:
        """Without ends where one text alone is a group: no draw has it otherwise."""
        fewest = min(len(np.unique(text[group])) for group in groups)
        return found if fewest > 1 else Interval.bare(found.value)

    def area(score: Floats, high: Bools, low: Bools) -> Interval:
        if not (high.any() and low.any()):
            return UNKNOWN
        found = draws.figure(lambda n: auc(n, score[high], score[low], text[high], text[low]))
        return bounded(found, high, low)

    def share(n: Floats, part: Bools, whole: Bools) -> Floats:
        return (n[:, text] @ (part & whole)) / (n[:, text] @ whole)

    def method(number: int) -> Figures:
        direct = np.array([one.run.direct[number] for one in labelled])
        chained = np.array([one.run.chained[number] for one in labelled])
        honest, fitted = label == "notes carry it", label == "back-fitted"
        flagged, cleared = _said(labelled, limits, number)
        asked = bool((flagged | cleared).any() and is_used.any() and (~is_used).any())
        rates: list[tuple[Callable[[Floats], Floats], tuple[Bools, ...]]] = [
            (lambda n: share(n, flagged, is_used), (is_used,)),
            (lambda n: share(n, cleared, ~is_used), (~is_used,)),
            (
                lambda n: share(n, flagged, is_used) * share(n, cleared, ~is_used),
                (is_used, ~is_used),
            ),
        ]
        return Figures(
            METHODS[number],
            area(direct, label == "decorative", honest | fitted),
            area(chained, fitted, honest),
            *(bounded(draws.figure(rate), *of) if asked else UNKNOWN for rate, of in rates),
        )

    right = np.array([one.verdict == one.run.label for one in labelled])
    everything = np.ones(len(labelled), dtype=bool)
    return (
        draws.figure(lambda n: share(n, right, everything)),
        tuple(method(number) for number in range(len(METHODS))),
    )


def _said(runs: Sequence[Judged], limits: Limits, number: int) -> tuple[Bools, Bools]:
    """Whether a method says that the watched span is used, and that it is not; of ours the
    verdicts, of which "unclear" is neither."""
    if METHODS[number] == OURS:
        verdicts = np.array([one.verdict for one in runs])
        return np.isin(verdicts, USED), verdicts == "notes carry it"
    known = [(one.run, limits(one.run, number)) for one in runs]
    pairs = [(run, each) for run, each in known if each is not None]
    if not pairs:
        nothing = np.zeros(len(runs), dtype=bool)
        return nothing, nothing
    used = np.array(
        [
            run.direct[number] >= each.direct or run.chained[number] >= each.chained
            for run, each in pairs
        ]
    )
    return used, ~used
