"""Prompts of equal length in groups that share a forward pass.

Groups follow from the prompt file alone: its lines are sorted by length, in their order, and a
group that is full is closed. So a prompt is computed beside the same neighbours whatever was done
before, by whichever process, and comes out the same to the last bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

MOST_PROMPTS = 16
"""Prompts of a group: with more of them, few processes would have unequal shares of a run."""
MOST_TOKENS = 1024
"""Tokens of a group: long prompts go alone, so that memory is that of one."""


@dataclass(frozen=True)
class Group(Generic[T]):
    """Prompts of one length."""

    key: str
    """What processes claim it by."""
    members: tuple[T, ...]


def grouped(prompts: Sequence[tuple[str, int, T]]) -> list[Group[T]]:
    """Groups of (id, length in tokens, prompt), in the order in which they become full."""
    filling: dict[int, list[tuple[str, T]]] = {}
    full = []
    for key, length, prompt in prompts:
        group = filling.setdefault(length, [])
        group.append((key, prompt))
        if len(group) >= max(1, min(MOST_PROMPTS, MOST_TOKENS // length)):
            full.append(_closed(filling.pop(length)))
    return [*full, *map(_closed, filling.values())]


def _closed(group: list[tuple[str, T]]) -> Group[T]:
    digest = hashlib.sha256("\n".join(key for key, _ in group).encode()).hexdigest()
    return Group(digest[:32], tuple(prompt for _, prompt in group))
