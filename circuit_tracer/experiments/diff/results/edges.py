"""6. What changed in the edges into an answer, a feature or a direction."""

from __future__ import annotations

from dataclasses import dataclass

from circuit_tracer.graphs.bootstrap import Interval


@dataclass(frozen=True)
class Parts:
    """Why a contribution changed, in the target's units, mean over prompts; they sum to it."""

    weights: float
    """Changed weights on the base's input; of heads those of values and output."""
    pattern_weights: float
    """Changed queries and keys on the base's input."""
    input: float
    """The base's weights on the changed input."""
    cross: float
    """Both together, beyond each."""

    @property
    def change(self) -> float:
        """Tuned minus base."""
        return self.weights + self.pattern_weights + self.input + self.cross


@dataclass(frozen=True)
class ModuleRow:
    """One module's part of the change."""

    module: str
    """As `ModuleChange` names it."""
    layer: int
    """-1 where it has none, and so the head."""
    head: int
    parts: Parts


@dataclass(frozen=True)
class SourceRow:
    """What all heads together bring from tokens of one kind."""

    token: str
    parts: Parts


@dataclass(frozen=True)
class WeightShare:
    """What changed weights made of the change, all the way down."""

    kind: str
    layer: int | None
    """None for all of the kind; -1 outside the layers."""
    share: Interval
    """Of the change; NaN where nothing surely changed, as in all shares here."""


@dataclass(frozen=True)
class TargetEdges:
    """One target."""

    name: str
    layer: int | None
    """None for the answer."""
    base: Interval
    """Its value, mean over prompts."""
    tuned: Interval
    change: Interval
    values_output: Interval
    """Share of the change by changed values and output on the base's input."""
    queries_keys: Interval
    mlps: Interval
    elsewhere: Interval
    """Changed embeddings, and norms and unembedding that the target reads through."""
    input: Interval
    """Share by the base's weights on changed input."""
    cross: Interval
    miss: float
    """What parts miss of the change on any prompt, over the change's mean size."""
    modules: tuple[ModuleRow, ...]
    sources: tuple[SourceRow, ...]
    weights: tuple[WeightShare, ...]
    """Kinds first, then kinds by layer."""
    weights_miss: float
    """As `miss`, all the way down."""

    def weights_of(self, kind: str) -> Interval | None:
        """The share of one kind in all layers; None where none of it changed."""
        of_kind = (one.share for one in self.weights if (one.kind, one.layer) == (kind, None))
        return next(of_kind, None)


@dataclass(frozen=True)
class EdgesResult:
    """6. Edges."""

    prompts: int
    targets: tuple[TargetEdges, ...]
