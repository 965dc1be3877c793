"""report.md, the terminal's tables and the comparison of models."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest

from circuit_tracer.errors import UsageError
from circuit_tracer.experiments.dissociation.report.compare import (
    Measure,
    compare_dissociations,
    comparison_table,
)
from circuit_tracer.experiments.dissociation.report.page import report_markdown
from circuit_tracer.experiments.dissociation.report.tables import tables
from circuit_tracer.experiments.dissociation.report.terminal import comparison_page, page
from circuit_tracer.experiments.kit.tables import cell, markdown_table
from circuit_tracer.graphs import Identity
from circuit_tracer.graphs.bootstrap import Interval
from circuit_tracer.render.terminal import as_text
from tests.experiments.dissociation.report import builders
from tests.render.extents import extents, page_size


def columns(line: str) -> int:
    return len(re.findall(r"(?<!\\)\|", line))


def test_the_report_has_every_step_with_its_figure_and_whole_tables() -> None:
    text = report_markdown(
        builders.report(), ("routes.svg", "ablation.svg"), command="circuit-tracer dissociate x"
    )
    for heading in ("1. What", "2. Overlap", "3. Route", "4. Abl", "5. Heads", "6. Ano", "7. A"):
        assert f"\n## {heading}" in text
    assert re.findall(r"!\[.*\]\((.*)\)", text) == ["routes.svg", "ablation.svg"]
    assert "```sh\ncircuit-tracer dissociate x\n```" in text
    for block in text.split("\n\n"):
        lines = block.splitlines()
        if lines[0].startswith("|"):
            assert len({columns(line) for line in lines}) == 1


def test_the_two_by_two_table_has_each_figure_in_its_place() -> None:
    found = [table for table in tables(builders.report()) if table.columns[1] == "ablated"]
    drops = {row[:2]: row[2:] for row in found[0].rows}
    late = drops["Late read-outs, L2–L5", "V: judgement alone"]
    assert late == ("8 % [1, 15]", "3 % (−4 to 14)", "64 % [57, 71]", "3 % (−4 to 14)")
    by_family = {row[:2]: row[2:] for row in found[1].rows}
    assert found[1].columns[2:] == tuple(family.name for family in builders.FAMILIES)
    assert [one.split()[0] for one in by_family["Late read-outs, L2–L5", "F: fact alone"]] == [
        "71",
        "71",
        "6",
        "6",
        "6",
    ]


def test_steps_that_were_not_measured_are_left_out() -> None:
    bare = builders.report(
        overlap=None,
        ablation=None,
        stores=None,
        heads=None,
        swap=None,
        truth=None,
        sets=(),
        notes=(),
    )
    text = report_markdown(bare)
    assert "## 2" not in text
    assert "## 1" in text
    assert "Ablation" not in as_text(page(bare))


def test_hostile_text_stays_text() -> None:
    bad = "a|b <img src=x> [x](javascript:y) `c` *d*\n# e"
    text = report_markdown(builders.report(question=bad, name=bad))
    assert "<img" not in text
    assert not re.search(r"(?<!\\)\]\(javascript", text)
    assert "\n# e" not in text
    assert cell("83 % [79, 88]") == "83 % [79, 88]"
    assert cell("[1](x)") == "\\[1\\](x)"
    lines = markdown_table(("a", "b"), [("x|y", "1")]).splitlines()
    assert lines == ["| a | b |", "|---|--:|", "| x\\|y | 1 |"]


def test_the_terminal_shows_the_verdict_and_fits() -> None:
    text = as_text(page(builders.report()))
    assert text.startswith("one recall, two read-outs")
    assert max(map(len, text.splitlines())) <= 80
    assert "\n late V " in text
    assert "52 of 60 items are kept" in text


def pair(**changes: object):
    two = Identity("two-pages", "bundled", "ef" * 32, "llama")
    return builders.report(), builders.report(model=two, **changes)


def test_models_differ_by_intervals_that_do_not_meet() -> None:
    other = {
        "ablation": builders.ablation(0.71, 0.9),
        "stores": builders.stores(0.9),
        "swap": builders.swap(0.12),
    }
    found = compare_dissociations(pair(**other))
    apart = {one.name: one.is_apart for one in found.measures}
    assert apart["Judgement follows a swapped fact"]
    assert apart["D of early stores"]
    assert not apart["D of late read-outs"]
    assert not any(is_apart for name, is_apart in apart.items() if name.startswith("Truth"))
    shown = {row[0]: row[1:] for row in comparison_table(found).rows}
    assert shown["D of early stores"] == ("+0.02 [−0.06, +0.10]", "+0.90 [+0.82, +0.98]", "apart")


@pytest.mark.parametrize(
    ("values", "is_apart"),
    [
        (((0.1, 0.0, 0.2), (0.5, 0.3, 0.7)), True),
        (((0.5, 0.3, 0.7), (0.1, 0.0, 0.2)), True),
        (((0.1, 0.0, 0.3), (0.5, 0.3, 0.7)), False),
        (((0.1, 0.0, 0.2), (0.5, 0.3, 0.7), (0.6, 0.5, 0.8)), False),
        (((0.1, 0.0, 0.2),), False),
    ],
)
def test_intervals_that_touch_are_not_apart(values, is_apart: bool) -> None:
    assert Measure("x", tuple(Interval(*one) for one in values), False).is_apart == is_apart


def test_the_comparison_is_one_whole_figure() -> None:
    for reports in (pair(), pair(swap=None, truth=None), [*pair(), builders.report(name="again")]):
        drawn = compare_dissociations(reports).svg
        assert drawn == compare_dissociations(reports).svg
        ElementTree.fromstring(drawn)
        width, height = page_size(drawn)
        assert all(one.left >= 0 and one.right <= width + 1 for one in extents(drawn))
        assert all(one.bottom <= height for one in extents(drawn))


def test_models_have_names_that_differ_and_do_nothing() -> None:
    """A report is a file that anybody may have written."""
    evil = Identity("[red]\x1b[31mevil[/red]", "bundled", "ab" * 32, "llama")
    named = compare_dissociations(
        [builders.report(), builders.report(), builders.report(model=evil)]
    )
    assert len(set(named.models)) == 3
    text = as_text(comparison_page(named))
    assert "\x1b" not in text
    assert "[red]" in text.replace("\n", "")


def test_the_table_of_sets_says_how_far_they_carry_over() -> None:
    whole = builders.report()
    one = replace(whole.sets[0], covers=0.42, random_influence=0.97)
    table = next(t for t in tables(replace(whole, sets=(one,))) if t.step == "3. Route sets")
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert (row["carried over"], row["random"]) == ("42 %", "97 %")


def test_values_the_model_affirms_itself_are_asked_about_apart() -> None:
    whole = builders.report()
    rows = tuple(
        replace(row, names="affirmed", follows=builders.share(0.9)) for row in whole.swap.rows
    )
    both = replace(builders.swap(0.1), rows=(*builders.swap(0.1).rows, *rows))
    found = {m.name: m for m in compare_dissociations(pair(swap=both)).measures}
    assert found["Judgement follows a swapped fact"].values[1].value == pytest.approx(0.1)
    assert found["The same, value as it affirms"].values[1].value == pytest.approx(0.9)


def test_truth_is_read_in_other_forms_with_the_direction_of_the_first() -> None:
    """Turned round between forms: both models tell truth where they were fitted, one elsewhere."""
    whole = builders.truth()
    rows = tuple(
        replace(row, auc=builders.share(1 - row.auc.value)) if row.fitted != row.read else row
        for row in whole.rows
    )
    found = compare_dissociations(pair(truth=replace(whole, rows=rows)))
    apart = {one.name: one.is_apart for one in found.measures}
    assert not apart["Truth in yes-no, at the value, L4"]
    assert apart["Truth in true-false, at the value, L4"]
    assert apart["Truth in right-wrong, at the verdict, L4"]


def test_truth_is_compared_after_the_same_layers() -> None:
    """Each at the layer where either reads best, so that no layer is picked for one model."""
    other = replace(builders.truth(), best_layer=5)
    found = compare_dissociations(pair(truth=other))
    layers = {
        one.name.rpartition(", ")[2] for one in found.measures if one.name.startswith("Truth")
    }
    assert layers == {"L4", "L5"}
    assert not any(one.is_apart for one in found.measures)


def test_one_report_is_no_comparison() -> None:
    with pytest.raises(UsageError, match="two reports"):
        compare_dissociations([builders.report()])
