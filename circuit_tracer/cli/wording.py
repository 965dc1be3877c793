"""The library's sentences as a person at the terminal reads them: its parameters are options."""

from __future__ import annotations

import logging
import re

from circuit_tracer.cli import invocation
from circuit_tracer.cli.output import say

_PARAMETER = re.compile(r"`([a-z]\w*)`")
OPTIONS = {
    "cotangents": "--dtype",
    "freeze_attention": "--attention",
    "freeze_norms": "--norms",
    "targets": "--target",
    "zeroed_positions": "--zero-positions",
}
"""Parameters whose options have other names."""


def in_options(message: str) -> str:
    """The sentence with every `parameter` that is an option written as one: --parameter.

    The command that is running decides where two commands have options of one name.
    """
    known = OPTIONS | invocation.options_by_parameter()
    return _PARAMETER.sub(lambda found: known.get(found[1], found[0]), message)


class Notes(logging.Handler):
    """Shows what the library notes, on stderr."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: set[str] = set()
        """What this command has noted."""

    def emit(self, record: logging.LogRecord) -> None:
        """A note, or a warning, which says itself what it is of; the same one once a command,
        however many of its parts come upon it."""
        message = record.getMessage()
        if message in self.shown:
            return
        self.shown.add(message)
        kind = "note: " if record.levelno < logging.WARNING else ""
        say(kind + in_options(message))


def show_notes() -> None:
    """Show the library's notes from now on, as every command does."""
    logger = logging.getLogger("circuit_tracer")
    logger.setLevel(logging.INFO)
    for one in [one for one in logger.handlers if isinstance(one, Notes)]:
        logger.removeHandler(one)  # of an earlier command in this process
    logger.addHandler(Notes())
