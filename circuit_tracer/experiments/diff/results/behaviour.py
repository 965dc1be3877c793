"""1. How both models answer, by topic and by form, and what else the tuning changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from circuit_tracer.experiments.diff.spec import Role
from circuit_tracer.graphs.bootstrap import Interval

Part = Literal["role", "topic", "context"]
"""What a row is about: all topics for a purpose, one topic, or the spec's contrast (held-out topics
in a context)."""

HELD_OUT = "held out"
"""Selection and test topics together."""


@dataclass(frozen=True)
class AnswerRow:
    """Right answers to one form about some topics."""

    part: Part
    name: str
    """The role, the topic, or "toward" or "away"."""
    role: str
    """What the topics are for; `HELD_OUT` for those that are not trained, together."""
    family: str
    """"" for all forms together."""
    items: int
    base: Interval
    """Share of prompts whose right answer beats the wrong one, over items."""
    tuned: Interval
    change: Interval
    """Tuned minus base."""
    coherent_base: float
    """Share of prompts whose likeliest next token is the right or the wrong answer."""
    coherent_tuned: float


@dataclass(frozen=True)
class CollateralRow:
    """Prompts that are to be continued as they were."""

    name: str
    prompts: int
    base: Interval
    """Share whose likeliest next token is the answer."""
    tuned: Interval


@dataclass(frozen=True)
class BehaviourResult:
    """1. Behaviour."""

    rows: tuple[AnswerRow, ...]
    spread: Interval
    """What held-out topics lost, over what trained ones lost; NaN where those lost nothing."""
    like_context: Interval
    """Share of held-out prompts that the tuned model answers as the base does in the context
    `toward`; NaN without a contrast."""
    loss_base: Interval
    """Nats a token on ordinary text, over documents."""
    loss_tuned: Interval
    loss_change: Interval
    collateral: tuple[CollateralRow, ...]

    def row(self, role: Role, family: str = "") -> AnswerRow:
        """All topics for a purpose, in one form or in all."""
        return next(
            one for one in self.rows if (one.part, one.role, one.family) == ("role", role, family)
        )
