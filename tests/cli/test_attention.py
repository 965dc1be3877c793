"""`heads`, `qk` and `trace --heads` on the bundled model."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from circuit_tracer.graphs import load_graph
from circuit_tracer.graphs.head_loadings import HEADS_FILE, load_heads
from tests.cli.conftest import Outcome, Run

Banana = tuple[Path, Outcome]


@pytest.fixture(scope="module")
def with_heads(banana: Banana, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the traced folder with its head loadings stored."""
    from tests.cli.conftest import run_command

    folder = tmp_path_factory.mktemp("heads") / "a-banana-is"
    shutil.copytree(banana[0], folder)
    outcome = run_command("heads", str(folder), "--save", "--device", "cpu")
    assert outcome.code == 0
    assert "heads.parquet" in outcome.out
    return folder


def test_heads_of_a_graph_are_listed_with_their_moves(with_heads: Path, run: Run) -> None:
    text = run("heads", str(with_heads), "--top", "4").out
    assert text.count(".H") == 4
    assert "banana@2 → is@3" in text
    record = json.loads(run("heads", str(with_heads), "--json").out)
    assert record["influence_share_of_these"] == pytest.approx(1)
    heads = record["heads"]
    shares = [head["share"] for head in heads]
    assert shares == sorted(shares, reverse=True)
    assert len(heads) == 15
    assert set(heads[0]["moves"][0]) == {"key", "query", "share"}


def test_parts_of_an_edge_sum_to_it(with_heads: Path, run: Run) -> None:
    """Stored, or taken apart now: the same."""
    arguments = ("heads", str(with_heads), "--edge", "banana", "yellow")
    (stored,) = json.loads(run(*arguments, "--json").out)
    assert stored["source"] == "embedding@2"
    assert stored["target"].startswith("logit:yellow")
    for layer in stored["layers"]:
        parts = layer["residual"] + layer["others"] + sum(h["loading"] for h in layer["heads"])
        assert parts == pytest.approx(stored["weight"], rel=1e-4)
    text = run(*arguments).out
    assert "through heads" in text
    assert "stays in the stream" in text


def test_a_route_is_taken_apart_edge_by_edge(banana: Banana, run: Run) -> None:
    outcome = run("heads", str(banana[0]), "--route", "1", "--json")
    edges = json.loads(outcome.out)
    assert len(edges) >= 2
    for before, after in pairwise(edges):
        assert before["target"] == after["source"]
    assert not (banana[0] / HEADS_FILE).exists()


def test_qk_prints_the_explained_share_first_and_terms_that_sum(banana: Banana, run: Run) -> None:
    arguments = ("qk", str(banana[0]), "--head", "3.2", "--query", "is", "--key", "banana")
    text = run(*arguments).out
    assert text.index("Explained by features") < text.index("attention   score")
    for words in ("Strongest terms", "Why banana@2 and not", "embedding is@3"):
        assert words in text
    record = json.loads(run(*arguments, "--against", "@0", "--json").out)
    kinds = [value for row in record["by_kind"].values() for value in row.values()]
    assert sum(kinds) == pytest.approx(record["score"], abs=1e-5)
    assert record["residual"] < 1e-5
    assert record["complete"]
    scores = {key["position"]: key["score"] for key in record["keys"]}
    (other,) = record["against"]
    assert other["key"] == 0
    assert other["score"] == pytest.approx(scores[2] - scores[0], abs=1e-5)


def test_trace_stores_heads_and_pruning_keeps_what_it_can(run: Run, tmp_path: Path) -> None:
    arguments = ("trace", "a banana is", "--device", "cpu", "--out", str(tmp_path), "--format")
    arguments += ("json", "--no-trust")
    outcome = run(*arguments, "--heads", "--json")
    record = json.loads(outcome.out)
    assert record["files"]["heads"].endswith("heads.parquet")
    folder = tmp_path / "a-banana-is"
    before = load_heads(load_graph(folder), folder)
    assert before is not None
    run("prune", str(folder), "--edge-threshold", "0.5")
    after = load_heads(load_graph(folder), folder)
    assert after is not None
    assert 0 < len(after) < len(before)
    wider = ("prune", str(folder), "--edge-threshold", "0.98")
    assert "the head loadings" in run(*wider).err
    assert (folder / HEADS_FILE).exists()
    loose = run(*wider, "--overwrite")
    assert "heads" in loose.err
    assert not (folder / HEADS_FILE).exists()
    run(*arguments, "--overwrite")
    assert not (folder / HEADS_FILE).exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("heads", "--edge", "banana", "purple"), '"purple" is no target'),
        (("heads", "--edge", "is", "banana"), "is no target"),
        (("heads", "--route", "0"), "--route must be a whole number of at least 1"),
        (("heads", "--route", "3000"), "route(s)"),
        (("heads", "--route", "999999"), "at most 100,000"),
        (("paths", "-k", "999999"), "at most 100,000"),
        (("paths", "-k", "999999", "--heads"), "at most 100,000"),
        (("paths", "--heads", "--floor", "1"), "--floor 1"),
        (("paths", "--heads", "--floor", "nan"), "--floor nan"),
        (("paths", "--heads", "--model", "tests"), "tests"),
        (("heads", "--route", "1", "--save"), "exclude each other"),
        (("heads", "--model", "tests"), "tests"),
        (("qk", "--head", "x", "--query", "@3", "--key", "@2"), "LAYER.HEAD"),
        (("qk", "--head", "99.0", "--query", "@3", "--key", "@2"), "there is no head 99.0"),
        (("qk", "--head", "3.2", "--query", "@4", "--key", "@2"), "outside what was traced"),
        (("qk", "--head", "3.2", "--query", "@2", "--key", "@3"), "cannot see position 3 from 2"),
        (("qk", "--head", "3.2", "--query", "is", "--key", "pear"), "no token of the prompt"),
    ],
)
def test_what_cannot_be_gets_one_sentence(
    arguments: tuple[str, ...], says: str, banana: Banana, run: Run
) -> None:
    command, *rest = arguments
    outcome = run(command, str(banana[0]), *rest)
    assert outcome.code == 2
    assert outcome.out == ""
    assert says in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_token_that_stands_twice_must_be_a_position(run: Run, tmp_path: Path) -> None:
    asked = ("--device", "cpu", "--out", str(tmp_path), "--format", "json", "--no-trust")
    run("trace", "is a banana a", *asked)
    folder = str(tmp_path / "is-a-banana-a")
    outcome = run("qk", folder, "--head", "0.0", "--query", "a", "--key", "@1")
    assert "positions @2, @4" in outcome.err
    outcome = run("heads", folder, "--edge", "a", "yellow")
    assert outcome.code == 2


def test_routes_through_heads_sum_to_their_paths(with_heads: Path, run: Run) -> None:
    arguments = ("paths", str(with_heads), "--to", "yellow", "--json", "-k")
    paths = json.loads(run(*arguments, "3").out)
    assert "heads" not in paths["routes"][0]
    through = ("--heads", "--floor", "0.01", "--device", "cpu")
    record = json.loads(run(*arguments, "2000", *through).out)
    assert 0 <= record["not_followed"] < 0.1  # test_head_parts.py follows every way
    strongest = paths["routes"][0]
    ways = [one for one in record["routes"] if one["nodes"] == strongest["nodes"]]
    assert len(ways) > 1
    assert sum(one["path_share"] for one in ways) == pytest.approx(1, abs=0.2)
    strength = sum(one["strength"] for one in ways)
    assert strength == pytest.approx(strongest["strength"], rel=0.2)
    for one in record["routes"][:50]:
        assert len(one["heads"]) == len(one["nodes"]) - 1
        assert one["share"] == pytest.approx(abs(one["strength"]) * record_scale(record), rel=1e-6)
    text = run("paths", str(with_heads), "--heads", "-k", "3", "--device", "cpu").out
    assert ".H" in text
    assert "Ways too weak to be followed" in text


def record_scale(record: dict[str, list[dict[str, float]]]) -> float:
    return record["routes"][0]["share"] / abs(record["routes"][0]["strength"])


def test_stored_heads_stand_on_routes_and_in_the_figure(with_heads: Path, run: Run) -> None:
    for command in (("show",), ("paths", "-k", "20")):
        text = run(command[0], str(with_heads), *command[1:]).out
        assert "brings most of the edge over" in text
    run("render", str(with_heads), "-o", "with.svg")
    assert "brings most of it over" in Path("with.svg").read_text()


def test_a_damaged_heads_file_gets_one_sentence(with_heads: Path, run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(with_heads, folder)
    (folder / HEADS_FILE).write_bytes(b"no parquet")
    for command in ("show", "paths", "heads", "render"):
        outcome = run(command, str(folder))
        assert outcome.code == 2
        assert "heads --save" in outcome.err
        assert outcome.err.count("\n") == 1
