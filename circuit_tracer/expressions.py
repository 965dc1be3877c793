"""Regular expressions from outside, each search within bounds.

Some expressions try exponentially many ways to match, and Python's own `re` cannot be stopped;
`regex` reads the same ones and can.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import regex

from circuit_tracer.errors import UsageError

SECONDS = 10.0
"""Longest that one text is searched; what is well put takes milliseconds."""


@dataclass(frozen=True)
class Expression:
    """A regular expression and the parameter that gave it."""

    text: str
    parameter: str

    def __post_init__(self) -> None:
        """Raise UsageError for what is none."""
        try:
            regex.compile(self.text)
        except regex.error as e:
            raise UsageError(f"`{self.parameter}` {self.text} is no regular expression: {e}") from e

    def matches(self, text: str, most: int | None = None) -> list[regex.Match[str]]:
        """The first so many that it finds, or all; raises UsageError where that takes too long."""
        try:
            return list(islice(regex.finditer(self.text, text, timeout=SECONDS), most))
        except TimeoutError as e:
            raise UsageError(
                f"`{self.parameter}` {self.text} takes more than {SECONDS:g} seconds on a text of "
                f"{len(text):,} characters; write it without a repetition inside another"
            ) from e

    def first(self, text: str) -> regex.Match[str] | None:
        """What it finds first, as `matches`."""
        return next(iter(self.matches(text, 1)), None)
