"""What a trust report measures, and how much of it: its settings and its figures."""

from __future__ import annotations

from dataclasses import dataclass

from circuit_tracer.errors import UsageError
from circuit_tracer.experiments.trust.agreement import DictionaryAgreement
from circuit_tracer.experiments.trust.distance import ByDistance
from circuit_tracer.experiments.trust.gates import Departure
from circuit_tracer.experiments.trust.indirect import KnockOnEffects
from circuit_tracer.experiments.trust.integrity import Conservation, DirectCheck
from circuit_tracer.experiments.trust.number_format import NumberFormat
from circuit_tracer.experiments.trust.places import Places
from circuit_tracer.experiments.trust.ranking import Ranking
from circuit_tracer.experiments.trust.sufficiency import AtThreshold, Sufficiency
from circuit_tracer.graphs.scores import Scores


@dataclass(frozen=True)
class TrustSettings:
    """What is measured, and how much of it."""

    features: int = 40
    """Features ablated one by one."""
    random_sets: int = 20
    """Matched random sets at every node threshold."""
    draws: int = 4
    """Perturbations of each layer for the response by distance."""
    seed: int = 0
    quick: bool = False
    """Only what takes a second on a small model: sums, direct edges, scores, knock-on effects."""

    def __post_init__(self) -> None:
        """Raise UsageError for too few."""
        for flag, value, least in (
            ("--features", self.features, 2),
            ("--random-sets", self.random_sets, 1),
            ("--draws", self.draws, 1),
            ("--seed", self.seed, 0),
        ):
            if value < least:
                raise UsageError(f"{flag} {value} must be at least {least}")


@dataclass(frozen=True)
class Measurements:
    """What was found; None for what was not measured."""

    has_errors: bool
    """Whether the dictionary leaves errors (neurons do not)."""
    node_threshold: float
    conservation: Conservation
    direct: DirectCheck | None
    scores: Scores
    places: Places
    knock_on: KnockOnEffects | None = None
    ranking: Ranking | None = None
    distance: tuple[ByDistance, ...] = ()
    sufficiency: tuple[Sufficiency, ...] = ()
    gates: tuple[Departure, ...] = ()
    agreement: DictionaryAgreement | None = None
    number_format: NumberFormat | None = None

    @property
    def kept_alone(self) -> AtThreshold | None:
        """What the graph's kept features do by themselves, nothing held; None if not measured."""
        for one in self.sufficiency:
            if one.held == "free":
                return one.at(self.node_threshold)
        return None
