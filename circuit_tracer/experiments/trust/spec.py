"""What a trust report measures, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass

from circuit_tracer.errors import UsageError


@dataclass(frozen=True)
class TrustSettings:
    """The amounts of a report."""

    features: int = 40
    """Features ablated one by one."""
    random_sets: int = 20
    """Matched random sets at every node threshold."""
    draws: int = 4
    """Perturbations of each layer for the response by distance."""
    seed: int = 0
    quick: bool = False
    """Only what takes a second on a small model: sums, direct edges, scores, indirect effects."""

    def __post_init__(self) -> None:
        """Raise UsageError for too few."""
        least_of = {"features": 2, "random_sets": 1, "draws": 1, "seed": 0}
        for name, least in least_of.items():
            if (value := getattr(self, name)) < least:
                raise UsageError(f"`{name}` {value} must be at least {least}")
