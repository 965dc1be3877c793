"""How long work says where it is."""

from __future__ import annotations

from collections.abc import Callable

OnStage = Callable[[str, int, int], None]
"""Hears what is being done, how much of it is done, and of how much; 0 where that is unknown."""


def silent(stage: str, done: int, total: int) -> None:
    """An `OnStage` that nobody hears."""
