"""Shares passed back through written tokens until only the prompt is left (method.md 11).

Arrays alone, no model. Shapes: T tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

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
