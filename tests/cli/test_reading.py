"""Reading a traced graph again, and the command line's frame."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from circuit_tracer.graphs import load_graph
from tests.cli.conftest import Outcome, Run

Banana = tuple[Path, Outcome]


def test_show_lists_what_was_traced(banana: Banana, run: Run) -> None:
    text = run("show", str(banana[0])).out
    for word in ("banana", "yellow", "replacement", "L0"):
        assert word in text
    record = json.loads(run("show", str(banana[0]), "--json", "--nodes", "7").out)
    assert record["targets"][0]["token"].strip() == "yellow"
    assert len(record["nodes"]) == 7


def test_paths_go_from_the_token_to_the_target(banana: Banana, run: Run) -> None:
    arguments = ("paths", str(banana[0]), "--from", "banana", "--to", "yellow", "-k", "3", "--json")
    routes = json.loads(run(*arguments).out)["routes"]
    assert len(routes) == 3
    for route in routes:
        assert route["nodes"][0] == "embedding@2"
        assert route["nodes"][-1].startswith("logit:yellow")
    assert [abs(route["share"]) for route in routes] == sorted(
        (abs(route["share"]) for route in routes), reverse=True
    )
    assert "banana" in run(*arguments[:-1]).out


@pytest.mark.parametrize("form", ["svg", "dot", "pdf", "png"])
def test_render_draws(form: str, banana: Banana, run: Run) -> None:
    outcome = run("render", str(banana[0]), "--format", form, "--out", f"figure.{form}")
    assert outcome.code == 0, outcome.err
    head = Path(f"figure.{form}").read_bytes()[:200]
    assert {"svg": b"<svg", "dot": b"digraph", "pdf": b"%PDF", "png": b"PNG"}[form] in head


@pytest.mark.parametrize("form", ["json", "graphml", "gexf", "node-link", "csv", "parquet"])
def test_export_writes(form: str, banana: Banana, run: Run) -> None:
    outcome = run("export", str(banana[0]), "--to", form, "--out", "exported")
    assert outcome.code == 0, outcome.err
    assert Path("exported").exists()
    assert run("export", str(banana[0]), "--to", form, "--out", "exported").code == 1
    assert run("export", str(banana[0]), "--to", form, "-o", "exported", "--overwrite").code == 0


def test_an_exported_json_can_be_shown(banana: Banana, run: Run) -> None:
    assert run("export", str(banana[0]), "--to", "json", "--out", "graph.json").code == 0
    outcome = run("show", "graph.json", "--json")
    assert outcome.code == 0, outcome.err
    shown = json.loads(outcome.out)
    assert shown["prompt"] == "a banana is"


def test_pruning_in_place_leaves_the_users_own_files(run: Run, banana: Banana) -> None:
    run("prune", str(banana[0]), "--out", "mine")
    Path("mine/notes.txt").write_text("keep me")
    Path("mine/features").mkdir()
    assert run("render", "mine", "--format", "dot", "--out", "mine/paper.dot").code == 0
    assert run("prune", "mine", "--node-threshold", "0.5").code == 0
    assert Path("mine/notes.txt").read_text() == "keep me"
    assert Path("mine/features").is_dir()
    assert Path("mine/paper.dot").is_file()
    assert load_graph(Path("mine")).node_threshold == 0.5


def test_prune_again_changes_what_is_kept_and_nothing_else(banana: Banana, run: Run) -> None:
    outcome = run("prune", str(banana[0]), "--node-threshold", "0.5", "--out", "half")
    assert outcome.code == 0, outcome.err
    whole, half = load_graph(banana[0]), load_graph(Path("half"))
    assert 0 < half.node_kept.sum() < whole.node_kept.sum()
    assert (half.graph.edges.weight == whole.graph.edges.weight).all()
    assert half.scores == whole.scores
    left_behind = {"trust.json"}  # of the other thresholds
    assert {f.name for f in Path("half").iterdir()} == {
        f.name for f in banana[0].iterdir()
    } - left_behind
    assert run("prune", "half", "--node-threshold", "0.8").code == 0
    assert (load_graph(Path("half")).node_kept == whole.node_kept).all()


def test_what_several_parts_come_upon_is_noted_once(banana: Banana, run: Run) -> None:
    shutil.copytree(banana[0], "mine")
    for threshold in ("0.5", "0.6"):  # by each command
        Path("mine/trust.json").write_text("{", encoding="utf-8")
        outcome = run("prune", "mine", "--node-threshold", threshold)
        assert (outcome.code, outcome.err.count("cannot be read")) == (0, 1)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["paths", "GRAPH", "--from", "kiwi"], "one of [BOS], a, banana, is"),
        (["paths", "GRAPH", "--to", "purple"], "choose from"),
        (["paths", "GRAPH", "-k", "0"], "at least 1"),
        (["render", "GRAPH", "--format", "bmp"], "unknown format"),
        (["export", "GRAPH", "--to", "pickle"], "unknown format"),
        (["prune", "GRAPH", "--edge-threshold", "0"], "threshold"),
        (["show", "nowhere"], "nowhere"),
    ],
)
def test_reading_refuses_with_a_sentence(
    arguments: list[str], says: str, banana: Banana, run: Run
) -> None:
    outcome = run(*[str(banana[0]) if a == "GRAPH" else a for a in arguments])
    assert outcome.code == 2
    assert outcome.err.startswith("error: ")
    assert says in outcome.err
    assert outcome.err.count("\n") == 1


READ_ONLY = [
    ["--help"],
    ["trace", "--help"],
    ["show", "GRAPH"],
    ["paths", "GRAPH"],
    ["features", "find", "yellow"],
    ["features", "show", "L4/288"],
]


WITHOUT_TORCH = """
import sys
from contextlib import redirect_stdout, suppress
from io import StringIO
from circuit_tracer.cli.main import main
for words in sys.argv[1:]:
    with redirect_stdout(StringIO()) as out, suppress(SystemExit):
        main(words.split("|"))
    heavy = {"torch", "nnsight", "transformers"} & set(sys.modules)
    assert not heavy, (words, heavy)
    assert out.getvalue(), words
"""


def test_reading_never_imports_torch(banana: Banana) -> None:
    """One after the other in one new interpreter: whichever does is named."""
    given = ["|".join(words).replace("GRAPH", str(banana[0])) for words in READ_ONLY]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *given], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_settings_from_environment_and_file(
    run: Run, banana: Banana, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("circuit-tracer.toml").write_text('model = "./from-file"\n[trace]\nmax-n-logits = 3\n')
    assert "./from-file" in run("trace", "a banana is").err
    monkeypatch.setenv("CIRCUIT_TRACER_MODEL", "./from-environment")
    assert "./from-environment" in run("trace", "a banana is").err
    assert "./from-flag" in run("trace", "a banana is", "--model", "./from-flag").err


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("model = ", "cannot be read as TOML"),
        ('modle = "sprout"', '"modle"'),
        ('[trace]\ncolour = "red"', '"colour"'),
        ("[trace]\nnode-treshold = 1", 'did you mean "node_threshold"?'),
        ("[tracing]\n", "[tracing]"),
        ("[runs.shwo]\ntop = 1", '[runs.shwo], and no command has that name; did you mean "show"?'),
        ("[runs]\ntop = 1", '"top" in [runs], which has several commands'),
        ("model = ['sprout']", '"model" in circuit-tracer.toml must be one value'),
        ("[trace]\nmodel = {name = 'sprout'}", "must be one value"),
        ("[trace]\ntarget = [['yes'], 'no']", "must be one value"),
    ],
)
def test_a_wrong_settings_file_is_explained(content: str, says: str, run: Run) -> None:
    Path("circuit-tracer.toml").write_text(content)
    outcome = run("models", "list")
    assert outcome.code == 2
    assert says in outcome.err


def test_models_transcoders_and_doctor_look_sound(run: Run) -> None:
    assert {"sprout", "sprout-two-pages"} <= set(run("models", "list").out.split())
    facts = json.loads(run("models", "inspect", "sprout", "--json").out)
    assert facts["layers"] == 6
    assert "banana" in run("models", "inspect", "sprout", "--vocabulary").out
    rows = json.loads(run("transcoders", "list", "--json").out)
    assert {(row["model"], row["name"]) for row in rows} == {
        ("sprout", "plt"),
        ("sprout", "clt"),
        ("sprout-bent", "resid"),
        ("sprout-cheat", "plt"),
        ("sprout-two-pages", "plt"),
    }
    assert "FVU" in run("transcoders", "inspect", "sprout/plt").out
    outcome = run("doctor")
    assert outcome.code == 0, outcome.out + outcome.err
    assert "residual" in outcome.out
    assert "FAIL" not in outcome.out


def test_an_unforeseen_error_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from circuit_tracer.workbench import folder_contents

    def broken(path: object, labels: object) -> None:
        raise ZeroDivisionError("by us")

    monkeypatch.setattr(folder_contents, "open_labelled", broken)
    outcome = run("show", "anything")
    assert outcome.code == 1
    assert "ZeroDivisionError: by us" in outcome.err
    assert "Traceback" not in outcome.err


def test_a_broken_library_comes_with_what_to_do(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from circuit_tracer.workbench import folder_contents

    def broken(path: object, labels: object) -> None:
        raise OSError("libcuda.so.1: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(folder_contents, "open_labelled", broken)
    outcome = run("show", "anything")
    assert outcome.code == 1
    assert "libcuda.so.1" in outcome.err
    assert "pip install --force-reinstall torch numpy" in outcome.err


def test_interruption_exits_with_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from circuit_tracer.workbench import folder_contents

    def interrupted(path: object, labels: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(folder_contents, "open_labelled", interrupted)
    assert run("show", "anything").code == 130


def test_version(run: Run) -> None:
    from circuit_tracer import __version__

    assert run("--version").out.strip() == f"circuit-tracer {__version__}"
