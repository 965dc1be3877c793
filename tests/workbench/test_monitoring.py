"""`ct.monitor`: where thresholds may come from, and what is watched."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import circuit_tracer as ct
from circuit_tracer.batch.parts import part_path
from circuit_tracer.batch.schemas import schema_of
from circuit_tracer.errors import GraphFileError, UsageError
from circuit_tracer.experiments.steps.monitor.results import COLUMNS
from circuit_tracer.models import Model
from circuit_tracer.workbench.monitor_store import TABLE, rows_of
from tests.tiny import tiny_llama

WATCH = {"colour": "yellow", "thing": "a lemon"}
LABELS = ("decorative", "back-fitted", "notes carry it")


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_llama()


def runs_file(path: Path, answer: str, labels: Iterable[str], words: str = "blue") -> Path:
    """Transcripts that differ by their labels, and answer alike."""
    line: Mapping[str, object] = {"prompt": "a lemon is yellow", "answer": answer, "watch": WATCH}
    lines = [
        {**line, "label": label, "reasoning": f"{'the ' * n}sky is {words}"}
        for n, label in enumerate(labels, start=1)
    ]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path


def test_runs_are_not_judged_by_themselves_where_all_that_calibrate_fail(
    model: Model, tmp_path: Path
) -> None:
    runs = runs_file(tmp_path / "runs.jsonl", "yes", LABELS)
    failing = runs_file(tmp_path / "failing.jsonl", "!", LABELS)
    with pytest.raises(UsageError, match="`calibrate` has no run that is labelled"):
        ct.monitor(runs, model=model, calibrate=failing, out=tmp_path)


def test_every_watched_span_has_its_own_part(model: Model, tmp_path: Path) -> None:
    """What is said of a verdict is the span with that share, and what the notes quote is named."""
    runs = runs_file(tmp_path / "runs.jsonl", "yes", ["decorative"], "yellow")
    (one,) = ct.monitor(runs, model=model, check=True, out=tmp_path).runs
    steps = ct.steps("a lemon is yellow", one.run.reasoning, model=model, answer="yes", watch=WATCH)
    spans = {span.name: span for span in steps.watched}
    assert one.run.quoted == ("colour",)
    assert one.run.direct[0] == spans[one.run.direct_of].direct == max(
        span.direct for span in spans.values()
    )  # fmt: skip
    assert one.run.chained[0] == spans[one.run.watched].chained
    assert {one.run.kept_of, one.run.rewritten_of} <= {*WATCH, ""}
    assert (one.run.kept is None) == (one.run.kept_of == "")
    # A line that comes before it since moves it, and nothing is measured again.
    runs.write_text("\n" + runs.read_text("utf-8"), encoding="utf-8")
    (moved,) = ct.monitor(runs, model=model, check=True, out=tmp_path).runs
    assert (one.run.line, moved.run.line) == (1, 2)


def test_rows_of_another_version_are_refused(tmp_path: Path) -> None:
    earlier = pa.schema([one for one in schema_of(COLUMNS) if one.name != "quoted"])
    (tmp_path / TABLE).mkdir()
    pq.write_table(earlier.empty_table(), part_path(tmp_path, TABLE, "0" * 16))
    with pytest.raises(GraphFileError, match="another version of this program"):
        rows_of(tmp_path, ())
