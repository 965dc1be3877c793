"""What decides an answer, by rules.

*conflict*: two spans pull against each other. One whose loss leaves the answer and makes it
stronger, one whose loss makes it weaker; the weaker pull is at least `CONFLICT` of the stronger,
and the first at least that part of the contrast. *decided by*: a span whose loss flips the answer
and lowers the contrast, alone. *spread*: neither. Words whose loss is measured by others of their
class in their place count first, then those that could be deleted alone, which may break the
sentence as well, then clauses; of these the strongest first. Signs are shown and not judged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from circuit_tracer.experiments.edits.results import Puller, Verdict, Word
from circuit_tracer.render.numbers import decimals, percent

CONFLICT = 1 / 3
NAMED = 3
"""Most spans that a verdict names."""


def in_order(words: Sequence[Word], clauses: Sequence[Word]) -> list[Word]:
    """The spans that a verdict may name, what counts first at the front."""
    named = [one for one in words if any(map(str.isalnum, one.text))]
    groups = [one for one in named if one.replaced], [one for one in named if not one.replaced]
    return [
        one
        for spans in (*groups, clauses)
        for one in sorted(spans, key=lambda span: -abs(span.pull))
    ]


def conflict_of(words: Sequence[Word], clauses: Sequence[Word], contrast: float) -> list[Word]:
    """The two spans that pull against each other, that for the answer first; none where none do."""
    spans = in_order(words, clauses)
    for against in (one for one in spans if one.pull < 0 and not one.flips):
        apart = (one for one in spans if one.stop <= against.start or against.stop <= one.start)
        toward = next((one for one in apart if one.pull > 0), None)
        if toward is None:
            continue
        weak, strong = sorted((toward.pull, -against.pull))
        if weak >= CONFLICT * strong and -against.pull >= CONFLICT * abs(contrast):
            return [toward, against]
    return []


def deciding(words: Sequence[Word], clauses: Sequence[Word]) -> list[Word]:
    """The spans that flip the answer, each alone: words, else clauses."""
    found = [one for one in in_order(words, clauses) if one.flips and one.pull > 0]
    return [one for one in found if one in words] or found


def judged(
    words: Sequence[Word],
    clauses: Sequence[Word],
    contrast: float,
    route_of: Callable[[Word], str] = lambda word: "",
) -> Verdict:
    """The verdict; `route_of` a span says along which route it pulls."""

    def named(spans: Sequence[Word]) -> tuple[Puller, ...]:
        return tuple(Puller(one.text, one.pull, route_of(one)) for one in spans)

    if pair := conflict_of(words, clauses, contrast):
        toward, against = pair
        sentence = (
            f'"{toward.text}" pulls for the answer ({decimals(toward.pull, sign=True)}), '
            f'"{against.text}" against it ({decimals(against.pull, sign=True)})'
        )
        return Verdict("conflict", sentence, named(pair))
    if spans := deciding(words, clauses):
        listed = ", ".join(f'"{one.text}"' for one in spans[:NAMED])
        more = f" and {len(spans) - NAMED} more" if len(spans) > NAMED else ""
        alone = "each alone flips" if len(spans) > 1 else "alone flips"
        return Verdict("decided by", f"{listed}{more}: {alone} the answer", named(spans[:NAMED]))
    ranked = in_order(words, ())[:NAMED]
    if not ranked:
        return Verdict("spread", "there is no word to edit", ())
    part = percent(abs(ranked[0].pull / contrast)) if contrast else "?"
    sentence = f'no word flips the answer; most hangs on "{ranked[0].text}", {part} of the contrast'
    return Verdict("spread", sentence, named(ranked))
