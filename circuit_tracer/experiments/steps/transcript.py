"""A prompt and written notes as tokens, and which of them belong to which step or watched span.

Positions count BOS where the model has one. A token belongs to the span in which its first letter
lies.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from circuit_tracer.errors import PromptError, UsageError
from circuit_tracer.models import Model
from circuit_tracer.models.chat import chat_text

SPLITS = {"sentence": r"[.?!]+(?=\s|$)|\n+", "line": r"\n+"}
"""What ends a step."""


@dataclass(frozen=True)
class Span:
    """Some tokens in a row."""

    name: str
    text: str
    start: int
    stop: int
    """Positions start..stop - 1."""
    value: tuple[int, ...] = ()
    """Of a watched span the positions of its value: the expression's group, or all of it."""


@dataclass(frozen=True)
class Transcript:
    """What is explained: everything up to the answer."""

    prompt: str
    notes: str
    ids: tuple[int, ...]
    first_note: int
    """Position of the first token of the notes."""
    steps: tuple[Span, ...]
    watched: tuple[Span, ...]
    text: str = ""
    """All of it, as it is tokenised."""

    @property
    def n_tokens(self) -> int:
        """Tokens, BOS included."""
        return len(self.ids)


def read_transcript(
    model: Model,
    prompt: str,
    notes: str,
    *,
    split: str = "sentence",
    watch: Mapping[str, str] | None = None,
    chat: bool = False,
) -> Transcript:
    """Tokenise a prompt and its notes, and find steps and watched spans.

    `split` is "sentence", "line" or an expression that ends a step; `watch` names expressions that
    are looked for in the prompt, which is with `chat` put into the model's chat template as the
    user's: the notes begin its reply. Raises UsageError for an expression that cannot be read or
    is not there, PromptError for empty notes and for a prompt and notes that share a token.
    """
    if not notes.strip():
        raise PromptError("the notes are empty; give the text between prompt and answer as `notes`")
    if chat:
        lead = chat_text(model.tokenizer, prompt)
    else:
        lead = prompt if prompt[-1:].isspace() or notes[:1].isspace() else f"{prompt} "
    text = lead + notes.rstrip(" ")
    ids = model.tokenize(text)
    if not model.tokenizer.is_fast:
        raise UsageError(
            f"the tokenizer of {model.identity.name} does not say where its tokens stand; steps "
            "needs one of the tokenizers library"
        )
    encoded = model.tokenizer(
        text, add_special_tokens=False, verbose=False, return_offsets_mapping=True
    )
    places = [_first_letter(text, *place) for place in encoded["offset_mapping"]]
    places = [-1] * (len(ids) - len(places)) + places
    first = next((at for at, place in enumerate(places) if place >= len(lead)), len(ids))
    ends = [match.end() for match in compiled(SPLITS.get(split, split), "split").finditer(text)]
    ends = sorted({end for end in ends if end > len(lead)} | {len(text)})
    steps: list[Span] = []
    begun = len(lead)
    for end in ends:
        start, stop = (_at(places, place) for place in (begun, end))
        if start < stop and (words := text[begun:end].strip()):
            steps.append(Span(f"S{len(steps) + 1}", words, start, stop))
        begun = end
    watched = tuple(_watched(name, one, lead, places) for name, one in (watch or {}).items())
    return Transcript(prompt, notes, tuple(ids), first, tuple(steps), watched, text)


def _watched(name: str, expression: str, prompt: str, places: list[int]) -> Span:
    found = compiled(expression, "watch").search(prompt)
    if found is None or not found[0].strip():
        raise UsageError(
            f"`watch` {name}={expression} is nowhere in the prompt; give an expression that is"
        )
    group = 1 if found.re.groups and found[1] else 0
    start, stop = (_at(places, place) for place in found.span())
    inner = range(*(_at(places, place) for place in found.span(group)))
    return Span(name, found[0].strip(), start, stop, tuple(inner))


def compiled(text: str, parameter: str) -> re.Pattern[str]:
    """A regular expression. Raises UsageError for what is none."""
    try:
        return re.compile(text)
    except re.error as error:
        raise UsageError(f"`{parameter}` {text} is no regular expression: {error}") from error


def _first_letter(text: str, start: int, stop: int) -> int:
    """Where a token's own text begins: blanks that lead it are no part of what they end."""
    own = text[start:stop]
    return start + (len(own) - len(own.lstrip(" ")) if own.strip(" ") else 0)


def _at(places: list[int], place: int) -> int:
    """The first token that begins there or later."""
    return next((at for at, start in enumerate(places) if start >= place), len(places))
