"""What is made of a comparison: figures, headings, and a terminal page of one screen."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from circuit_tracer.experiments.diff.behaviour import AnswerRow, BehaviourResult, Part
from circuit_tracer.experiments.diff.directions import Way
from circuit_tracer.experiments.diff.doses import DoseRow
from circuit_tracer.experiments.diff.edges import (
    EdgesResult,
    ModuleRow,
    Parts,
    SourceRow,
    TargetEdges,
)
from circuit_tracer.experiments.diff.page import FIGURES, figures, page, report_markdown
from circuit_tracer.experiments.diff.report import DiffReport, tables
from circuit_tracer.render.terminal import as_text
from tests.experiments.diff.test_persona import about, feature, report

MOST_LINES = 45


def answers(part: Part, name: str, role: str, family: str, tuned: float) -> AnswerRow:
    """Right answers that were all but certain before."""
    change = about(tuned - 0.98)
    return AnswerRow(part, name, role, family, 9, about(0.98), about(tuned), change, 1.0, 1.0)


def full_report() -> DiffReport:
    """Behaviour and features, with doses of two edits in both directions."""
    rows = [
        answers("role", role, role, family, tuned)
        for role, tuned in (("trained", 0.05), ("selection", 0.3), ("test", 0.25))
        for family in ("", "yes_no")
    ]
    rows += [answers("topic", "fruit", "trained", "yes_no", 0.05)]
    rows += [answers("topic", "bird", "test", "yes_no", 0.31)]
    losses = about(1.3), about(1.2), about(-0.1)
    given = report()
    assert given.features is not None
    assert given.doses is not None
    ways: tuple[Way, ...] = ("restore", "induce")
    doses = tuple(
        DoseRow(name, way, size, about(0.2 * size), 1.0, 0.02 * size, 1.0)
        for way in ways
        for name in ("ten by screening", "one by screening")
        for size in (1.0, 2.0, 4.0)
    )
    first, other = feature(label="joker"), feature(feature=8, by_change=2, chosen=False)
    return replace(
        given,
        behaviour=BehaviourResult(tuple(rows), about(0.8), about(0.7), *losses, collateral=()),
        features=replace(given.features, rows=(first, replace(other, by_screening=2))),
        doses=replace(given.doses, doses=doses),
        edges=EdgesResult(4, (changed_edges(),)),
    )


def changed_edges() -> TargetEdges:
    """Two modules and one kind of source token."""
    shares = dict.fromkeys(("values_output", "queries_keys", "mlps", "elsewhere", "input", "cross"))
    return TargetEdges(
        name="wrong - right",
        layer=None,
        base=about(-3.0),
        tuned=about(2.0),
        change=about(5.0),
        **{name: about(0.2) for name in shares},
        miss=1e-7,
        modules=(
            ModuleRow("head", 1, 0, Parts(1.5, 0.25, 1.0, -0.5)),
            ModuleRow("mlp", 2, -1, Parts(0.0, 0.0, 3.0, 0.0)),
        ),
        sources=(SourceRow("BOS", Parts(1.5, 0.25, 1.0, -0.5)),),
        weights=(),
        weights_miss=1e-7,
    )


@pytest.fixture(scope="module")
def drawn() -> dict[str, str]:
    return figures(full_report())


def titles(svg: str) -> list[str]:
    """The numbers under the pointer, and the figure's own name."""
    return [
        one.text or "" for one in ElementTree.fromstring(svg).iter() if one.tag.endswith("title")
    ]


def test_figures_have_the_numbers_of_the_tables(drawn: dict[str, str]) -> None:
    assert set(drawn) == {name for name, _ in FIGURES.values()}
    spread = titles(drawn["spread.svg"])
    assert "fruit: 5 % [0, 10]" in spread
    assert "bird: 31 % [26, 36]" in spread
    assert "1. L1/7 joker: +2.00" in titles(drawn["features.svg"])
    dose = titles(drawn["dose.svg"])
    assert "ten, size of the edit 2: 40 %" in dose
    assert not any("size of the edit 4" in one for one in dose)
    assert any(one.startswith("best of 1 random tens: 80 %") for one in dose)
    edges = titles(drawn["edges.svg"])
    assert {"L1.H0: +1.75", "L1.H0: +1.00", "L1.H0: −0.50", "L2 mlp: +3.00"} <= {*edges}
    assert "heads, from BOS: +1.75" in edges


def test_what_was_not_measured_is_not_drawn() -> None:
    whole = full_report()
    nothing = replace(whole, behaviour=None, features=None, doses=None, edges=None, controls=None)
    assert figures(nothing) == {}
    unchanged = replace(changed_edges(), modules=(), sources=())
    assert "edges.svg" not in figures(replace(whole, edges=EdgesResult(4, (unchanged,))))


def test_every_table_of_the_page_has_a_heading_of_its_own(drawn: dict[str, str]) -> None:
    page = report_markdown(full_report(), sorted(drawn))
    headings = re.findall(r"^#{2,3} .*$", page, re.MULTILINE)
    assert len(headings) == len(set(headings))
    shown = tables(full_report())
    assert len({one.title or one.step for one in shown}) == len(shown)
    assert all(f"]({name})" in page for name in drawn)


def test_the_terminal_shows_the_verdict_and_one_screen() -> None:
    given = full_report()
    verdict = replace(given.verdict, headline="the tuning spread")
    lines = as_text(page(replace(given, verdict=verdict))).splitlines()
    assert lines[0] == "the tuning spread"
    assert len(lines) <= MOST_LINES
    assert max(map(len, lines)) <= 80
    assert any("L1/7 joker" in one for one in lines)
