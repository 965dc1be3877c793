"""`trace --target-feature` and its siblings, and what reads such a graph."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import circuit_tracer as ct
from circuit_tracer.graphs import load_graph
from circuit_tracer.graphs.files.exchange import open_graph
from circuit_tracer.transcoders.formats.native import save_dictionary
from tests.cli.conftest import Run, run_command
from tests.tiny import residual_dictionary

PROMPT = "joker : is a banana yellow ?"
TRACE = ("trace", PROMPT, "--device", "cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph of a feature of the other dictionary, in every form."""
    out = tmp_path_factory.mktemp("directions")
    forms = [part for form in ("json", "svg", "html", "csv") for part in ("--format", form)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "120")  # no cell of the table of targets is wrapped
        done = run_command(
            *(*TRACE, "--target-feature", "clt:L2/35", "--heads", *forms),
            *("-o", str(out), "--slug", "fires"),
        )
    assert done.code == 0, done.err
    assert "clt L2/35" in done.out
    assert "direction at the MLP of layer 2" in done.out
    assert "verdict" not in done.out.lower()  # not tested by intervening: logits are not explained
    return out / "fires"


def test_the_graph_comes_back_from_both_forms(folder: Path) -> None:
    stored, exchanged = load_graph(folder), open_graph(folder / "graph.json")
    (target,) = stored.graph.info.targets
    assert exchanged.graph.info.targets == (target,)
    assert target.direction is not None
    assert (target.direction.layer, target.direction.reads) == (2, "mlp.hook_in")
    row = int(stored.graph.target_rows[0])
    into = stored.graph.edges.weight[stored.graph.edges.target == row].astype(np.float64).sum()
    assert into + stored.graph.nodes.constant[row] == pytest.approx(target.logit, rel=1e-4)
    (row,) = exchanged.graph.target_rows
    assert exchanged.graph.nodes.value[row] == pytest.approx(target.logit, rel=1e-4)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("show",), "clt L2/35"),
        (("paths",), "clt L2/35"),
        (("heads",), "L2.H"),
        (("compare", "SAME"), "clt L2/35"),
        (("view", "--out", "page.html"), ""),
        (("render", "--format", "svg", "--out", "figure.svg"), ""),
        (("export", "--to", "graphml", "--out", "x.graphml"), ""),
    ],
)
def test_what_reads_graphs_reads_this_one(
    folder: Path, run: Run, command: tuple[str, ...], words: str
) -> None:
    name, *rest = (str(folder) if part == "SAME" else part for part in command)
    done = run(name, str(folder), *rest)
    assert done.code == 0, done.err
    assert words in done.out


@pytest.mark.parametrize("command", [("ablate", "--top", "2"), ("trust", "--quick")])
def test_what_measures_logits_refuses_it_in_a_sentence(
    folder: Path, run: Run, command: tuple[str, ...]
) -> None:
    done = run(command[0], str(folder), *command[1:])
    assert done.code in (1, 2)
    assert "explains the direction clt L2/35" in done.err


def test_a_file_and_two_prompt_sets_give_the_direction(run: Run, tmp_path: Path) -> None:
    save_file({"v": torch.ones(128)}, tmp_path / "ones.safetensors", metadata={"layer": "1"})
    (tmp_path / "joker.txt").write_text("joker : is a lemon yellow ?\njoker : is a lemon red ?\n")
    (tmp_path / "teacher.jsonl").write_text('{"prompt": "teacher : is a lemon yellow ?"}\n')
    for slug, flags, name in (
        ("file", ("--target-direction", str(tmp_path / "ones.safetensors")), "ones"),
        (
            "prompts",
            (
                *("--target-prompts", str(tmp_path / "joker.txt")),
                *(str(tmp_path / "teacher.jsonl"), "--target-layer", "0"),
            ),
            "joker - teacher",
        ),
    ):
        done = run(*TRACE, *flags, "-o", str(tmp_path), "--slug", slug, "--json")
        assert done.code == 0, done.err
        (target,) = json.loads(done.out)["targets"]
        assert target["token"] == name
    layers = load_graph(tmp_path / "prompts").graph.nodes.layer
    assert set(layers.tolist()) == {-1, 0, 6}


def test_python_traces_a_feature_too(folder: Path) -> None:
    traced = ct.trace(PROMPT, target_feature="clt:L2/35", device="cpu")
    (target,) = traced.targets
    assert target.logit == load_graph(folder).graph.info.targets[0].logit
    assert f"{target.logit:+.2f}" in repr(traced)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--target-feature", "L2/x"), "L2/x"),
        (("--target-feature", "L2/99999"), "is no feature of"),
        (("--target-feature", "L2/3", "--contrast", "yes,no"), "exclude each other"),
        (("--target-feature", "L2/3", "--target-direction", "x"), "exclude each other"),
        (("--target-feature", "L2/3", "--target-layer", "1"), "--target-layer"),
        (("--target-feature", "L2/3", "--max-n-logits", "3"), "--max-n-logits"),
        (("--target-feature", "L2/3", "--trust"), "measures logits"),
        (("--target-prompts", "a.txt", "b.txt"), "needs --target-layer"),
        (("--target-layer", "1"), "add one of them"),
        (("--target-direction", "nowhere.safetensors"), "no safetensors file"),
    ],
)
def test_wrong_directions_are_refused_with_nothing_written(
    flags: tuple[str, ...], words: str, run: Run, tmp_path: Path
) -> None:
    done = run(*TRACE, *flags, "-o", str(tmp_path / "out"))
    assert done.code in (1, 2)
    assert words in done.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("model", ["sprout", "sprout-bent"])
def test_a_feature_of_a_residual_dictionary_is_explained(
    tmp_path: Path, run: Run, model: str
) -> None:
    """Through the transcoders of the base, in both models; the value is the models' own."""
    sae = residual_dictionary(ct.open_model("sprout", device="cpu"), 1)
    save_dictionary(sae, tmp_path / "sae")
    trace = (*TRACE, "-m", model, "-t", "sprout/plt", "--max-feature-nodes", "20", "--json")
    wanted = ("--target-feature", f"{tmp_path / 'sae'}:L1/3", "-o", str(tmp_path / "out"))
    done = run(*trace, *wanted)
    assert done.code == 0, done.err
    (target,) = json.loads(done.out)["targets"]
    opened = ct.open_model(model, device="cpu")
    ids = torch.tensor([opened.tokenize(PROMPT)])
    with torch.no_grad():
        stream = opened.module(ids, output_hidden_states=True).hidden_states[2][0, -1]
    value = float(stream @ sae.layers[1].W_enc[3] + sae.layers[1].b_enc[3])
    assert target["logit"] == pytest.approx(value, abs=1e-3)
    missing = run(*trace, "--target-feature", f"{tmp_path / 'sae'}:L0/3")
    assert missing.code == 2
    assert "its layers are 1, their features 0 to 11" in missing.err
