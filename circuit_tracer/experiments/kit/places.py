"""Where a prompt's tokens stand in its text, and what its text is parted into."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from circuit_tracer.errors import UsageError
from circuit_tracer.expressions import Expression
from circuit_tracer.models import Model
from circuit_tracer.models.chat import chat_text

SPLITS = {
    "sentence": r"[.?!]+(?=\s|$)|[\u3002\uff01\uff1f\uff61]+|\n+",
    "clause": r"[.?!,;:]+(?=\s|$)|[\u3001\u3002\uff01\uff0c\uff1a\uff1b\uff1f\uff61]+|\n+",
    "line": r"\n+",
}
"""What ends a part; the signs of Chinese and Japanese have no blank after them."""
BLANKLESS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
"""Ranges of letters of what is written without blanks between words: Thai, Lao, Burmese, Khmer,
Japanese and Chinese."""
UNPARTED = f"{BLANKLESS}\uac00-\ud7a3"
"""Ranges of letters that may stand beside those of other words: these, and Korean with its
particles."""

_NUMBER = re.compile(r"[ \t]*\d{1,3}\.")
"""What leads a step of a numbered list, and is no sentence."""


def token_places(
    model: Model,
    text: str,
    ids: Sequence[int],
    *,
    asker: str,
    chat: bool = False,
    system: str | None = None,
) -> list[int]:
    """For each of a text's tokens the character at which its own text begins; below zero for those
    that were put before it.

    Blanks that lead a token are no part of what they end. With `chat` the text stands in the
    model's chat template, after a `system` turn; what comes after it there begins beyond its end.
    Raises UsageError, for the command `asker`, where the tokenizer does not say, or the template
    changes the text.
    """
    if not model.tokenizer.is_fast:
        raise UsageError(
            f"the tokenizer of {model.identity.name} does not say where its tokens stand; {asker} "
            "needs one of the tokenizers library"
        )
    whole = chat_text(model.tokenizer, text, system=system) if chat else text
    if (lead := whole.rfind(text)) < 0:
        raise UsageError(
            f"the chat template of {model.identity.name} changes the prompt, blanks around it "
            "perhaps; type it as it comes out of there"
        )
    encoded = model.tokenizer(
        whole, add_special_tokens=False, verbose=False, return_offsets_mapping=True
    )
    places = [_first_letter(whole, *place) - lead for place in encoded["offset_mapping"]]
    return [-1] * (len(ids) - len(places)) + places


def first_from(places: Sequence[int], place: int) -> int:
    """The first token that begins at a character or later."""
    return next((at for at, start in enumerate(places) if start >= place), len(places))


def parts_of(text: str, split: str, start: int = 0) -> list[tuple[int, int]]:
    """Where the parts of a text from `start` on begin and end; what is blank is no part.

    `split` is one of `SPLITS` or an expression that ends a part; raises UsageError for none.
    """
    if not split:
        raise UsageError("`split` is empty; give what ends a part")
    found = Expression(SPLITS.get(split, split), "split").matches(text)
    ends = {one.end() for one in found if one.end() > start}
    if split in SPLITS:
        ends -= {end for end in ends if _NUMBER.fullmatch(text, _line(text, start, end), end)}
    return [(a, b) for a, b in pairwise([start, *sorted(ends | {len(text)})]) if text[a:b].strip()]


def _line(text: str, start: int, end: int) -> int:
    """Where the line begins that goes on to `end`; not before `start`."""
    return max(start, text.rfind("\n", start, end) + 1)


def as_words(words: str) -> str:
    """An expression for words that are not part of a longer one."""
    of_a_word = rf"[^\W{UNPARTED}]"
    before, after = (
        side if re.match(of_a_word, end) else ""
        for side, end in ((f"(?<!{of_a_word})", words[0]), (f"(?!{of_a_word})", words[-1]))
    )
    return f"{before}{re.escape(words)}{after}"


def _first_letter(text: str, start: int, stop: int) -> int:
    own = text[start:stop]
    return start + (len(own) - len(own.lstrip(" ")) if own.strip(" ") else 0)
