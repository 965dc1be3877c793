"""Tokens as people read and type them: one readable line each, no two alike, and back again.

`shown` and `unshown` are inverse to each other for every text. Blanks and line ends have marks of
their own (" yes" is ␣yes, a newline ↵); what has no glyph is escaped (\\x00, \\u200b), and so is a
mark or an escape that is itself the text. A byte that is no whole character is written <0xF0>
(models/token_names.py); bytes of neighbouring tokens join to the character again.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from circuit_tracer.graphs.graph import Target

MARKS = {" ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍"}
_UNMARKED = {mark: character for character, mark in MARKS.items()}
_UNSEEN = ("Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp", "Zs")
_JOINER = "\u200d"  # inside an emoji sequence it is seen; at an end it is not
_ESCAPE = re.compile(r"\\(?:x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})")
_READ_BACK = re.compile(f"{_ESCAPE.pattern}|[{''.join(_UNMARKED)}]")
_PLACE = re.compile(r"@-?[0-9]{1,9}")
_ID = re.compile(r"id:([0-9]{1,18})")
_BYTES = re.compile(r"<0x([0-9A-F]{2})>")


def shown(text: str) -> str:
    """A token's text on one line, every character of it visible: " yes" is "␣yes"."""
    last = len(text) - 1
    parts = []
    for at, character in enumerate(text):
        is_inner_joiner = character == _JOINER and 0 < at < last
        if character in MARKS:
            parts.append(MARKS[character])
        elif is_inner_joiner or _is_plain(character, text, at):
            parts.append(character)
        else:
            parts.append(_escape(character))
    whole = "".join(parts)
    return _escape("@") + whole[1:] if _PLACE.fullmatch(whole) else whole


def unshown(text: str) -> str:
    """The text that `shown` shows so; a text without marks and escapes is itself."""
    return _READ_BACK.sub(_character, text)


def _is_plain(character: str, text: str, at: int) -> bool:
    if character == "\\":
        return _ESCAPE.match(text, at) is None
    return character not in _UNMARKED and _is_seen(character)


def _is_seen(character: str) -> bool:
    return unicodedata.category(character) not in _UNSEEN


def _escape(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _character(escape: re.Match[str]) -> str:
    text = escape[0]
    if text in _UNMARKED:
        return _UNMARKED[text]
    code = int(text[2:], 16)
    return chr(code) if code < 0x110000 else text


def place_in(text: str) -> int | None:
    """The position in "@4", or "@-1" for the last; None in a token's text."""
    return int(text[1:]) if _PLACE.fullmatch(text) else None


def id_in(text: str) -> int | None:
    """The vocabulary id in "id:343"; None in a token's text."""
    match = _ID.fullmatch(text)
    return None if match is None else int(match[1])


@lru_cache(maxsize=8)
def prompt_texts(tokens: tuple[str, ...]) -> tuple[str, ...]:
    """A prompt's tokens as shown: leading blanks only where two tokens differ in nothing else."""
    bare = [shown(token.lstrip(" ") or token) for token in tokens]
    forms: dict[str, set[str]] = {}
    for token, text in zip(tokens, bare, strict=True):
        forms.setdefault(text, set()).add(token)
    return tuple(
        text if len(forms[text]) == 1 else shown(token)
        for token, text in zip(tokens, bare, strict=True)
    )


def target_text(target: Target) -> str:
    """What a graph explains, as shown; the text of a contrast is made of shown tokens, a
    direction has a name."""
    if target.is_token:
        return shown(target.token)
    # Graphs of other tools and older versions may have anything in it.
    return "".join(c if c == " " or _is_seen(c) else shown(c) for c in target.token)


def target_texts(targets: Sequence[Target]) -> tuple[str, ...]:
    """Of all targets of a graph: a text that stands for two ids gives the second one as its id."""
    taken: dict[str, tuple[int, ...]] = {}
    texts = []
    for target in targets:
        text, ids = target_text(target), target.vocabulary_ids
        if ids and taken.setdefault(text, ids) != ids:
            text = " - ".join(f"id:{one}" for one in ids)
        texts.append(text)
    return tuple(texts)


def join_tokens(texts: Sequence[str]) -> str:
    """Tokens as one text with commas between them; `split_tokens` takes it apart again."""
    bare = (
        "".join(_escape(c) if c == "\\" else shown(c) for c in text) if "\\" in text else text
        for text in texts
    )
    return ",".join(text.replace(",", "\\,") for text in bare)


def split_tokens(text: str) -> list[str]:
    """Tokens with commas between them; "\\," is a comma that belongs to a token."""
    return [part.replace("\\,", ",") for part in re.split(r"(?<!\\),", text)]


def _as_hexadecimal(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    part = error.object[error.start : error.end]
    return "".join(f"<0x{byte:02X}>" for byte in part), error.end


_HEXADECIMAL = "circuit_tracer.hexadecimal"
codecs.register_error(_HEXADECIMAL, _as_hexadecimal)


def bytes_text(content: bytes) -> str:
    """Bytes as text; those that are no whole character as <0xF0>."""
    return content.decode("utf-8", _HEXADECIMAL)


def spelled(tokens: Sequence[str]) -> str:
    """The text of neighbouring tokens, the bytes of a character that is spread over them joined."""
    content = b"".join(
        bytes([int(part, 16)]) if number % 2 else part.encode("utf-8", "surrogatepass")
        for token in tokens
        for number, part in enumerate(_BYTES.split(token))
    )
    return bytes_text(content)


def has_bytes(token: str) -> bool:
    """Whether a token's text has bytes that are no whole character."""
    return _BYTES.search(token) is not None
