"""The figures of steps 1, 5, 6 and 7."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from statistics import median
from typing import get_args

from circuit_tracer.experiments.diff.directions import Way
from circuit_tracer.experiments.diff.doses import DoseRow
from circuit_tracer.experiments.diff.edges import SourceRow
from circuit_tracer.experiments.diff.features import FeatureRow
from circuit_tracer.experiments.diff.report import DiffReport
from circuit_tracer.experiments.diff.spec import Role
from circuit_tracer.experiments.diff.testing import EditRow
from circuit_tracer.graphs.bootstrap import Interval
from circuit_tracer.render import palette
from circuit_tracer.render.chart import Line, LinePanel, Row, RowPanel, Sheet
from circuit_tracer.render.chart_marks import CONTROL, Axis, Band, Style

SHARES = Axis(0.0, 1.0, 0.25, percent=True)
STEPS = 4
"""Of an axis that covers what was measured, at most."""
MOST_FEATURES = 25
LARGEST = 2.0
"""Of the doses drawn, in sizes of the shift; the rest, mostly broken text, are in the table."""
ROLES: dict[Role, Style] = {
    "trained": Style(palette.NEGATIVE, "square"),
    "selection": Style(palette.QUIET, "diamond"),
    "test": Style(palette.POSITIVE, "disc"),
}
OF_TOKENS = Style(palette.QUIET, "square")
CHOSEN, FIRST = Style(palette.POSITIVE, "diamond"), Style(palette.NEGATIVE, "diamond")
WAYS: dict[Way, str] = {"restore": "tuned model, edited", "induce": "base, edited"}
NamedEdit = tuple[str, EditRow, tuple[EditRow, ...]]
"""An edit, and all that it is the best of."""
COLORS, DASHES = (palette.POSITIVE, palette.NEGATIVE), ("", "6 3")


def spread_svg(report: DiffReport) -> str | None:
    """spread.svg: right answers by topic, tuned over base."""
    if report.behaviour is None:
        return None
    sheet = Sheet(
        "Right answers by topic, before and after",
        "Marks: the tuned model; grey: the base; both with 95 % intervals over items.",
    )
    rows = []
    for role in get_args(Role):
        here = [
            one for one in report.behaviour.rows if one.role == role and one.family == report.main
        ]
        here = [one for one in here if one.part in ("role", "topic")]
        here.sort(key=lambda one: (one.part != "role", one.tuned.value))
        rows += [Row(f"{role.capitalize()} topics")] if here else []
        for one in here:
            name = one.name if one.part == "topic" else "all of them"
            base = Band(one.base.low, one.base.value, one.base.high)
            rows.append(Row(name, one.tuned, ROLES[role], base))
    panel = RowPanel(f"Share of right answers, {report.main}", rows, SHARES, marks_in_names=True)
    sheet.rows(panel, names=170)
    sheet.note(
        "Trained: what the tuning was about. Selection: what features and sizes were chosen on. "
        "Test: topics that nothing was chosen on."
    )
    return sheet.svg(f"{report.name}: spread by topic")


def features_svg(report: DiffReport) -> str | None:
    """features.svg: candidates in the order of their change, and what steering them does."""
    found = report.features
    if found is None or not found.rows:
        return None
    sheet = Sheet(
        "Which features changed, and which matter",
        "Candidates in the order of their activation change; right, what steering each alone by "
        "half the size of the shift gives back on selection topics.",
    )
    rest = sorted((one for one in found.rows if not one.chosen), key=lambda one: one.by_change)
    shown = [one for one in found.rows if one.chosen]
    shown += rest[: MOST_FEATURES - len(shown)]
    shown.sort(key=lambda one: one.by_change)
    changes = [one.tuned - one.base for one in shown]
    effects = [one.effect for one in shown]
    sheet.rows(
        RowPanel(
            "Change of mean activation",
            [_feature(one, value) for one, value in zip(shown, changes, strict=True)],
            Axis.covering(changes, 0.0, 0.0, 0.25, most_steps=STEPS),
            sign=True,
            strong=0.0,
            marks_in_names=True,
        ),
        RowPanel(
            "Right answers given back (probability)",
            [_feature(one, value) for one, value in zip(shown, effects, strict=True)],
            Axis.covering(effects, 0.0, 0.0, 0.05, percent=True, most_steps=STEPS),
            strong=0.0,
        ),
        names=230,
    )
    more = len(found.rows) - len(shown)
    sheet.note(
        "Diamonds: chosen, the best by screening in red. Numbers before names: rank by change "
        f"among {found.n_features:,} features."
        + (f" {more} further candidates are not drawn." if more else "")
    )
    return sheet.svg(f"{report.name}: features, change against effect")


def _feature(one: FeatureRow, value: float) -> Row:
    style = FIRST if one.by_screening == 1 else CHOSEN if one.chosen else CONTROL
    return Row(f"{one.by_change}. {one.name}", Interval.bare(value), style)


def dose_svg(report: DiffReport) -> str | None:
    """dose.svg: right answers and loss against the size of an edit; then edits and controls."""
    found, controls = report.doses, report.controls
    if found is None:
        return None
    sheet = Sheet(
        "One edit for every prompt: what it restores, what it induces, what it costs",
        f"{found.prompts} prompts of test topics. The same vector at every token, in sizes of the "
        "shift (tuned minus base).",
    )
    edits = [*found.edits, *(controls.edits if controls else ())]
    right, losses, tests = [], [], []
    for way, name in WAYS.items():
        sides = [("tuned model", found.tuned), ("base", found.base)]
        (_, start), (other, goal) = sides if way == "restore" else sides[::-1]
        lines = list(_curves(found.doses, way, start, "right"))
        words = f"Right answers: {name}"
        right.append(_panel(words, lines, SHARES, goal.value, f"unedited {other}"))
        lines = list(_curves(found.doses, way, Interval.bare(0.0), "loss"))
        values = [one for line in lines for one in line.drawn()]
        axis = Axis.covering(values, 0.0, report.loss_limit, report.loss_limit, most_steps=STEPS)
        losses.append(_panel(f"Loss added to text: {name}", lines, axis, report.loss_limit))
        rows: list[NamedEdit] = [(one.name, one, ()) for one in edits if one.way == way]
        if controls and way == "restore":
            rows += [(one.words, one.best, one.edits) for one in controls.tens]
        tests.append(list(_edits(rows, name, start)) if rows else [])
    sheet.lines(*right, *losses, across=2, left=40.0)
    for panels in filter(None, tests):
        sheet.y += 14
        sheet.rows(*panels, names=255)
    sheet.note(
        "Dashed in the curves: the other model unedited; the loss limit. Below: at the size chosen "
        "on selection topics under the limit; 95 % intervals over items or documents; dashed: "
        "unedited. Grey: all tens, smallest, median and largest; the matched changed as much."
    )
    return sheet.svg(f"{report.name}: doses")


def edges_svg(report: DiffReport) -> str | None:
    """edges.svg: of each target, which modules and source tokens changed it, and why."""
    found = report.edges
    targets = [one for one in found.targets if one.shown] if found is not None else []
    if found is None or not targets:
        return None
    sheet = Sheet(
        "What changed in the edges into an answer, a feature, a direction",
        f"Tuned minus base in the target's units, mean over {found.prompts} test prompts. Left: "
        "changed weights on the base's input; middle: the base's weights on changed input; right: "
        "what both make together.",
    )
    for one in targets:
        causes = {
            "Changed weights": [row.parts.by_weights for row in one.shown],
            "Changed input": [row.parts.input for row in one.shown],
            "Both together": [row.parts.cross for row in one.shown],
        }
        axis = Axis.covering(list(chain(*causes.values())), 0.0, 0.0, 0.05, most_steps=STEPS)
        panels: list[RowPanel] = []
        for cause, values in causes.items():
            rows = [Row(f"Into {one.name}")]
            for row, value in zip(one.shown, values, strict=True):
                style = OF_TOKENS if isinstance(row, SourceRow) else CHOSEN
                rows.append(Row(row.name, Interval.bare(value), style))
            first = not panels
            panels.append(RowPanel(cause, rows, axis, sign=True, strong=0.0, marks_in_names=first))
        sheet.rows(*panels, names=170)
        sheet.y += 10
    sheet.note(
        "Diamonds: the modules that changed it most. Squares: what all heads together bring from "
        "a kind of token, the same heads otherwise summed."
    )
    return sheet.svg(f"{report.name}: changed edges")


def _curves(doses: Sequence[DoseRow], way: Way, start: Interval, of: str) -> Iterator[Line]:
    """A line for each edit, from what is unedited on."""
    names = dict.fromkeys(one.name for one in doses if one.way == way)
    for number, name in enumerate(names):
        values = [(0.0, start)]
        for one in doses:
            if (one.name, one.way) == (name, way) and one.size <= LARGEST:
                values.append((one.size, one.right if of == "right" else Interval.bare(one.loss)))
        style = COLORS[number % len(COLORS)], DASHES[number % len(DASHES)]
        yield Line(name.partition(" ")[0], values, *style)


def _panel(name: str, lines: list[Line], axis: Axis, strong: float, words: str = "") -> LinePanel:
    sizes = sorted({x for line in lines for x, _ in line.points} or {0.0})
    labels = {x: f"{x:g}" for x in sizes}
    return LinePanel(name, lines, "size of the edit", labels, axis, strong, words)


def _edits(rows: Sequence[NamedEdit], name: str, unedited: Interval) -> Iterator[RowPanel]:
    """Right answers beside the loss; where there are several edits, all of them as a band."""
    right, loss = [], []
    for words, one, all_of in rows:
        style = CHOSEN if one.features and not all_of else CONTROL
        right.append(Row(words, one.right, style, _band(x.right.value for x in all_of)))
        loss.append(Row(words, one.loss, style, _band(x.loss.value for x in all_of)))
    losses = [one.loss for _, one, _ in rows]
    axis = Axis.covering(losses, 0.0, 0.05, 0.025, most_steps=STEPS)
    yield RowPanel(f"Right: {name}", right, SHARES, strong=unedited.value, marks_in_names=True)
    yield RowPanel("Loss added, nats a token", loss, axis, sign=True, strong=0.0)


def _band(values: Iterator[float]) -> Band | None:
    known = sorted(values)
    return Band(known[0], median(known), known[-1]) if known else None
