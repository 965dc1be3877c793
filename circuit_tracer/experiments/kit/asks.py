"""One prompt of an experiment, with what stands where and what the model decides between."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Ask(NamedTuple):
    """One prompt, and the two tokens between which the model decides at its end."""

    item: int
    family: str
    claim: str
    """The value it names; "" where it names none."""
    text: str
    ids: tuple[int, ...]
    roles: Mapping[str, int]
    """Positions, BOS included, of "object", "value" (in claims; the last token of either) and
    "verdict" (the end)."""
    plus: int
    """Vocabulary id: the word for a true claim, or the own value."""
    minus: int

    def between(self, plus: int, minus: int) -> Ask:
        """The same prompt with other tokens to decide between."""
        return self._replace(plus=plus, minus=minus)
