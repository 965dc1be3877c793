"""The tool's own exceptions.

Library code raises these and never prints or exits; the command line turns each into one line on
stderr and an exit code. A message is one sentence (or two) that says what is wrong and what to do;
a parameter it names stands in backticks, `max_nodes`, and is an option on the command line.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

Choice = TypeVar("Choice", bound=str)
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0e-\x1f\x7f]")
"""Colours and other sequences that a terminal would act on, and bare control characters."""


class CircuitTracerError(Exception):
    """Anything the tool can explain. `exit_code` is what the command exits with."""

    exit_code = 1


class UsageError(CircuitTracerError):
    """The caller asked for something that cannot be: a flag, a name, a prompt."""

    exit_code = 2


class StrengthError(UsageError):
    """A change so strong that the model's numbers overflow."""


class PromptError(UsageError):
    """A prompt that cannot be traced: empty, too long, or with words the tokenizer lacks."""


class ModelError(UsageError):
    """A model that cannot be found, opened or wired."""


class DictionaryError(UsageError):
    """A dictionary (transcoder set) that is missing, damaged or made for another model."""


class GraphFileError(UsageError):
    """A stored graph that is missing, damaged or of an unknown version."""


class OutputError(CircuitTracerError):
    """A place that cannot be written to, or that already holds something."""


class ConservationError(CircuitTracerError):
    """A target whose incoming edges and constant do not sum to its value: the graph is refused."""


class TrainingError(CircuitTracerError):
    """A dictionary training run that cannot start, go on or that diverged."""


def one_of(parameter: str, value: str, choices: Sequence[Choice]) -> Choice:
    """The value of a parameter, if it is one of these; raises UsageError with the choices."""
    for known in choices:
        if value == known:
            return known
    raise UsageError(f'{parameter} "{value}" is none; choose one of {", ".join(choices)}')


LONGEST_REASON = 200
"""Characters of a foreign message that are passed on."""


def reason(error: BaseException) -> str:
    """What another library's error says, as part of a sentence of ours: its first sentence.

    Their messages can be pages of advice that is not ours to give, and hold anything: the first
    line that says something, cut at the end of a sentence or at 200 characters, without its last
    full stop. The sentence around it names the file.
    """
    try:
        text = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        text = getattr(error, "strerror", None) or text  # of the system's: the sentence has a file
    except Exception:
        text = ""  # an error that cannot even be printed
    line = " ".join(next(filter(str.strip, _ESCAPES.sub("", text).splitlines()), "").split())
    sentence = re.split(r"(?<=[^.]{2}[.!?;]) (?=[A-Z])", line, maxsplit=1)[0].rstrip(".:; ")
    if len(sentence) > LONGEST_REASON:
        sentence = sentence[: LONGEST_REASON - 1].rsplit(" ", 1)[0].rstrip(",.:; ") + "…"
    return sentence or type(error).__name__
