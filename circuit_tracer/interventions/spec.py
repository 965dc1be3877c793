"""What is changed: nodes of the local replacement model, where they are, and how strongly.

A change takes hold of one feature, error or embedding. Its strength is a multiple of what is there
naturally (0 ablates, -1 turns round, 2 doubles), or an activation in the feature's own units.
Source: method.md section 7.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.graph import NodeKind, source_name

Mode = Literal["direct", "constrained", "free"]
"""What responds to a change.

direct: nothing but what is linear once attention, norms, features and errors are frozen; equal to
the graph's edges. constrained: attention patterns are frozen, and MLP outputs up to an end layer
but for the change itself. free: everything is recomputed.
"""
MODES: tuple[Mode, ...] = ("direct", "constrained", "free")

Writes = Literal["all", "frozen", "own"]
"""Where a changed cross-layer feature writes.

all: wherever its decoder reaches. frozen: at its own layer, and at later ones whose MLP output is
frozen; an MLP that is recomputed responds itself, and the decoder there stands for that response,
so both would count. own: at its own layer alone.
"""

Unit = Literal["times", "value", "of-max"]
"""What strengths count in: multiples of the natural activation, an activation in the feature's own
units, or multiples of the feature's maximum, as its card has it."""

LARGEST = 1e15
"""Activations beyond this, times a decoder, overflow float32 in the next norm."""


@dataclass(frozen=True)
class Strength:
    """How strongly a node is to act."""

    amount: float
    """A multiple of the natural activation, or an activation."""
    is_multiple: bool = True

    def __post_init__(self) -> None:
        """Raise UsageError for what no model could compute with."""
        if math.isnan(self.amount):
            raise UsageError("a strength of nan is no number; give one, such as 0 or 2.5")
        if not math.isfinite(self.amount) or abs(self.amount) > LARGEST:
            raise UsageError(
                f"a strength of {self.amount:g} overflows; give one between -{LARGEST:g} and "
                f"{LARGEST:g}"
            )


ABLATED = Strength(0.0)


def one_strength(
    times: float | None, value: float | None, of_max: float | None, *, default: tuple[Unit, float]
) -> tuple[Unit, float]:
    """The one of three strengths that is given; raises UsageError for several."""
    all_: tuple[tuple[Unit, float | None], ...]
    all_ = ("times", times), ("value", value), ("of-max", of_max)
    given = [(unit, amount) for unit, amount in all_ if amount is not None]
    if len(given) > 1:
        first, second = (unit.replace("-", "_") for unit, _ in given[:2])
        raise UsageError(f"`{first}` and `{second}` exclude each other; give one of them")
    unit, amount = given[0] if given else default
    Strength(amount)  # refuses what overflows
    return unit, amount


@dataclass(frozen=True)
class Change:
    """One node at one position, or a feature at every position."""

    kind: NodeKind
    layer: int
    """-1 for an embedding."""
    position: int | None
    """None: every position that is not zeroed, those of generated tokens as well."""
    feature: int = -1
    """-1 for errors and embeddings."""
    strength: Strength = ABLATED

    def __post_init__(self) -> None:
        """Raise UsageError for what cannot be changed that way."""
        if self.kind == NodeKind.LOGIT:
            raise UsageError("a target is no cause of anything; change features instead")
        if self.kind != NodeKind.FEATURE and not self.strength.is_multiple:
            raise UsageError(
                f"{self.name} has no activation that `value` could set; give a multiple (`times`)"
            )
        if self.kind != NodeKind.FEATURE and self.position is None:
            raise UsageError(f"{self.name} needs a position")

    @property
    def name(self) -> str:
        """As graphs call the node: "L3/117@4"; without @ for every position."""
        return source_name(self.kind, self.layer, self.feature, self.position)


Intervention = tuple[Change, ...]
"""What is changed together in one row of a batch; nothing, for an empty one."""


def change_feature(
    layer: int, feature: int, position: int | None = None, strength: Strength = ABLATED
) -> Change:
    """A feature at one position, or at every one."""
    return Change(NodeKind.FEATURE, layer, position, feature, strength)


def check_intervention(changes: Sequence[Change]) -> None:
    """Raise UsageError where one intervention takes hold of a node twice."""
    seen: dict[tuple[NodeKind, int, int], set[int | None]] = {}
    for change in changes:
        positions = seen.setdefault((change.kind, change.layer, change.feature), set())
        if positions & {change.position, None} or (change.position is None and positions):
            raise UsageError(f"{change.name} is changed twice in one intervention; name it once")
        positions.add(change.position)


def highest_layer(changes: Sequence[Change]) -> int:
    """The highest layer at which something is changed; -1 for embeddings alone and for nothing."""
    return max((change.layer for change in changes), default=-1)
