"""A prompt coloured by what its words do, as an SVG figure one column wide, and as a page.

Below the prompt a row a word that pulls or flips the answer: a bar to the right pulls for the
answer, to the left against it, with ticks at its single edits.
"""

from __future__ import annotations

from circuit_tracer.experiments.edits.report.terminal import (
    FAINT,
    headline,
    meaning,
    pieces,
    strength,
)
from circuit_tracer.experiments.edits.results import EditsReport, Word
from circuit_tracer.graphs.token_text import shown
from circuit_tracer.render import palette
from circuit_tracer.render.markup import element, title
from circuit_tracer.render.markup import words as escaped
from circuit_tracer.render.numbers import decimals
from circuit_tracer.render.places import COLUMN
from circuit_tracer.render.strips import strip_html, strip_svg
from circuit_tracer.render.svg_page import (
    bold,
    ink,
    line,
    paragraph,
    quiet,
    rect,
)
from circuit_tracer.render.text import printable, shorten_to_width, text_width

SIZE, SMALL = 7.5, 6.5
LINE = 13.0
NAME, NUMBERS = 54.0, 42.0
BAR = COLUMN - NAME - NUMBERS
MOST_ROWS = 14
NOTE = (
    "Blue pulls for the answer, orange against it: the mean change of the contrast, in logits, "
    "with others of its class in a word's place, or without it; ticks are single edits. ! flips "
    "the answer."
)


def edits_svg(report: EditsReport) -> str:
    """The figure of a report."""
    prompt, y = _prompt(report)
    rows, y = _rows(report, y + 4)
    words = f"{report.verdict.kind}: {report.verdict.sentence}. {headline(report)}. {NOTE}"
    caption, bottom = paragraph(words, 0, y + SMALL + 2, COLUMN, size=SMALL, color=palette.QUIET)
    name = f"Which words decide the answer {report.answer.strip()}?"
    return strip_svg(name, bottom, *prompt, *rows, caption)


def edits_html(report: EditsReport) -> str:
    """The page of a report: rest on a word to see what its edits did."""
    verdict = f"{report.verdict.kind}: {report.verdict.sentence}"
    pullers = [one for one in report.verdict.pullers if one.route]
    items = "".join(f"<li>{escaped(f'{one.text}: {one.route}')}</li>" for one in pullers)
    routes = f"<ul>{items}</ul>\n" if items else ""
    body = (
        f'<h1 id="prompt"></h1>\n<p class="verdict">{escaped(verdict)}</p>\n{routes}'
        f"<p>{escaped(headline(report))}</p>\n"
        '<div id="edits"></div>\n<div id="routes"></div>\n'
        f"<p>{escaped(meaning(report))} Rest on a word, or tab to it, to see its edits; underlined "
        "words flip the answer.</p>"
    )
    return strip_html("edits", f"Edits: {report.prompt}", body, report)


def color_of(part: float) -> str:
    """The colour of a pull, given as a part of the strongest."""
    color = palette.POSITIVE if part > 0 else palette.NEGATIVE
    return palette.mixed(color, 0.55 * min(abs(part), 1.0))


def _prompt(report: EditsReport) -> tuple[list[str], float]:
    """The prompt in lines, its words in boxes, and the y below it."""
    parts: list[str] = []
    x, y = 0.0, 0.0
    whole = [*pieces(report), (f"→ {shown(report.answer.strip())}", None)]
    for text, word in whole:
        mark = "!" if word is not None and word.flips else ""
        for piece in [text] if word is not None else text.split():
            words = shorten_to_width(printable(piece + mark), SIZE, COLUMN - 4)
            wide = text_width(words, SIZE) + 4
            if x and x + wide > COLUMN:
                x, y = 0.0, y + LINE
            part = 0.0 if word is None else strength(report, word.pull)
            if word is not None:
                box = rect(x, y, wide, SIZE + 4, rx=1.5, fill=color_of(part))
                tip = title(f"{word.text}: {decimals(word.pull, sign=True)}")
                parts.append(element("g", tip, box))
            is_loud = word is not None and abs(part) > 0.5
            write = bold if is_loud else _plain
            parts.append(write(words, x + 2, y + SIZE + 1, SIZE))
            x += wide + 1
    return parts, y + LINE


def _plain(words: str, x: float, y: float, size: float) -> str:
    return ink(words, x, y, font_size=size)


def _rows(report: EditsReport, y: float) -> tuple[list[str], float]:
    """A bar a word that says something."""
    loud = [
        one
        for one in [*report.words, *report.clauses]
        if abs(strength(report, one.pull)) >= FAINT or one.flips
    ]
    ranked = sorted(loud, key=lambda one: -abs(one.pull))[:MOST_ROWS]
    rows = [one for one in loud if one in ranked]
    changes = {one.name: one.change for one in report.edits}
    most = max((abs(changes[name]) for one in rows for name in one.edits), default=1.0) or 1.0
    middle = NAME + BAR / 2
    parts = [line((middle, y - 1), (middle, y + LINE * len(rows)), palette.RULE)] if rows else []
    for one in rows:
        parts.append(_row(one, y, middle, [changes[name] for name in one.edits], most))
        y += LINE
    if len(loud) > len(rows):
        parts.append(quiet(f"and {len(loud) - len(rows)} more", NAME, y + SIZE, font_size=SMALL))
        y += LINE
    return parts, y


def _row(span: Word, y: float, middle: float, changes: list[float], most: float) -> str:
    scale = BAR / 2 / most
    wide = min(abs(span.pull), most) * scale
    color = palette.POSITIVE if span.pull > 0 else palette.NEGATIVE
    left = middle if span.pull > 0 else middle - wide
    name = shorten_to_width(printable(span.text), SIZE, NAME - 4)
    ticks = [
        line((at, y + 0.5), (at, y + SIZE + 1.5), palette.INK, stroke_width=0.6)
        for at in (middle - change * scale for change in changes)
    ]
    return element(
        "g",
        title(f"{span.text}: {decimals(span.pull, sign=True)}"),
        ink(name, 0, y + SIZE, font_size=SIZE),
        rect(left, y + 1.5, wide, SIZE - 1, fill=palette.mixed(color, 0.7)),
        *ticks,
        ink(
            decimals(span.pull, sign=True) + (" !" if span.flips else ""),
            NAME + BAR + 6,
            y + SIZE,
            font_size=SMALL,
        ),
    )
