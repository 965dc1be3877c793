"""`trace` as a user meets it: files, terminal output, JSON, and every kind of bad input."""

from __future__ import annotations

import json
import os
import shutil
import stat
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import networkx as nx
import pytest

from circuit_tracer.graphs import load_graph, prune, save_graph
from circuit_tracer.workbench import folders
from circuit_tracer.workbench.slugs import with_hash
from tests.cli.conftest import Outcome, Run
from tests.graphs.builders import random_graph
from tests.tiny import random_dictionary, tiny_llama

Banana = tuple[Path, Outcome]


def test_the_model_says_yellow_and_the_folder_is_whole(banana: Banana) -> None:
    folder, outcome = banana
    assert outcome.code == 0, outcome.err
    assert {file.name for file in folder.iterdir()} == {
        "trace.json",
        "trust.json",
        "nodes.parquet",
        "edges.parquet",
        "graph.json",
        "graph.svg",
        "graph.graphml",
    }
    pruned = load_graph(folder)
    assert pruned.graph.info.targets[0].token.strip() == "yellow"
    assert pruned.graph.info.conservation_residual <= 1e-4
    assert ET.parse(folder / "graph.svg").getroot().tag.endswith("svg")
    network = nx.read_graphml(folder / "graph.graphml")
    assert network.number_of_nodes() == int(pruned.node_kept.sum())
    record = json.loads((folder / "graph.json").read_text())
    assert len(record["links"]) == int(pruned.edge_kept.sum())


def test_graphml_of_many_edges_is_written_where_it_is_asked_for_alone(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "MANY_KEPT_EDGES", 10)
    given = ("trace", "a banana is", "--no-trust", "--overwrite")
    by_default = run(*given)
    assert "export --to graphml" in by_default.err
    folder = Path("outputs/a-banana-is")
    assert not (folder / "graph.graphml").exists()
    assert (folder / "graph.json").exists()
    asked = run(*given, "--format", "graphml")
    assert "export --to graphml" not in asked.err
    assert (folder / "graph.graphml").exists()


def test_the_terminal_tells_tokens_targets_scores_and_routes(banana: Banana) -> None:
    text = banana[1].out
    for word in ("banana", "yellow", "replacement", "completeness", "conservation", "%", "→"):
        assert word in text
    assert max(len(line) for line in text.splitlines()) <= 200


def test_total_alone_gives_the_graphs_totals_and_writes_nothing(run: Run, tmp_path: Path) -> None:
    given = ("trace", "bananas are", "--json", "--device", "cpu")
    traced, total = run(*given, "--no-trust"), run(*given, "--total")
    assert (traced.code, total.code) == (0, 0), traced.err + total.err
    shutil.rmtree(tmp_path / "outputs")
    whole, alone = json.loads(traced.out), json.loads(total.out)
    assert not list(tmp_path.iterdir())
    assert alone["conservation"]["max_relative_residual"] <= 1e-4
    for mine, theirs in zip(alone["totals"], whole["totals"], strict=True):
        tokens = [one["total"] for one in mine["tokens"]]
        assert tokens == pytest.approx([one["total"] for one in theirs["tokens"]], abs=1e-4)
        assert sum(tokens) + mine["error"] + mine["constant"] == pytest.approx(mine["value"])
        assert mine["value"] == pytest.approx(theirs["value"], abs=1e-4)


def test_json_has_the_promised_keys(run: Run) -> None:
    outcome = run("trace", "bananas are", "--json", "--format", "svg", "--device", "cpu")
    record = json.loads(outcome.out)
    assert set(record) == {
        *("prompt", "tokens", "targets", "totals", "scores", "conservation", "counts"),
        *("seconds", "settings", "trust", "files"),
    }
    assert set(record["targets"][0]) == {"token", "position", "probability", "logit"}
    assert {"replacement", "completeness", "error_share", "constant_share"} <= set(record["scores"])
    assert set(record["conservation"]) == {"max_relative_residual", "tolerance"}
    assert set(record["counts"]) == {
        *("active_features", "expanded_features", "nodes", "edges", "kept_nodes", "kept_edges"),
    }
    assert set(record["seconds"]) == {
        *("load", "forward", "encode", "sweep", "prune", "trust", "write", "total"),
    }
    assert set(record["files"]) == {"trace", "nodes", "edges", "trust", "svg"}
    assert all(Path(file).is_file() for file in record["files"].values())
    assert record["settings"]["model"]["sha256"]
    assert record["settings"]["dictionary"]["sha256"]


def test_both_dictionaries_and_other_targets(run: Run) -> None:
    outcome = run(
        *("trace", "is a banana yellow ?", "--transcoders", "clt", "--contrast", "yes,no"),
        *("--json", "--dtype", "float64", "--device", "cpu", "--no-trust"),
    )
    record = json.loads(outcome.out)
    assert record["targets"][0]["token"] == "yes - no"
    assert record["conservation"]["max_relative_residual"] <= 1e-10
    assert record["settings"]["dictionary"]["kind"] == "clt"
    outcome = run(
        *("trace", "a banana is", "--target", "red", "--target", "yellow", "--json"),
        *("--position", "2", "--device", "cpu", "--no-trust"),
    )
    targets = json.loads(outcome.out)["targets"]
    assert [target["token"].strip() for target in targets] == ["red", "yellow"]
    assert {target["position"] for target in targets} == {2}


def test_a_prompt_from_stdin(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("a lemon is\n"))
    outcome = run("trace", "-", "--json", "--device", "cpu", "--no-trust")
    assert json.loads(outcome.out)["prompt"] == "a lemon is"


BAD_CALLS = [
    (["trace", ""], 2, "prompt is empty"),
    (["trace", "a zeppelin is"], 2, 'does not know "zeppelin"'),
    (["trace", "a " * 300], 2, "takes at most"),
    (["trace", "a banana is", "--target", "yellow red"], 2, "not one token"),
    (["trace", "a banana is", "--model", "nobody/nothing"], 2, 'no model "nobody/nothing"'),
    (["trace", "a banana is", "--model", "./nowhere"], 2, "no folder"),
    (["trace", "a banana is", "--model", "empty"], 2, "config.json is missing"),
    (["trace", "a banana is", "--model", "weights.pt"], 2, "can run code"),
    (["trace", "a banana is", "--transcoders", "nothing"], 2, "nothing"),
    (["trace", "a banana is", "--transcoders", "weights.pkl"], 2, "can run code"),
    (["trace", "a banana is", "--transcoders", "narrow"], 2, "16"),
    (["trace", "a banana is", "--transcoders", "gap"], 2, "layer_1"),
    (["trace", "a banana is", "--transcoders", "cut"], 2, "layer_0"),
    (["trace", "a banana is", "--transcoders", "nan"], 2, "NaN"),
    (["trace", "a banana is", "--slug", "../up"], 2, "--slug"),
    (["trace", "a banana is", "--format", "bmp"], 2, "unknown format"),
    (["trace", "a banana is", "--dtype", "int4"], 2, "unknown dtype"),
    (["trace", "a banana is", "--device", "warp"], 2, "cannot be used here"),
    (["trace", "a banana is", "--node-threshold", "2"], 2, "threshold"),
    (["trace", "a banana is", "--position", "9"], 2, "outside the prompt"),
    (["trace", "a banana is", "--slug", "taken"], 1, "--overwrite"),
    (["trace", "a banana is", "--out", "file/below"], 1, "cannot be written"),
    (["trace", "a banana is", "--slug", "taken", "--overwrite"], 1, "no earlier trace"),
    (["trace", "a banana is", "--position", "0"], 2, "--zero-positions"),
    (["trace", "a banana is", "--coverage", "2"], 2, "--coverage"),
    (["trace", "a banana is", "--model", "own-code"], 2, "cannot be read"),
    (["trace", "a banana is", "--model", "half"], 2, "do not match"),
    (["show", "weights.pt"], 2, "weights.pt"),
    (["trace", "a banana \udcff"], 2, "UTF-8"),
    (["trace", "a banana is", "--max-n-logits", "many"], 2, "max-n-logits"),
]


def _model_folders(place: Path) -> None:
    """A model that brings code of its own, and one without half of its weights."""
    from safetensors.torch import load_file, save_file

    for name in ("own-code", "half"):
        model = tiny_llama()
        model.module.save_pretrained(place / name)
        model.tokenizer.save_pretrained(place / name)
    config = json.loads((place / "own-code" / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config"}}
    (place / "own-code" / "config.json").write_text(json.dumps(config))
    (place / "own-code" / "evil.py").write_text("open('ran', 'w')\nclass Config: ...\n")
    weights = load_file(place / "half" / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if ".mlp." not in name}
    save_file(kept, place / "half" / "model.safetensors", {"format": "pt"})


@pytest.fixture(scope="module")
def traps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder full of things that must be refused; no test may leave anything in it."""
    from circuit_tracer.bundled import bundled_folder
    from circuit_tracer.transcoders.formats.native import save_dictionary

    tmp_path = tmp_path_factory.mktemp("traps")
    (tmp_path / "empty").mkdir()
    for name in ("weights.pt", "weights.pkl"):
        (tmp_path / name).write_bytes(b"\x80\x04.")
    save_dictionary(random_dictionary(tiny_llama(n_layers=6, d_model=16)), tmp_path / "narrow")
    bundled = bundled_folder() / "sprout" / "plt"
    for name in ("gap", "cut"):
        shutil.copytree(bundled, tmp_path / name)
    (tmp_path / "gap" / "layer_1.safetensors").unlink()
    cut = tmp_path / "cut" / "layer_0.safetensors"
    cut.write_bytes(cut.read_bytes()[:-1000])
    broken = random_dictionary(tiny_llama(n_layers=6, d_model=128))
    broken.layers[2].W_enc[3, 5] = float("nan")
    save_dictionary(broken, tmp_path / "nan")
    _model_folders(tmp_path)
    (tmp_path / "outputs" / "taken").mkdir(parents=True)
    (tmp_path / "outputs" / "taken" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("")
    return tmp_path


@pytest.mark.parametrize(("arguments", "code", "says"), BAD_CALLS)
def test_bad_input_gets_one_sentence_and_nothing_is_written(
    arguments: list[str],
    code: int,
    says: str,
    run: Run,
    traps: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(traps)
    before = sorted(str(file) for file in traps.rglob("*"))
    if arguments[0] == "trace":
        arguments = [*arguments, *([] if "--device" in arguments else ["--device", "cpu"])]
    outcome = run(*arguments)
    assert outcome.code == code, outcome
    assert outcome.out == ""
    assert says in outcome.err
    assert "Traceback" not in outcome.err
    if outcome.err.startswith("error: "):
        assert outcome.err.count("\n") == 1
    assert sorted(str(file) for file in traps.rglob("*")) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_without_write_permission(run: Run, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(stat.S_IRUSR | stat.S_IXUSR)
    outcome = run("trace", "a banana is", "--out", str(closed))
    assert outcome.code == 1
    assert "cannot be written" in outcome.err


def test_overwrite_replaces_and_without_it_the_old_graph_stays(run: Run) -> None:
    given = ("trace", "a lemon is", "--slug", "one", "--device", "cpu", "--no-trust")
    first = run(*given, "--format", "svg")
    assert first.code == 0, first.err
    before = Path("outputs/one/trace.json").read_bytes()
    assert run(*given).code == 1
    assert Path("outputs/one/trace.json").read_bytes() == before
    assert run(*given, "--overwrite", "--target", "red").code == 0
    assert load_graph(Path("outputs/one")).graph.info.targets[0].token.strip() == "red"


def test_same_input_same_bytes(run: Run) -> None:
    for slug in ("one", "two"):
        run("trace", "a banana is", "--slug", slug, "--device", "cpu")
    for name in ("graph.svg", "graph.graphml", "nodes.parquet", "edges.parquet"):
        one, two = (Path(f"outputs/{slug}/{name}").read_bytes() for slug in ("one", "two"))
        assert one == two, name


def test_prompts_of_the_same_words_get_folders_of_their_own(run: Run) -> None:
    graph = random_graph()
    there = Path("outputs/a-banana-is")
    there.mkdir(parents=True)
    info = replace(graph.info, prompt="a banana is")
    save_graph(prune(replace(graph, info=info)), there)
    plain = ("--overwrite", "--no-trust", "--format", "json", "--device", "cpu")
    outcome = run("trace", "a banana is", "--slug", "a-banana-is", "-m", "nowhere", *plain)
    assert "nowhere" in outcome.err  # the same prompt's folder is taken
    outcome = run("trace", "a lemon is", "--slug", "a-banana-is", *plain)
    assert outcome.code == 1
    assert 'graph of another prompt, "a banana is"' in outcome.err
    outcome = run("trace", "A banana is", *plain)
    assert outcome.code == 0, outcome.err
    assert load_graph(there).graph.info.prompt == "a banana is"
    (other,) = set(Path("outputs").iterdir()) - {there}
    assert other.name == with_hash("a-banana-is", "A banana is")
