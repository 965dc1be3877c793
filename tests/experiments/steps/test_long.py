"""Long notes: few rows are made, and what is left is said; estimates come before the walks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from circuit_tracer.attribution.settings import TraceSettings
from circuit_tracer.attribution.totals_tracing import trace_totals
from circuit_tracer.attribution.tracing import Progress
from circuit_tracer.errors import UsageError
from circuit_tracer.experiments.steps.rows import Row
from circuit_tracer.experiments.steps.shares import DECIDED, followed
from circuit_tracer.experiments.steps.transcript import Span, Transcript
from circuit_tracer.workbench import stepping
from tests.attribution.frozen import PROMPT, captured
from tests.tiny import random_dictionary

N, FIRST, STEP = 400, 20, 10
STEPS = tuple(Span(f"S{n}", "", at, at + STEP) for n, at in enumerate(range(FIRST, N, STEP)))
READ = Transcript("", "", tuple(range(N)), FIRST, STEPS, ())


class Chained:
    """An answer that draws on every fourth step's last token, and each of these on the one before;
    counts the rows that are asked for."""

    def __init__(self, kept: float) -> None:
        self.kept, self.asked = kept, [0]

    def __call__(self, places: Sequence[int]) -> list[Row]:
        self.asked += [*places]
        return [self._row(place) for place in places]

    def _row(self, place: int) -> Row:
        tokens = np.full(N, 1e-3)
        tokens[place:] = 0
        before = place - 4 * STEP if place < N else N - 1
        tokens[before if before >= FIRST else 3] = self.kept
        return Row(place, tokens, error=0.0, constant=0.0, value=0.0)


def test_only_tokens_that_carry_are_followed() -> None:
    rows = Chained(kept=1.0)
    shares = followed(READ, rows, coverage=1.0)
    assert len(rows.asked) < 20
    assert len(set(rows.asked)) == len(rows.asked)
    assert sorted(shares.decided) == sorted(range(N - 1, FIRST, -4 * STEP))
    assert shares.chain.ends[3] > 0.98


def test_coverage_ends_it_when_little_is_left() -> None:
    """The answer draws half on the prompt and half on its chain, which goes on halving."""

    class Halving(Chained):
        def _row(self, place: int) -> Row:
            row = super()._row(place)
            row.tokens[3] = self.kept
            return row

    lefts = []
    for coverage in (0.6, 0.9):
        shares = followed(READ, Halving(1.0), coverage=coverage)
        lefts.append(float(shares.chain.ends[FIRST:].sum()))
        assert lefts[-1] < 1 - coverage
    assert lefts[1] < lefts[0]
    assert lefts[0] > DECIDED


def test_a_coverage_is_a_share() -> None:
    for coverage in (0.0, 1.5):
        with pytest.raises(UsageError, match=r"`coverage` .* must be above 0 and at most 1"):
            stepping.steps("tom said 3 . 1 plus 1 plus 1 :", "so", coverage=coverage)


def test_what_walks_take_is_said_before_them() -> None:
    model, _ = captured("llama", torch.float32)
    seen: list[Progress] = []
    trace_totals(model, random_dictionary(model), PROMPT, TraceSettings(), on_progress=seen.append)
    (sweep,) = (one for one in seen if one.stage == "sweep")
    assert "rows over 10 tokens: about 0 s and" in sweep.note
    assert 0 < sweep.seconds < 60
