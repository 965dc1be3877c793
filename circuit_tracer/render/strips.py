"""Figures and pages one column wide of a prompt's words, or of a transcript's steps."""

from __future__ import annotations

from typing import Any

from circuit_tracer.render.html import assembled, joined, viewer_file, with_texts
from circuit_tracer.render.markup import title
from circuit_tracer.render.page_size import finished
from circuit_tracer.render.places import COLUMN, COLUMN_MARGIN, COLUMN_MM
from circuit_tracer.render.svg_page import document, paper, shift


def strip_svg(name: str, height: float, *parts: str) -> str:
    """An SVG figure of parts that stand in `COLUMN` x `height`; the same bytes each time."""
    ground = paper(COLUMN, height, margin=COLUMN_MARGIN)
    inside = shift(COLUMN_MARGIN, COLUMN_MARGIN, *parts)
    page = document(COLUMN, height, [title(name), ground, inside], margin=COLUMN_MARGIN)
    return finished(page, width_mm=COLUMN_MM)


_TURNING = dict.fromkeys([0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)], "\ufffd")
"""What turns the direction of the words after it, each as one character: reports count them."""


def strip_html(kind: str, name: str, body: str, report: Any) -> str:
    """A self-contained page of a report, by the style and script of its kind ("steps"); `body` is
    markup."""
    return assembled(
        name,
        style="".join(viewer_file(f"{one}.css") for one in ("strip", kind)),
        body=body,
        script=joined(("numbers", "strip", kind)),
        data=with_texts(report, lambda words: words.translate(_TURNING)),
    )
