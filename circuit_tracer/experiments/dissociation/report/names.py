"""What figures and tables of a `dissociate` report call things, and how they draw them."""

from __future__ import annotations

from circuit_tracer.experiments.dissociation.results import Report
from circuit_tracer.experiments.dissociation.spec import Route
from circuit_tracer.experiments.dissociation.step_results import (
    CLAIMS,
    HeadRank,
    How,
    OverlapKind,
    Part,
    SetName,
    SiteDrop,
    SwapRow,
)
from circuit_tracer.render import palette
from circuit_tracer.render.chart_marks import CONTROL, Style

FACT = Style(palette.POSITIVE, "square")
JUDGEMENT = Style(palette.NEGATIVE, "diamond")
SHARED = Style("#3d4148", "disc")
STYLES: dict[Route, Style] = {"fact": FACT, "judgement": JUDGEMENT}
SET_STYLES: dict[SetName, Style] = {"F": FACT, "V": JUDGEMENT, "S": SHARED}
SET_NAMES: dict[SetName, str] = {"F": "F: fact alone", "V": "V: judgement alone", "S": "S: shared"}
KINDS: dict[OverlapKind, str] = {
    "ceiling": "paraphrases (ceiling)",
    "fact x judgement": "fact × judgement",
    "floor": "unrelated prompts (floor)",
}
KIND_STYLES = {"ceiling": CONTROL, "fact x judgement": SHARED, "floor": CONTROL}
HOWS: dict[How, str] = {
    "everything": "everything",
    "attention": "attention's part",
    "mlp": "the MLPs' part",
    "features": "dictionary features",
}
"""What was patched."""


def part(report: Report, one: Part) -> str:
    """ "Early features, L0–L1, at the object"."""
    if one == "together":
        return "Both together"
    span = _span(report, one)
    return f"Early features, {span}, at the object" if one == "early" else f"Late read-outs, {span}"


def layers(report: Report, one: str) -> str:
    """ "early layers, L0–L1", "L3"."""
    if one in ("early", "late"):
        return f"{one} layers, {_span(report, one)}"
    return f"L{one}" if one.isdigit() else one


def _span(report: Report, one: str) -> str:
    early, last = report.early_layers, report.n_layers - 1
    ends = (0, early - 1) if one == "early" else (early, last)
    return "–".join(dict.fromkeys(f"L{end}" for end in ends))


def layer(number: int) -> str:
    """ "L3"; "the embedding" for -1."""
    return "the embedding" if number < 0 else f"L{number}"


def head(one: HeadRank) -> str:
    """ "L3.H2 value → object"."""
    return f"L{one.layer}.H{one.head} {one.query} → object"


def site(one: SiteDrop) -> str:
    """ "L0 attention"."""
    return f"L{one.layer} {'attention' if one.module == 'attention' else 'MLP'}"


def family(row: SwapRow) -> str:
    """The family, and whether the values are those it affirms itself."""
    words = "all truth checks" if row.family == CLAIMS else row.family
    return words if row.names == "completed" else f"{words}, as it affirms"
