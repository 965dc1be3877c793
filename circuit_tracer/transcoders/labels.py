"""Short automatic labels for features, from where they fire and what they promote.

A label reads "where → what": `banana → yellow` fires at banana and raises the logit of yellow;
`banana/lemon … is → yellow` fires at "is" after banana or lemon, `banana is` right after them;
`after is → red` fires at many tokens, right after "is"; `red/blue/…` at these and others. A missing
arrow means that no token stands out in what it promotes. No model and no network are asked: a label
is a summary of counts, not an understanding. label_places.py chooses the words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from circuit_tracer.transcoders.label_places import Background, Occurrence, Place, best_place

LONGEST = 28
"""Characters of a label."""
STANDS_OUT = 4.0
"""Standard deviations from which a promoted token is named."""
LISTED = 0.8
"""Share of the activation from which the peaks of a label are all that need be named."""


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
    background: Background,
) -> str:
    """The label of a feature; "" if it was never seen to fire.

    `promoted` and `suppressed` are sorted, strongest first.
    """
    if not occurrences:
        return ""
    place = best_place(occurrences, background)
    peaks = _shares(occurrences)
    effects = [effect_label(promoted[:n], suppressed[:1]) for n in (len(promoted), 1)]
    while True:
        where = _words(place, peaks)
        for effect in effects:
            label = f"{where} {effect}" if effect else where
            if len(label) <= LONGEST:
                return label
        if len(place.peaks) + len(place.context) <= 1:
            break
        place = _shorter(place)
    room = LONGEST - len(effects[1]) - 1 if effects[1] else LONGEST
    return _cut(f"{_cut(where, max(room, 8))} {effects[1]}".strip(), LONGEST)


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


def _words(place: Place, peaks: Sequence[tuple[str, float]]) -> str:
    """A place as a label says it; the most frequent of the `peaks` where it names nothing."""
    context = "/".join(map(shown_token, place.context))
    if not place.peaks and context:
        return f"after {context}" if place.reach == 1 else f"{context} …"
    named = place.peaks or tuple(token for token, _ in peaks[:3])
    words = "/".join(map(shown_token, named))
    if sum(share for token, share in peaks if token in named) < LISTED:
        words += "/…"
    between = " " if place.reach == 1 else " … "
    return f"{context}{between}{words}" if context else words


def _shorter(place: Place) -> Place:
    """Without the word that was added last to the longer list."""
    if len(place.peaks) > len(place.context) or len(place.peaks) > 1:
        return place._replace(peaks=place.peaks[:-1])
    return place._replace(context=place.context[:-1])


def _shares(occurrences: Sequence[Occurrence]) -> list[tuple[str, float]]:
    """Share of the activation of every peak, largest first, ties in alphabetical order."""
    sums: dict[str, float] = {}
    for occurrence in occurrences:
        sums[occurrence.peak] = sums.get(occurrence.peak, 0.0) + occurrence.activation
    total = max(sum(sums.values()), 1e-12)
    return sorted(((t, s / total) for t, s in sums.items()), key=lambda p: (-p[1], p[0]))


def shown_token(token: str) -> str:
    """A token as it stands in a label: no leading blank, punctuation quoted, controls spelt out."""
    text = token.strip() or token
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return text if any(c.isalnum() for c in text) else f'"{text}"'


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"
