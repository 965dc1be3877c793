"""5. Which features of the base's residual dictionary carry the change, and what they do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from circuit_tracer.graphs.bootstrap import Interval

Way = Literal["restore", "induce"]
"""Right answers brought back to the tuned model, or wrong ones brought to the base."""


@dataclass(frozen=True)
class FeatureRow:
    """One candidate, on selection topics; ranks count from 1, over all features."""

    layer: int
    feature: int
    base: float
    """Mean activation at the ends of prompts."""
    tuned: float
    by_change: int
    """Rank by the size of the change."""
    by_gradient: int
    """Rank by what undoing the change does to right minus wrong, to first order."""
    by_screening: int
    """Rank among the candidates by what steering it does."""
    effect: float
    """Mean probability of the right one of both answers that steering it gives back."""
    chosen: bool
    by_contrast: int | None
    """Rank by the contrast, which the method never saw; None without one."""
    toward: float
    """Mean activation of the base in the contrast's contexts; NaN without."""
    away: float
    base_range: float
    """Between extremes of the base's activations in all contexts and on ordinary text."""
    tells: float
    """How surely it tells which model it is in: 1 where it is constant in each."""
    label: str = ""
    """From its card."""

    @property
    def name(self) -> str:
        """L1/355 and its label."""
        return f"L{self.layer}/{self.feature} {self.label}".strip()


@dataclass(frozen=True)
class FeaturesResult:
    """5. The ranking."""

    dictionary: str
    layers: tuple[int, ...]
    """After which it reads."""
    n_features: int
    shift: float
    """Size of the shift over all these layers, which steering is measured in."""
    rows: tuple[FeatureRow, ...]
    """Candidates, the best by screening first."""
    in_contrast: int | None
    """How many of the chosen are among the first 20 by the contrast; None without one."""

    def row(self, layer: int, feature: int) -> FeatureRow:
        """One candidate."""
        return next(one for one in self.rows if (one.layer, one.feature) == (layer, feature))


@dataclass(frozen=True)
class EditRow:
    """What one edit that is the same for every prompt does on test topics."""

    name: str
    way: Way
    features: tuple[tuple[int, int], ...]
    """Layer and feature of each; empty for a dense direction."""
    size: float
    """In sizes of the shift, chosen on selection topics; 0 where none was better than nothing."""
    right: Interval
    """Share of right answers in the main form."""
    share: Interval
    """Of the answers lost by the tuning: brought back, or lost by the edit in the base."""
    families: tuple[tuple[str, Interval], ...]
    """Right answers by form; the main one alone for controls."""
    coherent: float
    """Share of prompts whose likeliest next token is one of the two answers."""
    loss: Interval
    """Nats a token added on ordinary text."""
    kept: float
    """Share of the prompts to stay as they were that are continued as without the edit."""


@dataclass(frozen=True)
class DoseRow:
    """One point of a dose curve, on test topics in the main form."""

    name: str
    way: Way
    size: float
    right: Interval
    coherent: float
    loss: float
    kept: float


@dataclass(frozen=True)
class DosesResult:
    """5. The test of what was chosen."""

    prompts: int
    base: Interval
    """Share of right answers on test topics in the main form."""
    tuned: Interval
    edits: tuple[EditRow, ...]
    doses: tuple[DoseRow, ...]
    patched: Interval
    """Right answers of the tuned model with the chosen features, on each prompt, as they are in the
    base: an edit that depends on the prompt, no evidence of a persona."""
    patched_share: Interval
    """Of the lost answers."""

    def edit(self, name: str, way: Way) -> EditRow | None:
        """One edit in one direction."""
        return next((one for one in self.edits if (one.name, one.way) == (name, way)), None)


@dataclass(frozen=True)
class ControlsResult:
    """7. The same with what was not chosen so, and the ceiling."""

    edits: tuple[EditRow, ...]
    """The dense shift and contrast, a random dictionary through the same selection."""
    random: tuple[EditRow, ...]
    """Tens drawn from all active features."""
    matched: tuple[EditRow, ...]
    """Tens whose features changed as much as the chosen ones."""
    over_random: Interval
    """Restored by the ten, less by the best random ten."""
    over_matched: Interval

    def edit(self, name: str) -> EditRow | None:
        """One of the first kind."""
        return next((one for one in self.edits if one.name == name), None)
