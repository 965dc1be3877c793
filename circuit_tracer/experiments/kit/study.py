"""What the studies that a spec asks for have in common: progress, how much is measured, and what it
will take. No torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from circuit_tracer.errors import UsageError

Progress = Callable[[int, int], None]
"""Called with how much is done and how much there is."""


def unreported(done: int, total: int) -> None:
    """Progress that nobody follows."""


@dataclass(frozen=True, kw_only=True)
class SpecSettings:
    """How much is measured. The order of the fields is part of the key of stages."""

    FEW: ClassVar[dict[str, Any]] = {}
    """What is set for a first look and for tests."""
    seed: int = 0
    quick: bool = False
    most_items: int | None = None
    """Items that are asked about; None for all of the spec's."""

    @classmethod
    def of(cls, spec: Any, *, quick: bool = False, seed: int | None = None) -> Self:
        """All of it or, where that is to be quick, few items and few controls; with the spec's own
        seed by default."""
        drawn = spec.seed if seed is None else seed
        return cls(seed=drawn, quick=quick, **(cls.FEW if quick else {}))

    def __post_init__(self) -> None:
        """Raise UsageError for what cannot be."""
        if self.seed < 0:
            raise UsageError(f"`seed` {self.seed} must be at least 0")


@dataclass(frozen=True)
class Estimate:
    """Passes, time and memory."""

    rows: int
    """Rows that pass through a model."""
    what: str
    """What they are: "interventions"."""
    seconds: float
    memory: int
    """Bytes."""

    def __str__(self) -> str:
        length = f"{self.seconds:.0f} s" if self.seconds < 120 else f"{self.seconds / 60:.0f} min"
        return f"{self.rows:,} {self.what}, about {length} and {self.memory / 1e9:.1f} GB"
