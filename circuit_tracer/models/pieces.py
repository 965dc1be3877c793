"""What the entries of a tokenizer's vocabulary stand for, as text.

Vocabularies write text in an alphabet of their own: GPT-2's has a letter for every byte,
SentencePiece marks blanks with ▁ and has entries such as <0xF0> for single bytes. Which of them it
is, the decoder itself shows on a sample. Entries are read from the vocabulary and not decoded one
by one: a decoder sees no bytes that are no whole character, drops leading blanks, and is slow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

from circuit_tracer.graphs.token_text import bytes_text

_WORD_MARK = "▁"
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class Pieces(NamedTuple):
    """The entries of a vocabulary."""

    texts: dict[int, str]
    """What each id stands for; bytes that are no whole character as <0xF0>."""
    spare: set[int]
    """Ids that are there for a byte which no other entry covers."""


def pieces_of(tokenizer: Any) -> Pieces:
    """Every entry of the vocabulary; tokens that were added are their own text."""
    vocabulary: dict[str, int] = tokenizer.get_vocab()

    def decoded(*pieces: str) -> str:
        return str(tokenizer.convert_tokens_to_string(list(pieces)))

    spare: set[int] = set()
    has_marks = decoded("x", f"{_WORD_MARK}y") == "x y"
    if decoded("x", "ĠÃ©") == "x é":
        texts = dict(zip(vocabulary.values(), _read_letters(list(vocabulary)), strict=True))
    else:
        texts = {
            i: _read_marked(piece) if has_marks else decoded(piece)
            for piece, i in vocabulary.items()
        }
        if decoded("x", "<0x41>") == "xA":
            bytes_of = {
                i: found[1] for piece, i in vocabulary.items() if (found := _BYTE.fullmatch(piece))
            }
            texts |= {i: bytes_text(bytes.fromhex(byte)) for i, byte in bytes_of.items()}
            spare = set(bytes_of)
    for token_id, token in tokenizer.added_tokens_decoder.items():
        text = str(token)
        texts[int(token_id)] = _read_marked(text) if has_marks and not token.special else text
    return Pieces(texts, spare - tokenizer.added_tokens_decoder.keys())


def _read_marked(piece: str) -> str:
    return piece.replace(_WORD_MARK, " ")


def _letters() -> dict[int, int]:
    """Byte of every letter of GPT-2's alphabet: printable bytes are their own letters.

    Letters that are none become something that no byte is.
    """
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in own]
    return dict.fromkeys(others, 0xFFFF) | {0x100 + i: byte for i, byte in enumerate(others)}


_LETTERS = _letters()


def _read_letters(pieces: Sequence[str]) -> Iterator[str]:
    """Texts of entries in GPT-2's alphabet; an entry with other letters is text."""
    try:
        # All at once: a quarter of a million entries are read before every trace.
        content = "".join(pieces).translate(_LETTERS).encode("latin-1")
    except UnicodeEncodeError:
        if len(pieces) == 1:
            yield pieces[0]
            return
        middle = len(pieces) // 2
        yield from _read_letters(pieces[:middle])
        yield from _read_letters(pieces[middle:])
        return
    for start, end in pairwise(accumulate(map(len, pieces), initial=0)):
        yield bytes_text(content[start:end])
