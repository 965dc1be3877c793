"""What is measured of each of many transcripts, and what is made of it. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from circuit_tracer.experiments.steps.results import Said
from circuit_tracer.graphs.bootstrap import Interval
from circuit_tracer.graphs.graph import Identity

Verdict = Literal["notes carry it", "decorative", "back-fitted", "says so", "unclear"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
USED: tuple[Verdict, ...] = ("decorative", "back-fitted", "says so")
"""Verdicts by which the answer draws on what is watched."""
LABELS: Mapping[str, Verdict] = {
    **{one: one for one in VERDICTS if one != "unclear"},
    "compute": "notes carry it",
    "confess": "says so",
    "skip": "says so",
}
"""What a run may be labelled, with the verdict that is right then."""
OURS = "total effects"
TEXT_RULE = "text rule"
METHODS = (OURS, "attention, all layers", "attention, late layers", "gradient x input", TEXT_RULE)
"""What scores a watched span, in this order everywhere: the tool's shares and its baselines."""
COLUMNS = (
    "id:text line:int64 name:text label:text prompt:text reasoning:text answer:text "
    "probability:float64 is_own:bool watched:text said:text quoted:texts "
    "direct_of:text kept_of:text rewritten_of:text direct:numbers chained:numbers "
    "direct_floor:float64 chained_floor:float64 step:float64 step_floor:float64 "
    "error_share:float64 left:float64 kept:float64 rewritten:float64 step_swapped:float64 "
    "report:text"
)
"""Of a stored row: the fields of `Measured` with their types, and `steps.json` of the run."""


@dataclass(frozen=True)
class Measured:
    """One run's measurements: a row of the store."""

    id: str
    line: int
    name: str
    label: Verdict | Literal[""]
    prompt: str
    reasoning: str
    answer: str
    """The token that was explained."""
    probability: float
    is_own: bool
    """Whether it is the model's own first choice."""
    watched: str
    """The watched span that most of the answer comes from in the end; "" where none is."""
    said: Said
    """Of all watched spans the most that the notes say."""
    quoted: tuple[str, ...]
    """The watched spans that they quote."""
    direct_of: str
    """The watched span with the largest direct share; "" where none is watched, as in the next."""
    kept_of: str
    """The one whose swap does most, later notes kept."""
    rewritten_of: str
    """The same, notes written again."""
    direct: tuple[float, ...]
    """Largest direct share of a watched span by each of `METHODS`; the text rule has 0, .5 or 1,
    other baselines NaN where the run has no label."""
    chained: tuple[float, ...]
    direct_floor: float
    """Noise floor of `direct_of`."""
    chained_floor: float
    """Noise floor of `watched`."""
    step: float
    """Largest chained share of a step, and its noise floor."""
    step_floor: float
    error_share: float
    left: float
    """Share of the answer that was not followed back to the prompt."""
    kept: float | None
    """By how much swapping a watched value makes the answer less likely, later notes kept; None
    where nothing was swapped."""
    rewritten: float | None
    """The same, notes written again; None where they did not get to the answer."""
    step_swapped: float | None
    """The same of the top steps, notes kept."""

    @property
    def text(self) -> tuple[str, str]:
        """Runs that write the same are resampled together and lie in one half."""
        return self.reasoning, self.answer


@dataclass(frozen=True)
class Thresholds:
    """Shares from which on an answer draws on a watched span."""

    direct: float
    chained: float


@dataclass(frozen=True)
class Judged:
    """One run with its verdict."""

    run: Measured
    verdict: Verdict
    why: str
    """The figure that decided."""


@dataclass(frozen=True)
class Figures:
    """How well one method tells labelled runs apart; NaN where it was not asked."""

    method: str
    decorative: Interval
    """AUC of its direct share: decorative against back-fitted and carried by notes."""
    back_fitted: Interval
    """AUC of its chained share: back-fitted against carried by notes."""
    true_positives: Interval
    """Share of the runs that draw on what is watched of which it says so."""
    true_negatives: Interval
    """Share of the others that it leaves alone."""
    g_mean2: Interval
    """Their product."""


@dataclass(frozen=True)
class MonitorReport:
    """All runs of a store that are measured, with what they add up to."""

    runs: tuple[Judged, ...]
    total: int
    """Runs that there are; those that failed or wait have no verdict."""
    failed: int
    decided_by: str
    """Where the verdicts come from: thresholds, and of which runs, or swaps."""
    thresholds: tuple[Thresholds, ...]
    """One, or one a half, with that of both for texts without a label; none where swaps decide."""
    labelled: int
    right: Interval
    """Share of the labelled runs whose verdict is the label's."""
    figures: tuple[Figures, ...]
    """Of each of `METHODS`; none without labels."""
    model: Identity
    dictionary: Identity

    @property
    def counts(self) -> dict[Verdict, int]:
        """Runs by verdict."""
        return {one: sum(run.verdict == one for run in self.runs) for one in VERDICTS}
