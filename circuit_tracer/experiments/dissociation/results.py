"""What `dissociate` found: are two routes to one fact separate, and where?

A *fact* prompt ("a banana is") and a *judgement* prompt ("is a banana yellow ?") of many objects
are compared in seven steps (method.md section 9); step_results.py has the result of each. Every
interval is a bootstrap over objects, 95 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from circuit_tracer.errors import UsageError
from circuit_tracer.experiments.dissociation.spec import Form, Keep, Route
from circuit_tracer.experiments.dissociation.step_results import (
    AblationResult,
    FeatureSet,
    HeadsResult,
    OverlapResult,
    StoreResult,
    SwapResult,
    TruthResult,
)
from circuit_tracer.experiments.kit import results
from circuit_tracer.graphs.bootstrap import Interval
from circuit_tracer.graphs.graph import Identity

DISSOCIATION_FILE = "dissociation.json"


@dataclass(frozen=True, kw_only=True)
class Family(Form):
    """A family as it was asked."""

    is_claim: bool
    """Whether it names a value and asks for a verdict."""
    example: str
    """Its prompt for the representative item, with the true value."""


@dataclass(frozen=True)
class FamilyBehaviour:
    """How one family is answered, over all items of the spec (1. behaviour)."""

    family: str
    right: Interval
    """Share of items answered as the world is (claims: both the true and the false one)."""
    right_held_out: Interval
    """The same of the items marked as held out of the model's training; NaN without any."""
    reversed: Interval
    """Share of items for which it affirms exactly the other value."""
    contrast: Interval
    """Mean of the kept items, in logits: own value minus the other; for claims the right verdict
    minus the wrong one, mean of both claims."""


@dataclass(frozen=True)
class Inconsistent:
    """An item whose colour is completed rightly and judged wrongly, or the reverse."""

    item: str
    """The object: "banana"."""
    value: str
    other: str
    """The false value it was asked with."""
    right: dict[str, bool]
    """By family, in the order of the spec: the true value is affirmed, or with keep = "own" the one
    that the family affirms of most items."""
    fact_strength: float
    """Activation of the fact route's features (F and S) over that of the median consistent item."""
    judgement_strength: float
    """The same of the judgement route's (V and S), in the families judged wrongly."""
    fails: Route
    """The route whose answer is wrong."""
    weak: Literal["fact", "judgement", "neither"]
    """The route whose features are weak: below the 10th percentile of consistent items, and the
    weaker of the two."""


@dataclass(frozen=True)
class Behaviour:
    """1. Which items the model answers, and how surely."""

    items: int
    """Items of the spec."""
    kept: int
    """Those that every later step is about."""
    keep: Keep
    objects: tuple[str, ...]
    """The kept ones."""
    families: tuple[FamilyBehaviour, ...]
    inconsistent: tuple[Inconsistent, ...]


@dataclass(frozen=True)
class Verdict(results.Verdict):
    """What the numbers support, in plain words (rules: experiments/dissociation/verdict.py)."""

    paragraph: str


@dataclass(frozen=True)
class TracedItem:
    """The representative item's stored graphs, for the figure of the two routes."""

    item: str
    value: str
    other: str
    graphs: dict[str, str]
    """Family -> trace folder inside the report folder ("graphs/yes_no"), true claim."""
    fact: str
    """The fact family to draw."""
    judgement: str
    """The judgement family to draw."""
    roles: dict[str, dict[str, int]]
    """Family -> role ("object", "value", "verdict") -> position, BOS included."""
    half: int
    """The half the item is in: sets of the other half were not chosen on it."""


@dataclass(frozen=True)
class Report(results.SpecReport):
    """All of it, `dissociation.json` in the report folder."""

    model: Identity
    dictionary: Identity
    n_layers: int
    early_layers: int
    """Layers 0 .. early_layers - 1 count as early."""
    families: tuple[Family, ...]
    behaviour: Behaviour
    item: TracedItem | None
    """None where no item was kept."""
    overlap: OverlapResult | None
    """This and the next steps: None where there was too little to measure; `notes` says why."""
    sets: tuple[FeatureSet, ...]
    ablation: AblationResult | None
    stores: StoreResult | None
    heads: HeadsResult | None
    swap: SwapResult | None
    truth: TruthResult | None
    verdict: Verdict


def are_reports(paths: Sequence[Path]) -> bool:
    """Whether all of them are reports (folders or their JSON files), none a graph.

    UsageError for a mixture.
    """
    are = [path.name == DISSOCIATION_FILE or (path / DISSOCIATION_FILE).is_file() for path in paths]
    if any(are) and not all(are):
        raise UsageError(
            f"{paths[are.index(False)]} is no report of dissociate, but others are; compare graphs "
            "with graphs and reports with reports"
        )
    return all(are)


def read_report(path: Path) -> Report:
    """A report from its file or folder. GraphFileError, with what is wrong, for anything else."""
    return results.read_record(Report, path, file=DISSOCIATION_FILE, command="dissociate")
