"""The name of every token of a vocabulary, and the token of every name: inverse to each other.

A token's name is its own text, leading blank kept (" yes"). Where two tokens have one text, or a
text is what the mark of another shows (↵ for a newline), one keeps it and the other is named by
its bytes (<0x0A>) or its id (id:343). Names are read back as they are, as they are shown (␣yes),
and, if no token is called so, with a leading blank.

Vocabularies write text in an alphabet of their own: GPT-2's has a letter for every byte,
SentencePiece marks blanks with ▁ and has entries such as <0xF0> for single bytes. Which of them it
is, the decoder itself shows on a sample. Entries are read from the vocabulary and not decoded one
by one: a decoder sees no bytes that are no whole character, drops leading blanks, and is slow.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import accumulate, chain, pairwise
from typing import Any, NamedTuple

from circuit_tracer.errors import PromptError, reason
from circuit_tracer.graphs.files.json_values import whole_text
from circuit_tracer.graphs.token_text import bytes_text, has_bytes, id_in, shown, unshown

_WORD_MARK = "▁"
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class TokenNames:
    """The names of one tokenizer's vocabulary. Made once: it reads every entry."""

    def __init__(
        self, tokenizer: Any, *, owner: str = "this vocabulary", size: int | None = None
    ) -> None:
        """`owner` is the model, for messages; `size` how many ids it has, padding included."""
        self._texts, spare = pieces_of(tokenizer)
        self.tokenizer, self.owner = tokenizer, owner
        self.size = max(self._texts, default=-1) + 1 if size is None else size
        self._bearers: dict[str, int] = {}
        """By text the token that bears it: the lowest id that is no spare byte."""
        for token_id in chain(sorted(self._texts.keys() - spare), sorted(spare)):
            self._bearers.setdefault(self._texts[token_id], token_id)
        nameless = [i for i, text in self._texts.items() if not self._keeps(i, text)]
        self._renamed: dict[int, str] = {}
        """Names of tokens that are not called by their text."""
        self._ids: dict[str, int] = {}
        for token_id in sorted(nameless):
            name = self._another_name(token_id)
            self._renamed[token_id], self._ids[name] = name, token_id

    def _keeps(self, token_id: int, text: str) -> bool:
        """Whether a token is called by its text."""
        if not text or self._bearers[text] != token_id:
            return False
        return (read_back := unshown(text)) == text or read_back not in self._bearers

    def _another_name(self, token_id: int) -> str:
        names: Iterable[str] = (f"id:{token_id:0{width}d}" for width in range(1, 19))
        text = self._texts.get(token_id, "")
        if text and not has_bytes(text):
            names = chain(["".join(f"<0x{byte:02X}>" for byte in text.encode())], names)
        return next(one for one in names if one not in self._bearers and one not in self._ids)

    def text(self, token_id: int) -> str:
        """The token's name; of an id without an entry (padding of the embedding) its id."""
        if token_id in self._renamed or token_id not in self._texts:
            return self._renamed.get(token_id) or self._another_name(token_id)
        return self._texts[token_id]

    def find(self, text: str) -> int | None:
        """The token that a text names, exactly or as shown; None if there is none.

        An id is taken as it is: whether there is such a token is for the caller to say.
        """
        if text in self._ids or not text:
            return self._ids.get(text)
        bearer = self._bearers.get(text)
        if bearer is not None and bearer not in self._renamed:
            return bearer
        as_shown = self._bearers.get(unshown(text))
        for token_id in (as_shown, bearer):
            if token_id is not None:
                return token_id
        return id_in(text)

    def token_id(self, text: str, *, continues: bool = False) -> int:
        """The single token a user means; see `Model.token_id`."""
        if not text:
            raise PromptError("a target is empty; give one token, such as yellow")
        after_blank = [] if text.startswith(" ") else [f" {text}"]
        texts = [*after_blank, text] if continues else [text, *after_blank]
        known = [token_id for one in texts if (token_id := self.find(one)) is not None]
        token_id = known[0] if known else self._piece(text)
        token_id = self._encoded(texts) if token_id is None else token_id
        if token_id is None:
            raise PromptError(
                f'the target "{shown(text)}" is not one token of {self.owner}; {self._advice(text)}'
            )
        if token_id >= self.size:
            raise PromptError(
                f'the target "{shown(text)}" is no token of {self.owner}, whose ids go from 0 to '
                f"{self.size - 1}; give one of its tokens"
            )
        return token_id

    def other_form(self, text: str) -> str | None:
        """The same text with a leading blank, as shown, where both are tokens; else None."""
        if text.startswith(" ") or id_in(text) is not None:
            return None
        exact, other = self.find(text), self.find(f" {text}")
        return None if exact is None or other in (None, exact) else shown(f" {text}")

    def _piece(self, text: str) -> int | None:
        """The entry that the vocabulary's own file writes so: "Ġyes", "▁yes", "##s"."""
        token_id = self.tokenizer.convert_tokens_to_ids(whole_text(text))
        is_entry = token_id is not None and self.tokenizer.convert_ids_to_tokens(token_id) == text
        return int(token_id) if is_entry else None

    def _encoded(self, texts: Iterable[str]) -> int | None:
        """The token that a text becomes, for tokenizers that change it first (case, blanks)."""
        for text in texts:
            ids = self._encode(text)
            if len(ids) == 1 and ids[0] != self.tokenizer.unk_token_id:
                return ids[0]
        return None

    def _advice(self, text: str) -> str:
        """What to give instead of a text that is no token."""
        first = next(iter(self._encode(text)), None)
        if first in (None, self.tokenizer.unk_token_id):
            return (
                "give a single token of its vocabulary "
                f"(`circuit-tracer models inspect {self.owner} --vocabulary` lists them)"
            )
        return f'it begins with the token "{shown(self.text(first))}"; give a single token'

    def _encode(self, text: str) -> list[int]:
        if whole_text(text) != text:
            return []  # half a character, which tokenizers do not take
        with suppress(PromptError):
            return plain_ids(self.tokenizer, text, self.owner)
        return []


def plain_ids(tokenizer: Any, text: str, owner: str) -> list[int]:
    """Token ids of a text, with nothing added.

    Raises PromptError for a word that the vocabulary of `owner` lacks where it has nothing for
    unknown ones either: the tokenizers library raises a bare Exception.
    """
    try:
        ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    except Exception as error:
        raise PromptError(
            f"the tokenizer of {owner} does not know all of these words ({reason(error)}); use "
            f"those that `circuit-tracer models inspect {owner} --vocabulary` lists"
        ) from error
    return [int(token_id) for token_id in ids]


def unknown_word(tokenizer: Any, prompt: str, unknown: int) -> str:
    """The first part of the prompt that the vocabulary lacks, as typed, 60 letters at most."""
    if not tokenizer.is_fast:
        return prompt
    encoded = tokenizer(
        prompt, add_special_tokens=False, verbose=False, return_offsets_mapping=True
    )
    place = encoded["input_ids"].index(unknown)
    start, end = encoded["offset_mapping"][place]
    word = prompt[start:end]
    return word if len(word) <= 60 else f"{word[:59]}…"


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
