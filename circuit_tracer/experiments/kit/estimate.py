"""What an experiment will take, as it is said beforehand. No torch."""

from __future__ import annotations

from dataclasses import dataclass


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
