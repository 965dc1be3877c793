"""An option that is given and has no effect is refused in one sentence that says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from circuit_tracer.graphs import prune, save_graph
from tests.cli.conftest import Run
from tests.graphs.builders import hand_graph

TRACE, BATCH = ("trace", "a banana is"), ("batch", "facts")


@pytest.fixture
def graph(tmp_path: Path) -> str:
    """The folder of a small graph, in the working directory."""
    (tmp_path / "graph").mkdir()
    save_graph(prune(hand_graph()), tmp_path / "graph")
    return "graph"


@pytest.mark.usefixtures("graph")
@pytest.mark.parametrize(
    ("arguments", "first", "second"),
    [
        ((*TRACE, "--format", "json", "--top-n", "9"), "--max-nodes", "--format that draws"),
        ((*TRACE, "--json", "-k", "3"), "--routes", "--json"),
        ((*TRACE, "--total", "--coverage", "0.9"), "--coverage", "--total"),
        ((*TRACE, "--total", "--dtype", "bf16"), "--dtype", "--total"),
        ((*TRACE, "--target", "yellow", "--max-n-logits", "3"), "--max-n-logits", "--target"),
        ((*TRACE, "--contrast", "a,b", "--desired-logit-prob", "1"), "--desired-logit", "--contr"),
        ((*TRACE, "--why-not", "a", "--max-n-logits", "3"), "--max-n-logits", "--why-not"),
        ((*TRACE, "--target", "a", "--contrast", "a,b"), "--target", "--contrast"),
        ((*TRACE, "--why-not", "a", "--contrast", "a,b"), "--contrast", "--why-not"),
        ((*TRACE, "--system", "Be brief."), "--system", "--chat"),
        (("circuit", "a banana is", "--system", "Be brief."), "--system", "--chat"),
        (("edits", "a banana is", "--system", "Be brief."), "--system", "--chat"),
        (("steps", "a", "--notes", "b", "--system", "Be brief."), "--system", "--chat"),
        ((*TRACE, "--device", "cpu", "--device-map", "auto"), "--device", "--device-map"),
        ((*BATCH, "--ray-workers", "2"), "--ray-workers", "--engine ray"),
        ((*BATCH, "--engine", "ray", "--shard", "0/2"), "--shard", "--engine ray"),
        ((*BATCH, "--overwrite", "--retry-failed"), "--retry-failed", "--overwrite"),
        ((*BATCH, "--target", "a", "--max-n-logits", "3"), "--max-n-logits", "--target"),
        (("paths", "graph", "--floor", "0.1"), "--floor", "--heads"),
        (("paths", "graph", "-m", "sprout"), "--model", "--heads"),
        (("paths", "graph", "--threads", "1"), "--threads", "--heads"),
        (("heads", "graph", "--edge", "a", "b", "--json", "-k", "1"), "--top", "--edge and --json"),
        (("heads", "graph", "--route", "1", "--json", "-k", "1"), "--top", "--route and --json"),
        (("heads", "graph", "--route", "1", "--save"), "--route", "--save"),
        (("render", "graph", "-o", "x.html", "--top-n", "3"), "--max-nodes", "form html"),
        (("render", "graph", "-o", "x.dot", "--theme", "dark"), "--theme", "dot"),
        (("export", "graph", "--cards", "x"), "--cards", "--feature-examples"),
        (("export", "graph", "--feature-examples", "--to", "csv"), "--feature-examples", "csv"),
        (("prune", "graph", "--max-nodes", "3"), "--max-nodes", "graph holds no figure"),
        (("view", "graph", "--port", "8000"), "--port", "only many graphs are served"),
        (("view", ".", "--out", "pages", "--port", "8000"), "--port", "pages that are written"),
        (("view", ".", "--overwrite"), "--overwrite", "pages that are served"),
        (("edits", "a", "--graphs", "0", "--max-feature-nodes", "9"), "--max-fea", "--graphs 0"),
        (("render", "graph", "--caption", "--overwrite"), "--overwrite", "--caption alone"),
        (("render", "graph", "--caption", "--theme", "dark"), "--theme", "--caption alone"),
        (("view", ".", "--cards", "x"), "--cards", "one graph"),
        (("supernodes", "graph", "--edit", "x.toml", "--threshold", "1"), "--threshold", "--edit"),
        (("supernodes", "graph", "--overwrite"), "--overwrite", "--out"),
        (("supernodes", "graph", "-m", "sprout"), "--model", "--causal or --decoders"),
        (("supernodes", "graph", "--decoders", "plt", "-t", "x"), "--transcoders", "--causal"),
        (("compare", "graph", "graph", "--max-nodes", "3"), "--max-nodes", "--figure"),
        (("compare", "graph", "graph", "--overwrite"), "--overwrite", "--figure"),
        (("compare", "graph", "graph", "--json", "--nodes", "3"), "--nodes", "--json"),
        (("compare", "graph", "graph", "graph", "--nodes", "3"), "--nodes", "more than two"),
        (("compare", "graph", "graph", "--shuffles", "0", "--seed", "1"), "--seed", "--shuffles 0"),
        (("ablate", "graph", "--top", "1", "--writes", "held"), "--writes", "own layers alone"),
        (("ablate", "graph", "--top", "1", "--json", "--target", "a"), "--target", "--json"),
        (
            ("ablate", "graph", "--top", "1", "--mode", "free", "--end-layer", "1"),
            "--end-l",
            "cons",
        ),
        (("ablate", "graph", "--top", "1", "--times", "0", "--value", "1"), "--times", "--value"),
        (
            ("steer", "-p", "a", "-f", "L0/1", "--of-max", "2", "--value", "1"),
            "--value",
            "--of-max",
        ),
        (("steer", "-p", "a", "-f", "L0/1", "--seed", "1"), "--seed", "--temperature"),
        (("steer", "-p", "a", "-f", "L0/1", "--overwrite"), "--overwrite", "--plot"),
        (("steer", "-p", "a", "-f", "L0/1", "--system", "x"), "--system", "--chat"),
        (("trust", "graph", "--quick", "--random-sets", "3"), "--random-sets", "--quick"),
        (("trust", "graph", "--quick", "--draws", "3"), "--draws", "--quick"),
        (("trust", "graph", "--quick", "--other", "clt"), "--other", "--quick"),
        (("trust", "graph", "--max-nodes", "3"), "--max-nodes", "graph holds no figure"),
        (("features", "show", "L0/3", "--json", "--contexts", "2"), "--contexts", "--json"),
        (("features", "show", "L0/3", "-t", "neurons", "--contexts", "2"), "--contexts", "neurons"),
        (("features", "show", "L0/3", "-m", "sprout", "-t", "x/y"), "--model", "--transcoders x/y"),
        (("runs", "export", "x", "1", "--format", "json", "--top-n", "9"), "--max-nodes", "draws"),
    ],
)
def test_it_names_the_option_and_what_makes_it_idle(
    arguments: tuple[str, ...], first: str, second: str, run: Run
) -> None:
    outcome = run(*arguments)
    assert outcome.code == 2, outcome
    (line,) = outcome.err.splitlines()
    assert first in line
    assert second in line
    assert outcome.out == ""


def test_standing_settings_apply_where_they_mean_something(
    graph: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CIRCUIT_TRACER_DEVICE", "cpu")
    monkeypatch.setenv("CIRCUIT_TRACER_MAX_NODES", "9")
    monkeypatch.setenv("CIRCUIT_TRACER_OVERWRITE", "1")
    Path("circuit-tracer.toml").write_text("[paths]\nfloor = 0.1\n")
    assert run("paths", graph).code == 0
    assert run("prune", graph).code == 0


def test_a_card_is_that_of_the_model_that_is_named(run: Run) -> None:
    plain, named = run("features", "show", "L0/3"), run("features", "show", "L0/3", "-m", "sprout")
    assert named == plain
    other = run("features", "show", "L0/3", "-m", "sprout-two-pages")
    assert other.code == 0
    assert other.out != plain.out
    cross = run("features", "show", "L0/3", "-m", "sprout", "-t", "clt")
    assert cross == run("features", "show", "L0/3", "-t", "sprout/clt")
    missing = run("features", "show", "L0/3", "-m", "/nonexistent")
    assert (missing.code, missing.out) == (2, "")
    assert "/nonexistent" in missing.err
