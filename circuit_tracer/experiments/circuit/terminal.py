"""A circuit on the terminal: what it keeps, what random sets keep, and what it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from string import ascii_uppercase

from rich.console import RenderableType
from rich.text import Text

from circuit_tracer.experiments.circuit.results import CircuitReport, PromptKept
from circuit_tracer.experiments.kit.tables import wrapped
from circuit_tracer.graphs.token_text import shown
from circuit_tracer.render.numbers import percent
from circuit_tracer.render.terminal import note, plain_table, titled
from circuit_tracer.render.text import printable

MOST = 12
"""Components that are listed."""
KEPT = (
    "Shares are of the difference between the answer's logit and the other's. Ablated: what is "
    "left without the circuit. Random: the mean of sets with as many components of every layer."
)


def page(report: CircuitReport, *, width: int) -> list[RenderableType]:
    """The whole report."""
    heading = Text("\n".join(wrapped(headline(report), width)), style="bold")
    parts: list[RenderableType] = [heading, Text(sizes(report))]
    for title, used in (("Found with", True), ("Not used to find it", False)):
        if prompts := report.kept(used=used):
            parts += titled(title, _prompts(prompts))
    parts.append(note(KEPT))
    loses = "nats further" if report.level.startswith("KL") else "share lost"
    table = plain_table().texts("component").numbers(f"{loses} without it").texts("label")
    for part in report.components[:MOST]:
        table.line(part.name, f"{part.harm:.2f}", printable(part.label))
    if not report.components:
        return parts
    return [*parts, *titled(f"Most needed of {len(report.components):,}", table)]


def side_by_side(reports: Sequence[CircuitReport]) -> list[RenderableType]:
    """Several circuits, a row each; below what each had to keep."""
    table = plain_table().texts("", "model").numbers("components", "of", "channels", "weights")
    table.numbers("kept", "KL", "random")
    notes = []
    for letter, one in zip(ascii_uppercase, reports, strict=False):
        share, kl = (fmean(getattr(p, of) for p in one.prompts) for of in ("share", "kl"))
        counts = (len(one.components), one.n_components, one.of_kind("channel"), one.weights)
        table.line(
            *(letter, printable(one.model.name), *(f"{count:,}" for count in counts)),
            *(percent(share), f"{kl:.2f}", percent(one.random_share)),
        )
        prompts = f"{len(one.prompts):,} prompts" if one.prompts[1:] else one.prompts[0].prompt
        notes.append(Text(f"{letter}: {printable(prompts)}: {headline(one)}. {sizes(one)}"))
    return [table, *notes]


def _prompts(prompts: Sequence[PromptKept]) -> RenderableType:
    table = plain_table().texts("prompt", "answer", "against").numbers("kept", "KL")
    table.texts("likeliest").numbers("ablated", "random")
    for one in prompts:
        table.line(
            printable(one.prompt),
            shown(one.answer),
            shown(one.against),
            percent(one.share),
            f"{one.kl:.2f}",
            "the same" if one.right else "another",
            percent(one.ablated_share),
            percent(fmean(one.random_share)),
        )
    return table


def headline(report: CircuitReport) -> str:
    """The circuit in one line."""
    count, of = len(report.components), f"of {report.n_components:,} components"
    if not count:
        return f"none {of} has to be kept: with all of them {ablated(report)} the answer stands"
    return f"{count:,} {of} {'is' if count == 1 else 'are'} {report.verdict}"


def sizes(report: CircuitReport) -> str:
    """What it is made of."""
    parts = _counted(report.of_kind("feature"), report.basis.partition("s")[0])
    has_channels = report.basis.endswith("attention")
    channels = f" and {_counted(report.of_kind('channel'), 'channel')} of attention"
    attention = channels if has_channels else ", attention whole"
    least = (
        "none can be left out alone"
        if report.is_minimal
        else "too many to leave each out alone: there may be smaller ones within"
    )
    return (
        f"{parts}{attention}, joined by {report.weights:,} of {report.all_weights:,} weights; "
        f"the rest {ablated(report)}; kept: {report.level}; {least}."
    )


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def ablated(report: CircuitReport) -> str:
    """What was done to the rest."""
    return {"mean": "mean-ablated", "zero": "set to zero"}.get(report.ablation, "resampled")
