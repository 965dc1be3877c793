"""Short automatic labels for features, from where they fire and what they promote.

A label reads "where → what": `banana → yellow` fires at banana and raises the logit of yellow;
`banana … is → yellow` fires at "is" after banana; `after is → red` fires at many tokens,
mostly right after "is"; a missing arrow means that no token stands out in what it promotes. No
model and no network are asked: a label is a summary of counts, not an understanding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

LONGEST = 28
"""Characters of a label."""
REACH = 8
"""Tokens before the peak in which context is looked for."""
GENERIC = 0.01
"""A token this frequent in the text (is, the, full stop) says little as a place."""
STANDS_OUT = 4.0
"""Standard deviations from which a promoted token is named."""


class Occurrence(NamedTuple):
    """One place where a feature fires."""

    before: Sequence[str]
    """Tokens before the peak, nearest last."""
    peak: str
    activation: float


class Promotion(NamedTuple):
    """A token and how far it stands out among all tokens, in standard deviations of the cosine
    between what the feature writes and the tokens' output directions (the logit itself would name
    the same few tokens of large norm again and again)."""

    token: str
    deviations: float


def make_label(
    occurrences: Sequence[Occurrence],
    promoted: Sequence[Promotion],
    suppressed: Sequence[Promotion],
    frequencies: Mapping[str, float],
) -> str:
    """The label of a feature; "" if it was never seen to fire.

    `promoted` and `suppressed` are sorted, strongest first; `frequencies` are shares of the text.
    """
    if not occurrences:
        return ""
    effect = effect_label(promoted, suppressed)
    for places in (3, 2, 1):
        where = _place(occurrences, frequencies, places)
        label = f"{where} {effect}" if effect else where
        if len(label) <= LONGEST:
            return label
    short_effect = effect_label(promoted[:1], suppressed[:1])
    room = LONGEST - len(short_effect) - 1 if short_effect else LONGEST
    label = f"{_cut(where, max(room, 8))} {short_effect}".strip()
    return _cut(label, LONGEST)


def effect_label(promoted: Sequence[Promotion], suppressed: Sequence[Promotion]) -> str:
    """ "→ yes", "→ red/blue", "→ not red", or nothing if no token stands out.

    Both are sorted, strongest first.
    """
    up = promoted[0].deviations if promoted else 0.0
    down = suppressed[0].deviations if suppressed else 0.0
    if down > STANDS_OUT and down > 1.3 * up:
        return f"→ not {shown_token(suppressed[0].token)}"
    if up < STANDS_OUT:
        return ""
    close = [p.token for p in promoted if p.deviations > 0.75 * up][:2]
    return "→ " + "/".join(shown_token(token) for token in close)


def _place(
    occurrences: Sequence[Occurrence], frequencies: Mapping[str, float], at_most: int
) -> str:
    occurrences = [o._replace(activation=o.activation**2) for o in occurrences]  # strong ones count
    peaks = _shares((o.peak, o.activation) for o in occurrences)
    few = _few(peaks, at_most)
    if few is None:
        previous = _shares((o.before[-1], o.activation) for o in occurrences if o.before)
        if previous and previous[0][1] >= 0.6:
            return f"after {shown_token(previous[0][0])}"
        context = _context(occurrences, frequencies, least=0.6)
        if context is not None:
            return f"{shown_token(context)} …"
        return "/".join(shown_token(token) for token, _ in peaks[:at_most]) + "/…"
    generic = frequencies.get(few[0], 0.0) > GENERIC
    context = _context(occurrences, frequencies, least=0.45 if generic else 0.8)
    words = "/".join(shown_token(token) for token in few)
    if context is None or context in few:
        return words
    adjacent = _shares(
        (str(bool(o.before) and o.before[-1] == context), o.activation) for o in occurrences
    )
    near = dict(adjacent).get("True", 0.0) > 0.5
    return f"{shown_token(context)} {'' if near else '… '}{words}"


def _few(peaks: Sequence[tuple[str, float]], at_most: int) -> list[str] | None:
    """The fewest tokens that make up most of the peaks; None if it takes more than three."""
    total = 0.0
    for count, needed in ((1, 0.6), (2, 0.75), (3, 0.85)):
        total = sum(share for _, share in peaks[:count])
        if total >= needed:
            return [token for token, _ in peaks[: min(count, at_most)]]
    return None


def _context(
    occurrences: Sequence[Occurrence], frequencies: Mapping[str, float], *, least: float
) -> str | None:
    """The token that comes before most peaks and much more often than by chance."""
    entries = [(token, o.activation) for o in occurrences for token in set(o.before[-REACH:])]
    total = sum(o.activation for o in occurrences)
    sums: dict[str, float] = {}
    for token, activation in entries:
        sums[token] = sums.get(token, 0.0) + activation
    best, best_score = None, 0.0
    for token in sorted(sums):
        share = sums[token] / max(total, 1e-12)
        chance = 1 - (1 - min(frequencies.get(token, 0.0), 0.999)) ** REACH
        lift = share / max(chance, 1e-3)
        if share >= least and lift >= 3 and share * math.log(lift) > best_score:
            best, best_score = token, share * math.log(lift)
    return best


def _shares(pairs: object) -> list[tuple[str, float]]:
    """Weighted shares of tokens, largest first, ties in alphabetical order."""
    sums: dict[str, float] = {}
    for token, weight in pairs:  # type: ignore[attr-defined]
        sums[token] = sums.get(token, 0.0) + weight
    total = max(sum(sums.values()), 1e-12)
    return sorted(((t, s / total) for t, s in sums.items()), key=lambda p: (-p[1], p[0]))


def shown_token(token: str) -> str:
    """A token as it stands in a label: no leading blank, punctuation quoted, controls spelt out."""
    text = token.strip() or token
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return text if any(c.isalnum() for c in text) else f'"{text}"'


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"
