"""The words that say where a feature fires: those that tell its places from a text's other places.

A place names tokens at which a feature fires (peaks) and tokens that come shortly before (context).
It gives every position a level: 2 for a peak, 1 for a context, 3 for both, else 0; how good it is
says the area under the ROC curve of these levels, of the feature's places, weighted by activation,
against places drawn from the text. Words are added one at a time, the best first, as long as each
takes away enough of what the area misses of 1. Generic words ("is", punctuation) have to take away
more, and beside nothing but generic words one that is not needs hardly take away anything.

Shapes: C candidates, N places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

REACH = 8
"""Tokens before the peak in which context is looked for."""
LEVELS = 4
GENERIC = 0.02
"""A token this frequent in the text (is, the, full stop) says little as a place."""
FUNCTION_WORDS = frozenset(
    "a an and are as at be but by for from had has have he her his in is it its not of on or she "
    "that the their they this to was we were which with you".split()
)
"""Generic where the text is not known."""
MOST_PEAKS, MOST_CONTEXT = 3, 2
"""Words of a place."""
NEEDED = {(False, False): 0.15, (True, False): 0.3, (False, True): 0.25, (True, True): 0.8}
"""Share of the error that a further word has to take away, by whether it is context and generic."""
NEEDED_BESIDE_GENERIC = 0.02
"""The same for one that is not, where all words so far are generic."""
LEAST_SHARE = 0.08
"""Share of the activation at which a token has to stand, to be looked at..."""
LEAST_PLACES = 2
"""...and at how many places."""

Table = NDArray[np.float64]


class Occurrence(NamedTuple):
    """One place where a feature fires, or any place of a text."""

    before: Sequence[str]
    """Tokens before the peak, nearest last."""
    peak: str
    activation: float


class Place(NamedTuple):
    """Where a feature fires, in words of a text."""

    peaks: tuple[str, ...]
    context: tuple[str, ...]
    reach: int
    """How many tokens back the context may be."""


class Background:
    """Places of a text whatever fires there, and shares of the text that its tokens are.

    Frequencies are left out where the text is not known.
    """

    def __init__(
        self, places: Sequence[Occurrence], frequencies: Mapping[str, float] | None = None
    ) -> None:
        self.places, self.frequencies = places, frequencies

    def is_generic(self, token: str) -> bool:
        """Whether a token says little: punctuation, or everywhere in the text."""
        if not any(c.isalnum() for c in token):
            return True
        if self.frequencies is None:
            return token.strip().lower() in FUNCTION_WORDS
        return self.frequencies.get(token, 0.0) > GENERIC

    @cached_property
    def words(self) -> _Words:
        """Where its tokens stand."""
        return _Words(self.places, np.ones(len(self.places)))


def best_place(occurrences: Sequence[Occurrence], background: Background) -> Place:
    """The few words that tell where a feature fires; none where no word stands out."""
    weights = np.array([o.activation for o in occurrences], dtype=np.float64)
    words = _Words(occurrences, weights)
    grown = [_grown(words, background, reach) for reach in (1, REACH)]
    return min(grown, key=lambda found: found[0])[1]


class _Words:
    """Where tokens stand among N weighted places: at them (reach 0), or up to `reach` before."""

    def __init__(self, places: Sequence[Occurrence], weights: Table) -> None:
        self.weights = weights
        self.where: dict[tuple[int, str], set[int]] = {}
        for number, place in enumerate(places):
            self.where.setdefault((0, place.peak), set()).add(number)
            for back, token in enumerate(reversed(place.before[-REACH:]), 1):
                for reach in (1, REACH) if back == 1 else (REACH,):
                    self.where.setdefault((reach, token), set()).add(number)
        self._masks: dict[tuple[int, str], Table] = {}

    def at(self, reach: int, token: str) -> Table:
        """(N,) 1 where the token stands, else 0."""
        key = reach, token
        if key not in self._masks:
            mask = np.zeros(len(self.weights))
            mask[list(self.where.get(key, ()))] = 1.0
            self._masks[key] = mask
        return self._masks[key]

    def frequent(self, reach: int) -> list[tuple[int, str]]:
        """Tokens with enough of the weight at their places, in alphabetical order."""
        least = LEAST_SHARE * float(self.weights.sum())
        places = min(LEAST_PLACES, len(self.weights))
        return sorted(
            key
            for key, at in self.where.items()
            if key[0] in (0, reach)
            and len(at) >= places
            and float(self.weights[list(at)].sum()) >= least
        )

    def shares(self, place: Place, more: Sequence[tuple[int, str]], masks: Table) -> Table:
        """(C, levels) the weight at each level of all, with each of `more`, whose masks are given.

        What a word adds stands where the place has none of its kind yet.
        """
        peak, near = np.zeros(len(self.weights)), np.zeros(len(self.weights))
        for token in place.peaks:
            peak = np.maximum(peak, self.at(0, token))
        for token in place.context:
            near = np.maximum(near, self.at(place.reach, token))
        w = self.weights
        parts = [w * (1 - peak), w * (1 - peak) * near, w * (1 - near), w * (1 - near) * peak]
        added = masks @ np.stack(parts, 1)
        context = np.array([back > 0 for back, _ in more])
        peaks = w @ peak + np.where(context, 0.0, added[:, 0])
        nears = w @ near + np.where(context, added[:, 2], 0.0)
        both = w @ (peak * near) + np.where(context, added[:, 3], added[:, 1])
        total = max(float(w.sum()), 1e-12)
        rest = total - peaks - nears + both
        return np.stack([rest, nears - both, peaks - both, both], 1) / total


def _grown(words: _Words, background: Background, reach: int) -> tuple[float, Place]:
    """A place grown word by word, and what its area misses of 1."""
    place, error = Place((), (), reach), 0.5
    candidates = words.frequent(reach)
    generic = np.array([background.is_generic(token) for _, token in candidates], dtype=bool)
    masks = [
        np.array([either.at(*one) for one in candidates]) for either in (words, background.words)
    ]
    is_open = np.ones(len(candidates), dtype=bool)
    while is_open.any():
        own = words.shares(place, candidates, masks[0])
        chance = background.words.shares(place, candidates, masks[1])
        errors = 1 - (own * (np.cumsum(chance, 1) - chance / 2)).sum(1)
        chosen = {(0, token) for token in place.peaks} | {(reach, t) for t in place.context}
        weak = all(generic[candidates.index(one)] for one in chosen)
        needed = np.array(
            [
                NEEDED_BESIDE_GENERIC if weak and not says_little else NEEDED[back > 0, says_little]
                for (back, _), says_little in zip(candidates, generic.tolist(), strict=True)
            ]
        )
        allowed = is_open & (errors <= (1 - needed * bool(chosen)) * error)
        if not allowed.any():
            break
        best = int(np.argmin(np.where(allowed, errors, np.inf)))
        error, (back, token) = float(errors[best]), candidates[best]
        if back:
            place = place._replace(context=(*place.context, token))
        else:
            place = place._replace(peaks=(*place.peaks, token))
        full = len(place.peaks) >= MOST_PEAKS, len(place.context) >= MOST_CONTEXT
        is_open &= [not full[b > 0] for b, _ in candidates]
        is_open[best] = False
    return error, place
