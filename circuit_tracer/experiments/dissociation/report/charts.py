"""The figures of steps 2, 4, 5 and 6: rows of figures with their intervals and controls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from circuit_tracer.experiments.dissociation.report import names
from circuit_tracer.experiments.dissociation.results import Report
from circuit_tracer.experiments.dissociation.spec import Route
from circuit_tracer.experiments.dissociation.step_results import (
    CLAIMS,
    PARTS,
    ROUTES,
    SETS,
    AblationResult,
    HeadsResult,
    OverlapResult,
    RandomControl,
    SwapResult,
    SwapRow,
)
from circuit_tracer.graphs.bootstrap import UNKNOWN, Interval
from circuit_tracer.render.chart import Row, RowPanel, Sheet
from circuit_tracer.render.chart_marks import CONTROL, Axis, Band, Style
from circuit_tracer.render.numbers import with_interval

SHARES = Axis(0.0, 1.0, 0.25, percent=True)
MOST_HEADS = 10


def interval_band(one: Interval) -> Band:
    """A control's interval as the band of a figure."""
    return Band(one.low, one.value, one.high)


def _random_band(one: RandomControl) -> Band:
    return Band(one.random_low, one.random_median, one.random_high)


# 2. What fact and judgement graphs share, next to paraphrases and unrelated prompts


def overlap_svg(report: Report, found: OverlapResult) -> str:
    """overlap.svg."""
    sheet = Sheet(
        "How much of the fact's graph is in the judgement's",
        "Overlap of what two graphs give their influence to: 100 % for equal graphs, 0 % for "
        "graphs without a common feature.",
    )
    panels = [
        RowPanel(name, list(_overlaps(found, measure)), SHARES)
        for name, measure in (
            ("same feature, same role of the token", "overlap"),
            ("same feature, at any token", "anywhere"),
        )
    ]
    sheet.rows(*panels, names=232)
    counts = ", ".join(f"{names.KINDS[kind]} {row.pairs}" for kind, row in found.pooled.items())
    own = found.pooled.get("fact x judgement")
    p = f" Permutation p of fact × judgement (median of the pairs): {own.p:.3f}." if own else ""
    sheet.note(
        "Influence-weighted Jaccard of pruned graphs; 95 % intervals over objects. Between floor "
        f"(0) and ceiling (1): {with_interval(found.place)}. Pairs: {counts}.{p}"
    )
    return sheet.svg(f"{report.name}: overlap")


def _overlaps(found: OverlapResult, measure: str) -> Iterator[Row]:
    yield Row("All pairs")
    for kind, name in names.KINDS.items():
        if kind in found.pooled:
            yield Row(name, getattr(found.pooled[kind], measure), names.KIND_STYLES[kind])
    yield Row("By families")
    for kind in ("ceiling", "fact x judgement"):
        for row in found.rows:
            if row.first and row.kind == kind:
                name = f"{row.first} × {row.second}"
                yield Row(name, getattr(row, measure), names.KIND_STYLES[kind])


# 4. What each answer loses when a route's features are ablated


def ablation_svg(report: Report, found: AblationResult) -> str:
    """ablation.svg: drops with matched random sets, D with shuffled labels."""
    sheet = Sheet(
        "What is lost when a route's features are ablated",
        "Share of each answer's lead that is lost: 0 % is untouched, 100 % gone, more than that "
        "reversed. Measured on objects that had no part in choosing the features.",
    )
    values = [x for one in found.cells for x in (one.drop, one.random_low, one.random_high)]
    axis = Axis.covering(values, 0.0, 0.5, 0.25, percent=True)
    panels = [
        RowPanel(
            name=f"of the {route}'s answer",
            rows=list(_drops(report, found, route)),
            axis=axis,
            strong=0.0,
            marks_in_names=True,
            color=names.STYLES[route].color,
        )
        for route in ROUTES
    ]
    sheet.rows(*panels, names=190)
    sheet.note(
        f"Marks: mean with its 95 % interval over objects. Grey: {found.n_random} random sets "
        "matched in size, layer, place and activation, from the smallest to the largest drop, with "
        "the median. Numbers: value [interval]."
    )
    sheet.y += 22
    sheet.rows(_index(report, found), names=190)
    sheet.note(
        "D = (fact lost − judgement lost by F) + (judgement lost − fact lost by V); 0: both "
        "answers lose the same whichever set goes. Two routes show where both parts lie above 0. "
        f"Grey: {found.n_permutations} permutations of the labels (middle 95 %), which must "
        "contain 0."
    )
    return sheet.svg(f"{report.name}: ablations")


def _drops(report: Report, found: AblationResult, route: Route) -> Iterator[Row]:
    cells = {(one.part, one.set): one for one in found.cells if one.route == route}
    for part in PARTS:
        here = [(name, cells[part, name]) for name in SETS if (part, name) in cells]
        if here:
            yield Row(names.part(report, part))
        for name, one in here:
            yield Row(names.SET_NAMES[name], one.drop, names.SET_STYLES[name], _random_band(one))


def _index(report: Report, found: AblationResult) -> RowPanel:
    rows: list[Row] = []
    values: list[Interval] = []
    for one in found.index:
        values += [one.index, one.shuffled, one.fact_side, one.judgement_side]
        rows += [
            Row(names.part(report, one.part)),
            Row("D", one.index, names.SHARED, interval_band(one.shuffled)),
            Row("by F: fact − judgement", one.fact_side, names.FACT),
            Row("by V: judgement − fact", one.judgement_side, names.JUDGEMENT),
        ]
    return RowPanel(
        name="Dissociation index D: what is lost more by the own features than by the other's",
        rows=rows,
        axis=Axis.covering(values, -0.25, 1.0, 0.25),
        sign=True,
        strong=0.0,
        marks_in_names=True,
    )


# 5. Which heads tell true claims from false, and whether verdicts follow their queries


def heads_svg(report: Report, found: HeadsResult) -> str | None:
    """heads.svg; None where no head was ranked."""
    if not found.ranks:
        return None
    sheet = Sheet(
        "Which heads test the claim against the object",
        "A head's score from the claimed value (or the verdict) to the object: does the term made "
        "of both tokens tell true claims from false, and does the verdict turn when only this "
        "head's query is that of the opposite claim?",
    )
    drawn = found.ranks[:MOST_HEADS]
    styles = [names.JUDGEMENT if one.chosen else CONTROL for one in drawn]
    aucs, flips = (
        [
            Row(names.head(one), getattr(one, name), style)
            for one, style in zip(drawn, styles, strict=True)
        ]
        for name in ("auc", "flips")
    )
    axis = Axis.covering([one.auc for one in drawn], 0.5, 1.0, 0.1)
    sheet.rows(
        RowPanel("True from false (AUC)", aucs, axis, strong=0.5),
        RowPanel("Verdicts that flip, this head alone", flips, SHARES),
        names=150,
    )
    together = []
    for one in found.flips:
        which = f"best {one.heads} heads" if one.heads > 1 else "best head"
        together.append(Row(which, one.chosen, names.JUDGEMENT, _random_band(one)))
    sheet.y += 22
    name = "Verdicts that flip, several heads together (grey: random heads)"
    sheet.rows(RowPanel(name, together, SHARES), names=150)
    left_out = len(found.ranks) - len(drawn)
    more = f" {left_out} further heads rank lower." if left_out else ""
    sheet.note(
        "On objects that had no part in ranking the heads; 95 % intervals over objects. Filled "
        "diamonds: heads that are edited together below. An AUC of 0.5 tells nothing. Grey: as "
        f"many random heads of the same layers where there are others, smallest to largest.{more} "
        f"Measured in: {', '.join(found.families)}."
    )
    return sheet.svg(f"{report.name}: heads")


# 6. Whether the answer follows another object's recalled fact


def swap_svg(report: Report, found: SwapResult) -> str | None:
    """swap.svg; None where nothing was patched."""
    if not found.rows:
        return None
    sheet = Sheet(
        "Does the answer follow another object's recalled fact?",
        "What layers write at the object's token is replaced by what they write at another object, "
        "which has another value. Share of items that then answer as for the other object.",
    )
    completed = [row for row in found.rows if row.names == "completed"]
    route_of = {family.name: family.route for family in report.families}
    panels = []
    for name, style in (("Completion", names.FACT), ("Judgement", names.JUDGEMENT)):
        own = [one for one, route in route_of.items() if names.STYLES[route] is style]
        own = [CLAIMS, *own] if style is names.JUDGEMENT else own
        family = next((one for one in own if any(row.family == one for row in completed)), None)
        if family is not None:
            rows = _by_layers(report, completed, family, style)
            panels.append(RowPanel(name, rows, SHARES, color=style.color))
    if panels:
        sheet.rows(*panels, names=190)
    whole = [row for row in found.early if row.family in route_of]
    whole.sort(key=lambda row: row.names != "completed")
    if whole:
        rows = [
            _follows(row, names.family(row), names.STYLES[route_of[row.family]]) for row in whole
        ]
        name = "By family: all that the early layers write"
        sheet.y += 22 if panels else 0
        sheet.rows(RowPanel(name, rows, SHARES, marks_in_names=True), names=190)
    sheet.note(
        f"{found.pairs} items, each with a donor; 95 % intervals over objects. A truth check "
        "follows if it affirms the other object's value and denies its own; a completion, if it "
        "prefers the other object's value. Values are those completed in the fact family; where a "
        "truth check affirms others, rows marked so ask about these. Grey stroke: with nothing "
        "patched."
    )
    return sheet.svg(f"{report.name}: swap")


def _by_layers(report: Report, rows: Sequence[SwapRow], family: str, style: Style) -> list[Row]:
    """Early and late layers, each layer alone, and what of the early ones carries the recall."""
    here = {(row.layers, row.how): row for row in rows if row.family == family}
    every = list(dict.fromkeys((row.layers, row.how) for row in rows))
    whole = [one for one in every if one[1] == "everything"]
    alone = [one for one in whole if one[0].isdigit()]
    blocks = {
        "All that these layers write": [one for one in whole if one not in alone],
        "One layer alone": sorted(alone, key=lambda one: int(one[0])),
        "Of the early layers, alone": [
            one for one in every if one[0] == "early" and one not in whole
        ],
    }
    found = []
    for words, patches in blocks.items():
        found += [Row(words)] if patches else []
        for layers, how in patches:
            name = names.layers(report, layers) if how == "everything" else names.HOWS[how]
            row = here.get((layers, how))
            found.append(_follows(row, name, style) if row else Row(name, UNKNOWN, style))
    return found


def _follows(row: SwapRow, name: str, style: Style) -> Row:
    return Row(name, row.follows, style, Band(row.before, row.before, row.before))
