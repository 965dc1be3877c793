"""A prompt and written notes as tokens, and which of them belong to which step or watched span.

Positions count BOS where the model has one. A token belongs to the span in which its first letter
lies.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from circuit_tracer.errors import PromptError, UsageError
from circuit_tracer.experiments.kit.places import (
    first_from,
    parts_of,
    token_places,
)
from circuit_tracer.expressions import Expression
from circuit_tracer.models import Model
from circuit_tracer.models.chat import chat_text

_TAKEN = re.compile(r"S\d+|rest|prompt|answer")
"""What a report calls steps, what is not watched, and the answer."""


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
    system: str | None = None
    """The system turn before the prompt, in a chat."""
    chat: bool = False
    """Whether the prompt is the user's turn in the model's chat template."""

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
    system: str | None = None,
) -> Transcript:
    """Tokenise a prompt and its notes, and find steps and watched spans.

    `split` is "sentence", "line" or an expression that ends a step; `watch` names expressions that
    are looked for in the prompt, which is with `chat` put into the model's chat template as the
    user's, after a `system` turn: the notes begin its reply. Raises UsageError for an expression
    that cannot be read or is not there, PromptError for an empty prompt, for empty notes and for a
    prompt and notes that share a token.
    """
    if not prompt.strip():
        raise PromptError("the prompt is empty; give the text that the notes are about")
    if not notes.strip():
        raise PromptError("the notes are empty; give the text between prompt and answer as `notes`")
    if chat:
        lead = chat_text(model.tokenizer, prompt, system=system)
    else:
        lead = prompt if prompt[-1:].isspace() or notes[:1].isspace() else f"{prompt} "
    text = lead + notes.rstrip(" ")
    ids = model.tokenize(text)
    places = token_places(model, text, ids, asker="steps")
    first = next((at for at, place in enumerate(places) if place >= len(lead)), len(ids))
    steps: list[Span] = []
    for part in parts_of(text, split, len(lead)):
        start, stop = (first_from(places, place) for place in part)
        if start < stop:
            words = text[slice(*part)].strip()
            steps.append(Span(f"S{len(steps) + 1}", words, start, stop))
    if not isinstance(watch, Mapping | None):
        raise UsageError('`watch` must be names with expressions, such as {"key": r"said (\\w+)"}')
    watched = tuple(_watched(name, one, lead, places) for name, one in (watch or {}).items())
    return Transcript(prompt, notes, tuple(ids), first, tuple(steps), watched, text, system, chat)


def _watched(name: str, looked_for: str, prompt: str, places: list[int]) -> Span:
    if _TAKEN.fullmatch(name):
        raise UsageError(f"`watch` names {name}, as the report calls a part itself; give another")
    found = Expression(looked_for, "watch").first(prompt)
    if found is None or not found[0].strip():
        raise UsageError(
            f"`watch` {name}={looked_for} is nowhere in the prompt; give an expression that is"
        )
    group = 1 if found.re.groups and found[1] else 0
    start, stop = (first_from(places, place) for place in found.span())
    inner = range(*(first_from(places, place) for place in found.span(group)))
    if not inner:
        raise UsageError(
            f'`watch` {name}={looked_for} finds "{found[group]}", which is inside a token and none '
            "itself; give an expression for whole tokens"
        )
    return Span(name, found[0].strip(), start, stop, tuple(inner))
