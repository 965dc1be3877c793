"""`compare` of reports that `dissociate` wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from circuit_tracer.experiments.dissociation.results import DISSOCIATION_FILE
from circuit_tracer.experiments.kit.results import write_record
from circuit_tracer.graphs import Identity
from tests.cli.conftest import Run
from tests.experiments.dissociation.report import builders


@pytest.fixture
def reports(tmp_path: Path) -> list[str]:
    two = Identity("two-pages", "bundled", "ef" * 32, "llama")
    made = {"one": builders.report(), "two": builders.report(model=two, swap=builders.swap(0.1))}
    for name, report in made.items():
        (tmp_path / name).mkdir()
        write_record(report, tmp_path / name / DISSOCIATION_FILE)
    return [str(tmp_path / name) for name in made]


def test_reports_are_compared_and_drawn(reports: list[str], tmp_path: Path, run: Run) -> None:
    figure = tmp_path / "both.svg"
    done = run("compare", *reports, "--figure", str(figure))
    assert "two-pages" in done.out
    assert "not apart" in done.out
    assert figure.read_text().startswith("<?xml")
    record = json.loads(run("compare", *reports, "--json").out)
    assert record["models"] == ["sprout", "two-pages"]
    apart = {one["name"]: one["apart"] for one in record["measures"]}
    assert apart["Judgement follows a swapped fact"]
    assert not apart["D of late read-outs"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--ceiling", "x"], "for graphs"),
        (["elsewhere"], "reports with"),
        (["--figure", "x.bmp"], "no known form"),
    ],
)
def test_what_does_not_go_together_is_refused(
    reports: list[str], run: Run, more: list[str], words: str
) -> None:
    done = run("compare", *reports, *more)
    assert done.code == 2
    assert words in done.err
