"""What is found of a circuit: `circuit.json`. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from circuit_tracer.graphs.graph import Identity
from circuit_tracer.render.numbers import percent

CIRCUIT_FILE = "circuit.json"
Basis = Literal["features", "neurons", "features+attention", "neurons+attention"]
BASES: tuple[Basis, ...] = get_args(Basis)
Ablation = Literal["mean", "zero", "resample"]
ABLATIONS: tuple[Ablation, ...] = get_args(Ablation)
By = Literal["gradient", "influence", "total"]
BYS: tuple[By, ...] = get_args(By)


@dataclass(frozen=True)
class Component:
    """A feature or neuron, or a channel of an attention head."""

    kind: str
    """"feature" or "channel"."""
    layer: int
    index: int
    """Of the feature, or of the channel in its head."""
    head: int | None
    """A channel's head."""
    harm: float
    """What leaving it out alone costs the set: of the share, or in nats where KL decides."""
    label: str = ""

    @property
    def name(self) -> str:
        """As the command line takes features: L3/117; of a channel L3.H2/5."""
        where = f"L{self.layer}" if self.head is None else f"L{self.layer}.H{self.head}"
        return f"{where}/{self.index}"


@dataclass(frozen=True)
class PromptKept:
    """What is left of one prompt's answer."""

    prompt: str
    answer: str
    against: str
    difference: float
    """Logits in the whole model."""
    used: bool
    """Whether the circuit was found with it."""
    share: float
    """Of the difference, with the circuit alone."""
    kl: float
    """Nats, likewise."""
    right: bool
    """Whether the likeliest token is that of the whole model."""
    ablated_share: float
    """Of the difference, with the circuit alone ablated: how needed it is."""
    random_share: tuple[float, ...]
    """Of the difference, with sets of as many random components of every layer."""
    graph: str | None = None
    """The folder of its graph, where one was written."""


@dataclass(frozen=True)
class CircuitReport:
    """The smallest set found that keeps an answer, and what it is compared with."""

    basis: str
    ablation: str
    by: str
    level: str
    """What it had to keep, in words."""
    prompts: tuple[PromptKept, ...]
    components: tuple[Component, ...]
    """The most needed one first."""
    n_components: int
    """That there are in the model."""
    is_minimal: bool
    """Whether each was left out alone, and none can be."""
    weights: int
    """Weights other than zero that read and write its components."""
    all_weights: int
    """The same of all components."""
    model: Identity
    dictionary: Identity
    seconds: float
    """CPU time of the search."""
    chat: bool = False
    """Whether every prompt was the user's turn in the model's chat template."""
    system: str | None = None
    """The system turn before it."""

    def of_kind(self, kind: str) -> int:
        """How many components are of a kind."""
        return sum(one.kind == kind for one in self.components)

    def kept(self, *, used: bool) -> tuple[PromptKept, ...]:
        """The prompts it was found with, or the others."""
        return tuple(one for one in self.prompts if one.used == used)

    @property
    def random_share(self) -> float:
        """Mean share that random sets keep, over sets and prompts."""
        every = [share for one in self.prompts for share in one.random_share]
        return sum(every) / len(every) if every else float("nan")

    @property
    def verdict(self) -> str:
        """What the checks say, by rule."""
        share = sum(one.share for one in self.prompts) / len(self.prompts)
        others = self.kept(used=False)
        if self.random_share > share / 2:
            return "no circuit: random sets as large keep more than half of what it does"
        wrong = sum(not one.right for one in others)
        if wrong:
            those = "the prompts they were found with"
            return f"enough for {those}, not for {wrong} of {len(others)} others"
        own = self.kept(used=True)
        enough = f"enough for {'the answer' if len(own) == 1 else f'{len(own)} answers'}"
        if not others:
            return enough
        kept, left = (sum(one.share for one in of) / len(of) for of in (own, others))
        if left < min(kept, 1.0) / 2:
            few = f"{percent(left)} of their differences"
            return f"{enough}; of {len(others)} others only the likeliest tokens stay, with {few}"
        return f"{enough} and {len(others)} others, of which it keeps {percent(left)}"
