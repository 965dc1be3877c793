"""Shares passed back through written tokens until only the prompt is left (method.md 11): from the
rows of a transcript to the shares of its steps and watched spans.

Decided tokens are followed back, and nothing else: most words only say what the sentence's form
asks for. A token is decided where enough of the answer passes through it; the weightiest one of
every step is followed, too, to say where the step came from. Arrays alone, no model.

Shapes: T tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from circuit_tracer.errors import UsageError
from circuit_tracer.experiments.steps.results import ANSWER, Arrow
from circuit_tracer.experiments.steps.rows import Row
from circuit_tracer.experiments.steps.transcript import Span, Transcript
from circuit_tracer.graphs.graph import Floats, Ints

NOISE = 2.2
"""Mean square of normal noise, as a multiple of its median square: the median token of a row is
taken for noise, since half of all tokens carry nothing."""


class Chain(NamedTuple):
    """Where an answer came from, through the tokens that were decided on the way."""

    ends: Floats
    """(T,) shares that end at each token; 1 in all. 0 at tokens that were passed through."""
    passes: Floats
    """(T,) shares that pass through each token, or end there."""
    arrives: Floats
    """(T,) shares that each token passes on to other steps and the answer: what tokens of one step
    pass to each other is not counted again, so that a step's sum is what it carries."""
    noise: Floats
    """(T,) what of `arrives` says nothing, every row's own floor passed back with it."""


def chained(answer: Floats, decided: Mapping[int, Floats], step: Ints) -> Chain:
    """Substitute each decided token's own shares for it, the last one first.

    `answer` (T,) and the shares of every decided position (T,) sum to 1; a token's lie before it.
    `step` (T,) numbers the steps that tokens belong to.
    """
    ends, passes, arrives = answer.copy(), answer.copy(), answer.copy()
    noise = np.full(len(answer), noise_floor(answer, len(answer)))
    for place in sorted(decided, reverse=True):
        share, row = ends[place], decided[place]
        ends[place] = 0.0
        ends = ends + share * row
        passes = passes + share * row
        is_other = (step != step[place]) & (np.arange(len(answer)) < place)
        arrives = arrives + share * row * is_other
        noise = noise + share * noise_floor(row, place) * is_other
    return Chain(ends, passes, arrives, noise)


def noise_floor(row: Floats, before: int) -> float:
    """What share of a row a token that says nothing has on average; BOS, the first, is not asked.

    Shares are of squared effects (method.md 11).
    """
    return NOISE * float(np.median(row[1:before])) if before > 1 else 0.0


def margin(tokens: int) -> float:
    """How many times its mean the noise of so many tokens may be: two standard deviations more,
    those of a sum of normal squares."""
    return 1 + 2 * math.sqrt(2 / max(tokens, 1))


DECIDED = 0.02
"""Share of the answer that passes through a token which is followed back; no floor lies lower."""
COVERAGE = 0.95
"""Share of the answer that is followed back to the prompt: less may be left in the notes."""
AT_ONCE = 64
"""Notes of so few tokens have all their rows made in one walk: more rounds would cost more."""
ROUNDS = 64
"""Most rounds of following back: each goes at least one decided token further down."""


@dataclass(frozen=True)
class Shares:
    """Rows of the answer and of decided tokens, and the answer's shares through them."""

    answer: Row
    decided: dict[int, Row]
    chain: Chain

    def direct(self, span: Span) -> float:
        """A span's part of the answer's own row."""
        return float(self.answer.shares[span.start : span.stop].sum())

    def chained(self, span: Span) -> float:
        """Of a step what passes through it, of the prompt what ends there."""
        return float(self.chain.arrives[span.start : span.stop].sum())

    def direct_floor(self, span: Span) -> float:
        """A direct share up to which a span of this many tokens says nothing."""
        row, n = self.answer.shares, span.stop - span.start
        return max(noise_floor(row, len(row)) * n * margin(n), DECIDED)

    def chained_floor(self, span: Span) -> float:
        """The same of its chained share."""
        noise = float(self.chain.noise[span.start : span.stop].sum())
        return max(noise * margin(span.stop - span.start), DECIDED)

    def heads(self, span: Span) -> list[int]:
        """Positions of a step's decided tokens."""
        return sorted(at for at in self.decided if span.start <= at < span.stop)


RowsOf = Callable[[Sequence[int]], Sequence[Row]]


def followed(
    read: Transcript,
    rows_of: RowsOf,
    given: Sequence[int] = (),
    *,
    coverage: float = COVERAGE,
) -> Shares:
    """Follow an answer back through its notes; `given` names the decided tokens, if wanted.

    Of long notes a row is a walk of its own: they are followed until less than 1 - `coverage` of
    the answer is left in them, and the weightiest token of a step where the step carries anything.
    Raises UsageError for a coverage that nothing depends on.
    """
    notes = range(read.first_note, read.n_tokens + 1)
    is_long = len(notes) > AT_ONCE
    if coverage != COVERAGE and (given or not is_long):
        why = "`decided` names what is followed back"
        if not is_long:
            why = f"the notes have {len(notes) - 1} tokens, and all is followed below {AT_ONCE}"
        raise UsageError(f"`coverage` has no effect: {why}; leave it out")
    first = [*(notes[-1:] if is_long else notes)]
    known = dict(zip(first, rows_of(first), strict=True))
    answer = known[read.n_tokens]
    numbers = np.full(read.n_tokens, -1)
    for number, step in enumerate(read.steps):
        numbers[step.start : step.stop] = number
    decided: dict[int, Row] = {}
    for _ in range(ROUNDS):
        chain = chained(answer.shares, {at: row.shares for at, row in decided.items()}, numbers)
        wanted = set(given) if given else _decided(read, chain, is_long)
        if is_long and not given and chain.ends[read.first_note :].sum() < 1 - coverage:
            break
        coming = sorted(wanted - decided.keys())
        if not coming:
            break
        missing = [at for at in coming if at not in known]
        known |= zip(missing, rows_of(missing), strict=True)
        decided |= {at: known[at] for at in coming}
    return Shares(answer, decided, chain)


def _decided(read: Transcript, chain: Chain, is_long: bool) -> set[int]:
    """Tokens that pass enough on, and the weightiest one of every step; in long notes of those
    that carry."""
    notes = range(read.first_note, read.n_tokens)
    loud = {at for at in notes if chain.passes[at] > DECIDED}
    steps = [
        step
        for step in read.steps
        if not is_long or chain.arrives[step.start : step.stop].sum() > DECIDED
    ]
    heads = {step.start + int(chain.passes[step.start : step.stop].argmax()) for step in steps}
    return loud | heads


def arrows(read: Transcript, shares: Shares, parts: Sequence[Span]) -> list[Arrow]:
    """What the answer and each step draw from the parts before them, above the noise floor."""
    found = _arrows(ANSWER, shares.answer.shares, read.n_tokens, parts)
    for step in read.steps:
        heads = shares.heads(step)
        weights = shares.chain.passes[heads]
        if heads and weights.sum() > 0:
            rows = np.array([shares.decided[at].shares for at in heads])
            found += _arrows(step.name, weights @ rows / weights.sum(), step.start, parts)
    return found


def _arrows(target: str, row: Floats, before: int, parts: Sequence[Span]) -> list[Arrow]:
    """The parts that end before a position and give more than noise, and more than a trifle; `row`
    holds the target's shares."""
    floor = noise_floor(row, before)
    drawn = [(part, float(row[part.start : part.stop].sum())) for part in parts]
    return [
        Arrow(part.name, target, share)
        for part, share in drawn
        if part.stop <= before
        and share > max(floor * (n := part.stop - part.start) * margin(n), DECIDED)
    ]
