"""XML written by hand: elements, attributes and text, always escaped, always the same bytes."""

from __future__ import annotations

import re
from xml.sax.saxutils import escape

from circuit_tracer.render.text import printable

Attribute = str | float | int
_LETTERS = r"[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff\U00010800-\U00010fff\U0001e800-\U0001efff]+"
_RIGHT_TO_LEFT = re.compile(rf"{_LETTERS}(?: +{_LETTERS})*")
"""Words in Hebrew, Arabic and other scripts from right to left."""


def figure(value: float) -> str:
    """A coordinate with at most two decimals: "12", "12.5", "12.25"; never "-0"."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def element(tag: str, *children: str, **attributes: Attribute) -> str:
    """One element. Names are written with "-" for "_", in the order given; children are markup."""
    start = tag + "".join(
        f' {name.rstrip("_").replace("_", "-")}="{_attribute(value)}"'
        for name, value in attributes.items()
    )
    return f"<{start}>{''.join(children)}</{tag}>" if children else f"<{start}/>"


def _attribute(value: Attribute) -> str:
    if isinstance(value, str):
        return escape(printable(value), {'"': "&quot;"})
    return figure(float(value))


def words(text: str) -> str:
    """Text as markup: unprintable characters made visible, then escaped.

    A mark follows what runs from right to left: a number after it would be drawn before it.
    """
    return escape(_RIGHT_TO_LEFT.sub(lambda run: f"{run[0]}\u200e", printable(text)))


def title(*lines: str) -> str:
    """The `<title>` of an element: what a browser shows when the pointer rests on it."""
    return f"<title>{'&#10;'.join(words(line) for line in lines if line)}</title>"


def text(content: str, x: float | int, y: float | int, **attributes: Attribute) -> str:
    """Text as text, its baseline starting at (x, y)."""
    return element("text", words(content), x=x, y=y, **attributes)
