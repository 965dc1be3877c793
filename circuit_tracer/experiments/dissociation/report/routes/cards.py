"""Four figures that say whether two routes are separate, as small panels side by side.

Each has a name, its value with the interval, the value on a scale, and one sentence. What D and the
swap show is as the verdict's rules found it (experiments/dissociation/verdict.py); the overlap,
which decides nothing, is below the ceiling if the intervals of both do not meet, and above the
floor likewise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from circuit_tracer.experiments.dissociation.report.plot import (
    Band,
    Scale,
    band,
    dot,
    ends,
    paragraph,
    shown,
)
from circuit_tracer.experiments.dissociation.results import (
    Dissociation,
    Holds,
    OverlapRow,
    Report,
    StoreResult,
)
from circuit_tracer.graphs.bootstrap import Interval
from circuit_tracer.render import palette
from circuit_tracer.render.axes import fitting
from circuit_tracer.render.markup import element, text
from circuit_tracer.render.text import text_width

GAP = 22.0


@dataclass(frozen=True)
class Card:
    """One figure."""

    name: str
    value: Interval
    percent: bool
    sentence: str
    span: tuple[float, float]
    marks: tuple[tuple[float, str], ...]
    """Values on the scale that are named below it."""
    control: Band | None = None


def cards(report: Report) -> list[Card]:
    """Those that were measured: overlap, D of early stores, D of late read-outs, swap."""
    found = [_overlap(report), _stores(report), _read_outs(report), _swap(report)]
    return [card for card in found if card is not None]


def _overlap(report: Report) -> Card | None:
    if report.overlap is None:
        return None
    pooled = {row.kind: row for row in report.overlap.rows if not row.first}
    own = pooled.get("fact x judgement")
    if own is None:
        return None
    ceiling, floor = pooled.get("ceiling"), pooled.get("floor")
    marks = [(floor.overlap.value, "unrelated")] if floor else []
    marks += [(ceiling.overlap.value, "paraphrases")] if ceiling else []
    sentence = overlap_sentence(own, ceiling, floor)
    return Card("Features in common", own.overlap, True, sentence, (0.0, 1.0), tuple(marks))


def overlap_sentence(own: OverlapRow, ceiling: OverlapRow | None, floor: OverlapRow | None) -> str:
    """Where the overlap lies between unrelated prompts and paraphrases."""
    less = ceiling is not None and own.overlap.high < ceiling.overlap.low
    more = floor is not None and own.overlap.low > floor.overlap.high
    if less and more:
        return "Less than paraphrases share, more than unrelated prompts."
    if less:
        return "Less than paraphrases share; not shown to be more than unrelated prompts."
    if more:
        return "More than unrelated prompts share; not shown to be less than paraphrases."
    return "Neither shown to be less than paraphrases share nor more than unrelated prompts."


def _stores(report: Report) -> Card | None:
    if report.stores is None:
        return None
    return _index(report, "D of early stores", "stores", report.stores)


def _read_outs(report: Report) -> Card | None:
    for one in report.ablation.index if report.ablation else ():
        if one.part == "late":
            return _index(report, "D of late read-outs", "read-outs", one)
    return None


def _index(report: Report, name: str, finding: str, own: Dissociation | StoreResult) -> Card | None:
    if not math.isfinite(own.index.value):
        return None
    span = fitting([*ends(own.index), *ends(own.shuffled)], low=-0.5, high=1.0, step=0.5)
    shuffled = Band(own.shuffled.low, own.shuffled.value, own.shuffled.high)
    marks = ((0.0, "0"), (1.0, "1"))
    what = "stores" if finding == "stores" else "features"
    sentence = index_sentence(own, _holds(report, finding), what)
    return Card(name, own.index, False, sentence, span, marks, shuffled)


def _holds(report: Report, finding: str) -> Holds:
    return next((one.holds for one in report.verdict.findings if one.name == finding), "unclear")


def index_sentence(one: Dissociation | StoreResult, holds: Holds, what: str) -> str:
    """What the dissociation index and its two sides show, `what` being "stores" or "features"."""
    if holds == "yes":
        return f"Separate: each answer loses more by its own {what}."
    if holds == "no":
        return f"Not separate: neither answer loses more by its own {what}."
    of_fact, of_judgement = one.fact_side.low > 0, one.judgement_side.low > 0
    if of_fact != of_judgement:
        answer = "the fact" if of_fact else "the judgement"
        return f"One-sided: only {answer} loses more by its own {what}."
    return "Open."


def _swap(report: Report) -> Card | None:
    rows = {
        row.family: row
        for row in (report.swap.rows if report.swap else ())
        if (row.layers, row.how, row.names) == ("early", "everything", "completed")
    }
    judgements = [family.name for family in report.families if family.route == "judgement"]
    facts = [family.name for family in report.families if family.route == "fact"]
    own = next((rows[name] for name in ("claims", *judgements) if name in rows), None)
    if own is None or not math.isfinite(own.follows.value):
        return None
    fact = next((rows[name].follows.value for name in facts if name in rows), math.nan)
    marks = [(0.0, "0 %")]
    if math.isfinite(fact):
        marks.append((fact, "completion"))
    sentence = SWAPS[_holds(report, "swap")]
    span = (0.0, 1.0)
    return Card("Judgement follows a swapped fact", own.follows, True, sentence, span, tuple(marks))


SWAPS: dict[Holds, str] = {
    "yes": "Both read the same recalled fact.",
    "no": "It does not read the fact that is completed.",
    "unclear": "Open.",
}
"""What the swap shows."""


def draw_cards(found: Sequence[Card], width: float) -> tuple[str, float]:
    """The cards in a row that starts at (0, 0), and its height."""
    if not found:
        return "", 0.0
    wide = (width - GAP * (len(found) - 1)) / len(found)
    parts, height = [], 0.0
    for number, card in enumerate(found):
        drawn, bottom = _card(card, number * (wide + GAP), wide)
        parts.append(drawn)
        height = max(height, bottom)
    return "".join(parts), height


def _card(card: Card, left: float, wide: float) -> tuple[str, float]:
    parts = [
        text(card.name, left, 11, font_size=10, font_weight="bold", fill=palette.INK),
        text(
            shown(card.value, percent=card.percent, sign=not card.percent),
            left,
            29,
            font_size=13,
            fill=palette.INK,
        ),
    ]
    scale, y = Scale(left + 5, left + wide - 5, *card.span), 45.0
    parts.append(
        element(
            "line", x1=scale.left, y1=y, x2=scale.right, y2=y, stroke=palette.RULE, stroke_width=1
        )
    )
    if card.control is not None:
        parts.append(band(scale, y, card.control, height=9))
    parts += _marks(card, scale, y)
    parts.append(dot(scale, y, card.value, "shared"))
    words, bottom = paragraph(card.sentence, left, y + 32, wide, size=9)
    return "".join([*parts, words]), bottom


def _marks(card: Card, scale: Scale, y: float) -> list[str]:
    """Named values on the scale; names that would meet are moved apart."""
    places = sorted((scale.at(value), words) for value, words in card.marks)
    parts, end = [], scale.left - 6
    for x, words in places:
        half = text_width(words, 8.5) / 2
        at = min(max(x, end + half + 4), scale.right + 5 - half)
        end = at + half
        parts.append(
            element("line", x1=x, y1=y - 6, x2=x, y2=y + 6, stroke=palette.QUIET, stroke_width=1)
        )
        parts.append(
            text(words, at, y + 17, font_size=8.5, text_anchor="middle", fill=palette.QUIET)
        )
    return parts
