"""Summaries of a run against counting by hand, row by row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from circuit_tracer.batch import summary
from circuit_tracer.batch.prompt_file import parse_prompts
from circuit_tracer.batch.stored_run import Run, open_run
from circuit_tracer.batch.summary import progress
from tests.batch.runs import PROMPTS, make_run, run_info


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Ten prompts, tagged odd or even, and a bad line."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    lines = [
        json.dumps({"prompt": prompt, "tags": ["even"] if i % 2 == 0 else ["odd", "second"]})
        for i, prompt in enumerate(PROMPTS)
    ]
    file = parse_prompts("\n".join([*lines, "{"]).encode(), "jsonl")
    make_run(folder, file, info=run_info(heads=True))
    return open_run(folder)


def _by_prompt(run: Run, tag: str) -> list[dict[tuple[int, int], float]]:
    """Each tagged prompt's kept features and the influence on them."""
    found = []
    for record in run.graphs.to_pylist():
        if tag and tag not in record["tags"]:
            continue
        sums: dict[tuple[int, int], float] = {}
        for row in run.rows("nodes").to_pylist():
            if row["id"] == record["id"] and row["kind"] == 1:
                key = row["layer"], row["feature"]
                sums[key] = sums.get(key, 0.0) + row["influence"]
        found.append(sums)
    return found


@pytest.mark.parametrize("tag", ["", "odd", "even"])
def test_frequency_and_influence_of_features(run: Run, tag: str) -> None:
    prompts = _by_prompt(run, tag)
    assert len(prompts) == (10 if not tag else 5)
    lines = summary.features(run, tag, top=5)
    means = {
        key: sum(sums.get(key, 0.0) for sums in prompts) / len(prompts)
        for key in {key for sums in prompts for key in sums}
    }
    best = sorted(means.values(), reverse=True)[:5]
    assert [line.influence.value for line in lines] == pytest.approx(best)
    for line in lines:
        key = line.layer, line.feature
        there = sum(key in sums for sums in prompts)
        assert line.prompts == there
        assert line.frequency.value == pytest.approx(there / len(prompts))
        assert line.influence.value == pytest.approx(means[key])
        for one in (line.frequency, line.influence):
            assert one.low <= one.value <= one.high


def test_the_interval_is_that_of_the_mean() -> None:
    """Against the normal approximation, on many values of a known spread."""
    values = np.random.default_rng(1).normal(3.0, 2.0, size=(1, 400))
    (one,) = summary._intervals(values, 0)
    half = 1.96 * values.std() / np.sqrt(400)
    assert one.low == pytest.approx(one.value - half, abs=0.05)
    assert one.high == pytest.approx(one.value + half, abs=0.05)
    (single,) = summary._intervals(values[:, :1], 0)
    assert np.isnan(single.low)


def test_routes_recur_where_their_features_do(run: Run) -> None:
    prompts: dict[str, set[str]] = {}
    shares: dict[str, float] = {}
    for row in run.rows("paths").to_pylist():
        prompts.setdefault(row["route"], set()).add(row["id"])
        shares[row["route"]] = shares.get(row["route"], 0.0) + row["share"]
    lines = summary.routes(run, top=100)
    assert len(lines) == min(100, len(prompts))
    for line in lines:
        assert line.prompts == len(prompts[line.route])
        assert line.share == pytest.approx(shares[line.route] / 10)
        assert -1 <= line.sign <= 1
    assert [line.prompts for line in lines] == sorted((x.prompts for x in lines), reverse=True)


def test_heads_by_their_mean_share(run: Run) -> None:
    sums: dict[tuple[int, int], float] = {}
    for row in run.rows("heads").to_pylist():
        key = row["layer"], row["head"]
        sums[key] = sums.get(key, 0.0) + row["share"]
    lines = summary.heads(run, top=4)
    assert [line.share.value for line in lines] == pytest.approx(
        [value / 10 for value in sorted(sums.values(), reverse=True)[:4]]
    )


def test_score_quantiles_and_tags(run: Run) -> None:
    found = summary.score_quantiles(run)
    values = sorted(run.graphs.column("completeness").to_pylist())
    assert found["completeness"][0] == values[0]
    assert found["completeness"][-1] == values[-1]
    assert found["completeness"][3] == pytest.approx((values[4] + values[5]) / 2)
    assert summary.tag_counts(run) == {"even": 5, "odd": 5, "second": 5}


def test_progress(run: Run) -> None:
    stand = progress(run)
    assert (stand.total, stand.done, stand.failed, stand.left) == (11, 10, 1, 0)
    assert stand.writers == 1
    assert stand.rate > 0


def test_a_run_that_has_nothing_yet(tmp_path: Path) -> None:
    from circuit_tracer.batch.manifest import entries_of
    from circuit_tracer.batch.run import begin
    from tests.batch.runs import prompt_file

    info = run_info()
    begin(tmp_path / "run", info, entries_of(prompt_file(), info.identity()))
    empty = open_run(tmp_path / "run")
    found: list[Any] = [summary.features(empty), summary.routes(empty), summary.heads(empty)]
    assert found == [[], [], []]
    assert summary.score_quantiles(empty) == {}
    assert (progress(empty).done, progress(empty).left) == (0, len(PROMPTS))
