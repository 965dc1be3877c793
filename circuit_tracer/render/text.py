"""Text from prompts, tokens and labels, made fit to show: visible, short, measured.

Prompts and labels are anybody's text. Whatever a screen or an XML reader would act on or choke
on (control characters, bidirectional overrides, lone surrogates) is shown as its escape, so that
hostile text stays text and stays where it is put.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from rich.cells import cell_len

_VISIBLE = {"\n": "↵", "\t": "⇥", "\r": "␍", "\u00a0": " "}
_UNSEEN = ("Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp")
_JOINER = "\u200d"  # holds emoji sequences together; harmless, so it stays
_SKINS = "\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"
_WIDE = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_PIECES = re.compile(
    f"[{_WIDE}][\u3001\u3002\u30fb\u30fc\uff01\uff0c\uff0e\uff1a\uff1b\uff1f]*|[^{_WIDE}]+"
)
"""Chinese and Japanese have no blanks: a line may end after each sign, but not before a stop."""

# Advance widths of DejaVu Sans for U+0020..U+007E in thousandths of an em. It is the widest of
# the fonts the figure asks for, so what fits in it fits in Helvetica and Arial too.
_WIDTHS = (
    (318, 401, 460, 838, 636, 950, 780, 275, 390, 390, 500, 838, 318, 361, 318, 337)
    + (636,) * 10
    + (337, 337, 838, 838, 838, 531, 1000, 684, 686, 698, 770, 632, 575, 775, 752, 295, 295)
    + (656, 557, 863, 748, 787, 603, 787, 695, 635, 611, 732, 684, 989, 685, 611, 685, 390)
    + (337, 390, 838, 500, 500, 613, 635, 550, 635, 615, 352, 635, 634, 278, 278, 579, 278)
    + (974, 634, 612, 635, 635, 411, 521, 392, 634, 592, 818, 592, 592, 525, 636, 337, 636, 838)
)


MOST_OF_A_CELL = 16
"""Characters, those of a joined emoji or of a letter with its marks."""


def printable(text: str) -> str:
    """The text on one line with nothing in it that acts: "a\\nb" becomes "a↵b"."""
    return "".join(_printable_character(character) for character in text)


def _printable_character(character: str) -> str:
    if character in _VISIBLE:
        return _VISIBLE[character]
    if character == _JOINER or unicodedata.category(character) not in _UNSEEN:
        return character
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def word_text(token: str) -> str:
    """A token in running text: without its leading blanks, if it is more than blanks."""
    from circuit_tracer.graphs.token_text import shown  # its package imports numpy, --help must not

    return shown(token.lstrip(" ") or token)


def text_width(text: str, size: float) -> float:
    """Width in the units of `size` (an upper estimate for the fonts the figure asks for)."""
    return sum(_width_of(character) for character in text) * size / 1000


@lru_cache(maxsize=4096)
def _width_of(character: str) -> int:
    code = ord(character)
    if 0x20 <= code < 0x7F:
        return _WIDTHS[code - 0x20]
    if character == _JOINER or unicodedata.category(character) in ("Mn", "Me"):
        return 0
    if code >= 0x1F000:
        return 1400
    if unicodedata.east_asian_width(character) in ("W", "F"):
        return 1050
    if unicodedata.category(character)[0] == "S" or character in "…—“”":
        return 1000 if code < 0x27F0 else 1434
    return 720


def shorten_to_width(text: str, size: float, width: float) -> str:
    """The longest beginning that fits into `width`, with "…" where something was cut."""
    if text_width(text, size) <= width:
        return text
    room = width - text_width("…", size)
    taken, end = 0.0, 0
    for index, character in enumerate(text):
        taken += _width_of(character) * size / 1000
        if taken > room:
            break
        end = index + 1
    return text[: _whole(text, max(end, 1))].rstrip(" …") + "…"


def shorten_front_to_width(text: str, size: float, width: float) -> str:
    """The longest end that fits into `width`: of a long prompt, its last words matter most."""
    if text_width(text, size) <= width:
        return text
    room, start = width - text_width("…", size), len(text)
    while start > 1 and text_width(text[start - 1 :], size) <= room:
        start -= 1
    while start < len(text) and _belongs_before(text, start):
        start += 1
    return "…" + text[start:].lstrip()


def wrap(content: str, size: float, width: float) -> list[str]:
    """The text in lines that fit the width; a single word that does not is cut short."""
    lines: list[str] = []
    for word in content.split():
        for number, piece in enumerate(_PIECES.findall(word)):
            longer = f"{lines[-1]}{'' if number else ' '}{piece}" if lines else piece
            if lines and text_width(longer, size) <= width:
                lines[-1] = longer
            else:
                lines.append(shorten_to_width(piece, size, width))
    return lines


def shorten(text: str, cells: int) -> str:
    """The longest beginning that fits into so many terminal cells, with "…" where cut."""
    if cell_len(text) <= cells:
        return text
    end = min(len(text), MOST_OF_A_CELL * cells)
    while end > 0 and cell_len(text[:end]) > cells - 1:
        end -= 1
    return text[: _whole(text, end)].rstrip() + "…"


def _whole(text: str, end: int) -> int:
    """`end`, moved back so that nothing is cut from what it belongs to."""
    while 1 < end < len(text) and _belongs_before(text, end):
        end -= 1
    return end


def _belongs_before(text: str, at: int) -> bool:
    """Whether a character is part of the one before it: an accent, a vowel sign, the skin or a
    part of an emoji."""
    character = text[at]
    if character in _SKINS or _JOINER in (character, text[at - 1]):
        return True
    return unicodedata.category(character)[0] == "M"
