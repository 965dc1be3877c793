"""A transcript's strip for the terminal: a line a step, what it carries and where it came from."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.text import Text

from circuit_tracer.experiments.steps.monitor.verdict import MOVED
from circuit_tracer.experiments.steps.results import ANSWER, Part, StepsReport, Swap, Watched, Why
from circuit_tracer.graphs.token_text import shown
from circuit_tracer.render.numbers import percent
from circuit_tracer.render.terminal import note, plain_table, titled
from circuit_tracer.render.text import printable

BAR = 10
"""Cells of a full bar."""
WITH_BARS = 72
"""Columns from which on there is room for bars; on fewer they would cut what steps draw on."""
MEANING = (
    "Direct: part of the answer's own squared total effects. Chained: a step's, with what later "
    "steps draw from it; a prompt's, with the notes' decided tokens followed back."
)
BRACKETS = "In brackets: at or below the noise floor, where a share says nothing."


def page(report: StepsReport, *, width: int) -> list[RenderableType]:
    """The whole report."""
    parts = [_heading(report), *titled("Steps", _steps(report, bars=width >= WITH_BARS))]
    if report.watched:
        parts += titled("Watched", _watched(report))
    left = f"{percent(report.left)} of the answer ends in words of the notes themselves."
    parts.append(note(f"{MEANING} {BRACKETS} {left}"))
    if report.swaps:
        parts += titled("Values swapped", _swaps(report.swaps), note(_SWAPPED))
        parts += map(Text, contradicted(report))
    if report.why is not None:
        parts += titled("Why the answer looks there", *_why(report, report.why))
    return parts


_SWAPPED = (
    "Follows: probability of the new value. Tried: values of its kind until the model says "
    "something else; where none does, the answer does not hang on the value, or they all lead to "
    "the same answer. Notes rewritten: the model writes again what comes after the change."
)


def contradicted(report: StepsReport) -> list[str]:
    """Watched spans of which their swap, alone and with notes kept, says otherwise than `used`."""
    alone = {one.parts: one.effect for one in report.swaps if one.notes == "kept"}
    pairs = ((one, alone.get((one.name,))) for one in report.watched)
    return [
        f"{one.name}: by its share used {one.used}, but swapping it alone takes "
        f"{percent(effect)} of the answer. Swaps decide."
        for one, effect in pairs
        if effect is not None and (one.used == "directly") != (effect > MOVED)
    ]


def _why(report: StepsReport, why: Why) -> list[RenderableType]:
    """The head that carries most, and the terms of its score."""
    token = f'"{shown(report.tokens[why.source])}" at {why.source}'
    line = (
        f"{why.head} carries {percent(why.share)} of what heads fetch from {token}, with "
        f"{percent(why.attention)} of its attention; its score {why.score:+.2f} is made of"
    )
    table = plain_table().numbers("term").texts("source of the query", "source of the key")
    for term in why.terms:
        table.line(f"{term.value:+.3f}", printable(term.query), printable(term.key))
    return [Text(line), table]


def headline(report: StepsReport) -> str:
    """What the report explains, in one line."""
    own = "" if report.answer_is_models_own else ", not the model's first choice"
    rivals = f'"{shown(report.against)}"' if report.against else "its rivals"
    return (
        f'Answer "{shown(report.answer)}" ({percent(report.probability)}{own}), '
        f"{report.value:+.2f} logits above {rivals}; errors {percent(report.error_share)} of "
        "its total effects"
    )


def _heading(report: StepsReport) -> RenderableType:
    return Text(headline(report), style="bold")


def shares(part: Part) -> tuple[str, str]:
    """Direct and chained share, in brackets at or below the floor."""
    pairs = (part.direct, part.direct_floor), (part.chained, part.chained_floor)
    direct, chained = (
        percent(share) if share > floor else f"({percent(share)})" for share, floor in pairs
    )
    return direct, chained


def draws_on(report: StepsReport, name: str) -> str:
    """What a step or the answer draws on, largest first."""
    drawn = sorted(
        (arrow for arrow in report.arrows if arrow.target == name), key=lambda one: -one.share
    )
    return ", ".join(f"{one.source} {percent(one.share)}" for one in drawn[:3])


def _bar(value: float) -> str:
    return "█" * round(BAR * min(value, 1.0))


def _steps(report: StepsReport, *, bars: bool) -> RenderableType:
    table = plain_table().texts("", "step").numbers("direct", "chained")
    table.texts(*[""] * bars, "draws on")
    for step in report.steps:
        table.line(
            step.name,
            printable(step.text),
            *shares(step),
            *[_bar(step.chained)] * bars,
            draws_on(report, step.name),
            style="" if step.carries else "dim",
        )
    answer = shown(report.answer)
    table.line("", f"-> {answer}", "", "", *[""] * bars, draws_on(report, ANSWER), style="bold")
    return table


def _watched(report: StepsReport) -> RenderableType:
    table = plain_table().texts("", "text").numbers("direct", "chained").texts("used", "said")
    for one in report.watched:
        table.line(
            one.name,
            printable(one.text),
            *shares(one),
            one.used,
            said(one),
        )
    rest = report.prompt_rest
    table.line("rest", "of the prompt", *shares(rest), "", "")
    return table


def said(one: Watched) -> str:
    """Whether and where the notes say it."""
    if one.said == "no":
        return "no"
    return f"{'quoted' if one.said == 'quoted' else 'its value'} in {', '.join(one.where)}"


def _swaps(swaps: Sequence[Swap]) -> RenderableType:
    table = plain_table().texts("changed", "to", "notes").numbers("effect", "follows")
    table.texts("answer").numbers("tried")
    for one in swaps:
        table.line(
            " and ".join(one.parts),
            " ".join(dict.fromkeys(map(shown, one.values))),
            one.notes,
            percent(one.effect),
            percent(one.follows),
            shown(one.answer),
            str(one.tried),
        )
    return table
