"""A report of edits for the terminal: the prompt coloured by what its words do, and tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import RenderableType
from rich.text import Text

from circuit_tracer.experiments.edits.results import (
    EditsReport,
    FamiliesReport,
    Outcome,
    Role,
    Routes,
    Word,
)
from circuit_tracer.experiments.kit.tables import (
    MARKS,
    Table,
    rich_table,
    table_of,
    verdict_text,
    wrapped,
    written,
)
from circuit_tracer.graphs.token_text import shown
from circuit_tracer.render.numbers import decimals, percent
from circuit_tracer.render.terminal import note, plain_table, sign_style, titled
from circuit_tracer.render.text import printable, shorten

MEANING = (
    "Pull: what a word adds to the contrast, the mean over what was put in its place, or without "
    "it. ! flips the answer."
)
TURN = "Every prompt is the user's turn in the model's chat template."
LAST = "The last word, where the answer is due, is not deleted."
FAINT = 0.25
"""Part of the strongest pull from which a word is coloured."""
MOST_CELLS = 44
NEXT = 16
"""Of what an added clause stands before, cells that are shown."""


def page(report: EditsReport | FamiliesReport, *, width: int) -> list[RenderableType]:
    """The whole report."""
    if isinstance(report, FamiliesReport):
        return _families(report, width=width)
    parts: list[RenderableType] = [
        Text("\n".join(wrapped(headline(report), width)), style="bold"),
        coloured(report),
        verdict_text(
            f"{report.verdict.kind}: {report.verdict.sentence}",
            [
                ("+" if one.pull > 0 else "-", sign_style(one.pull), f"{one.text}: {one.route}")
                for one in report.verdict.pullers
                if one.route
            ],
            width=width,
        ),
        *titled("Words and clauses", _spans(report), note(meaning(report))),
    ]
    if asked := [one for one in report.edits if one.kind in ("given", "added")]:
        parts += titled("Edits that were asked for", _asked(report, asked))
    for routes in report.routes:
        parts += _routes(report, routes)
    return parts


def meaning(report: EditsReport) -> str:
    """What the table shows, and what was not edited."""
    return MEANING if report.chat else f"{MEANING} {LAST}"


def headline(report: EditsReport) -> str:
    """What the report explains, in one line."""
    return (
        f'Answer "{shown(report.answer)}" ({percent(report.probability)}), '
        f'{decimals(report.contrast, sign=True)} logits against "{shown(report.against)}"; '
        f"{len(report.edits)} edits"
    )


def strength(report: EditsReport, pull: float) -> float:
    """A pull as a part of the strongest one, -1..1."""
    most = max((abs(one.pull) for one in report.words), default=0.0)
    return pull / most if most else 0.0


def pieces(report: EditsReport) -> list[tuple[str, Word | None]]:
    """The prompt as its words and what stands between them."""
    found: list[tuple[str, Word | None]] = []
    at = 0
    for word in sorted(report.words, key=lambda one: one.start):
        found += [(report.prompt[at : word.start], None), (word.text, word)]
        at = word.stop
    return [one for one in [*found, (report.prompt[at:], None)] if one[0]]


def coloured(report: EditsReport) -> Text:
    """The prompt, its words coloured by their pull; ! after those that flip the answer."""
    text = Text("  ")
    for words, word in pieces(report):
        part = 0.0 if word is None else strength(report, word.pull)
        bold = " bold" if abs(part) > 0.5 else ""
        style = "" if abs(part) < FAINT else f"{sign_style(part)}{bold}"
        text.append(printable(words) + ("!" if word is not None and word.flips else ""), style)
    text.append(f"  -> {printable(report.answer.strip())}", style="dim")
    return text


def edits_of(report: EditsReport, span: Word) -> str:
    """What each edit of a span did: "without -1.2; banana -3.4!"."""
    by_name = {one.name: one for one in report.edits}
    return "; ".join(
        f"{one.new or 'without'} {decimals(one.change, sign=True)}{'!' if one.flips else ''}"
        for one in (by_name[name] for name in span.edits)
    )


def _spans(report: EditsReport) -> RenderableType:
    table = plain_table().texts("").numbers("pull").texts("", "edits and their change")
    for span in [*report.words, *report.clauses]:
        faint = abs(strength(report, span.pull)) < FAINT
        table.line(
            shorten(printable(span.text), MOST_CELLS),
            decimals(span.pull, sign=True),
            "!" if span.flips else "",
            edits_of(report, span),
            style="dim" if faint and not span.flips else sign_style(span.pull),
        )
    return table


def described(report: EditsReport, edit: Outcome) -> str:
    """What was done, in words."""
    if edit.kind == "added":
        following = shorten(report.prompt[edit.start :], NEXT)
        return f'"{printable(edit.new)}" before "{printable(following)}"'
    return f"{printable(edit.old)} => {printable(edit.new) or '(nothing)'}"


def _asked(report: EditsReport, edits: Iterable[Outcome]) -> RenderableType:
    table = plain_table().texts("", "edit").numbers("contrast", "change").texts("answer")
    for one in edits:
        table.line(
            one.name,
            described(report, one),
            decimals(one.contrast, sign=True),
            decimals(one.change, sign=True),
            f"{shown(one.answer)} {percent(one.probability)}{' !' if one.flips else ''}",
        )
    return table


def _routes(report: EditsReport, routes: Routes) -> list[RenderableType]:
    """What an edit changed of the graph."""
    (edit,) = (one for one in report.edits if one.name == routes.edit)
    counts = ", ".join(f"{n} {kind}" for kind, n in routes.counts.items())
    table = plain_table().texts("change", "from", "to").numbers("before", "after")
    for one in routes.changes:
        form = "+%" if one.target else "+.2"
        values = (written(value, form) or "-" for value in (one.before, one.after))
        ends = (one.source_label, one.target_label or "(all routes)")
        table.line(one.kind, *(shorten(printable(end), 30) for end in ends), *values)
    title = f"Routes, {edit.name}: {described(report, edit)} ({counts})"
    return titled(title, table, rich_table(role_table(routes.roles)))


def role_table(roles: Sequence[Role]) -> Table:
    """Influence by place, before and after."""
    columns = ("influence of", "before", "after", "features, before", "after")
    return table_of("", roles, columns, "name before:% after:% features_before:% features_after:%")


def family_table(report: FamiliesReport) -> Table:
    """A row a family."""
    columns = ("family", "items", "contrast", "edited", "change", "flips", "p")
    cells = "name n before:[+] after:[+] change:[+] flips:[%] p:.4f"
    return table_of("", report.families, columns, cells)


def _families(report: FamiliesReport, *, width: int) -> list[RenderableType]:
    """What edits do to families of prompts."""
    findings = [(*MARKS[one.holds], one.sentence) for one in report.findings]
    examples = plain_table(header=False).texts("", "")
    for one in report.families:
        examples.line(one.name, f"{printable(one.example[0])}  =>  {printable(one.example[1])}")
    parts: list[RenderableType] = [
        verdict_text(report.question, findings, width=width),
        *titled(
            "Families",
            rich_table(family_table(report)),
            examples,
            *([note(TURN)] if report.chat else []),
        ),
    ]
    for one in report.families:
        if one.roles:
            parts += titled(f"Influence by slot: {one.name}", rich_table(role_table(one.roles)))
    return parts
