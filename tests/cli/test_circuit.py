"""`circuit`: from the command line to its folder, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from circuit_tracer.errors import UsageError
from circuit_tracer.experiments.circuit.components import Components
from circuit_tracer.experiments.circuit.run import component_weights
from circuit_tracer.graphs import load_graph
from circuit_tracer.graphs.graph import NodeKind
from circuit_tracer.models import open_model
from circuit_tracer.transcoders.neurons import open_neurons
from circuit_tracer.workbench import circuiting
from tests.cli.conftest import Run, run_command
from tests.tiny import tiny_llama

PROMPT = "rome is the capital of"
QUICK = ("--basis", "neurons", "--ablation", "zero", "--random", "1", "--device", "cpu")
"""Zeros need no means over other prompts, which take longer than the search."""


@pytest.fixture(scope="module")
def neurons(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder of a circuit of neurons, and what --json says of it."""
    place = tmp_path_factory.mktemp("neurons")
    asked = ("circuit", PROMPT, "--basis", "neurons", "--json", "--random", "3")
    found = run_command(*asked, "--device", "cpu", "-o", str(place))
    assert found.code == 0, found.err
    (folder,) = place.iterdir()
    return folder, json.loads(found.out)


def test_a_circuit_of_neurons_is_checked_and_written_with_its_graph(
    neurons: tuple[Path, dict[str, Any]],
) -> None:
    """Its nodes are tokens, targets and the circuit's own neurons; each prompt has controls."""
    folder, record = neurons
    (kept,) = record["prompts"]
    assert kept["share"] >= 0.8
    assert kept["right"]
    assert record["is_minimal"]
    assert len(kept["random_share"]) == 3
    assert sum(kept["random_share"]) / 3 < kept["share"] / 2
    assert record["weights"] < record["all_weights"]
    stored = json.loads((folder / "circuit.json").read_text())
    graph = load_graph(folder / stored["prompts"][0]["graph"])
    inside = {(one["layer"], one["index"]) for one in record["components"]}
    nodes, rows = graph.graph.nodes, graph.kept_rows
    features = rows[nodes.kind[rows] == NodeKind.FEATURE]
    assert len(features)
    assert {(int(nodes.layer[i]), int(nodes.feature[i])) for i in features} <= inside


def test_what_a_long_search_takes_is_noted_beforehand(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing of one that takes a moment."""

    def search(*_: object, **__: object) -> None:
        raise UsageError("searched")

    monkeypatch.setattr("circuit_tracer.experiments.circuit.run.search", search)
    for long, is_noted in ((1e9, False), (0.0, True)):
        monkeypatch.setattr(circuiting, "LONG", long)
        found = run("circuit", PROMPT, *QUICK, "-o", "o")
        assert (found.code, "searched" in found.err) == (2, True), found.err
        noted = "circuit: a long search has 3,000 sets of components to try, about " in found.err
        assert noted == is_noted == ("GB, its graphs included" in found.err)


def test_one_circuit_for_a_task_is_checked_on_the_other_prompts(run: Run, tmp_path: Path) -> None:
    """In words; every second line of the file is for checking."""
    lines = ("a banana is", "a lemon is", "a tomato is")
    (tmp_path / "task.txt").write_text("\n".join(lines))
    found = run("circuit", "--task", "task.txt", "--basis", "features", "--kl", "0.5", "-o", "o",
                "--random", "1", "--reference", "task.txt", "--device", "cpu")  # fmt: skip
    assert found.code == 0, found.err
    assert "Found with" in found.out
    assert "Not used to find it" in found.out
    assert "KL at most 0.5 nats" in " ".join(found.out.split())
    assert found.out.rstrip().endswith(": circuit.json, a-banana-is/, a-tomato-is/")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "give a prompt, or --task"),
        ((PROMPT, "--task", "antonyms"), "not both"),
        (("--task", "antonyms", "--answer", "x"), "are for one prompt"),
        ((PROMPT, "--keep", "0.5", "--kl", "1"), "give one of them"),
        ((PROMPT, "--keep", "1.5"), "no share"),
        ((PROMPT, "--kl", "0"), "above 0"),
        ((PROMPT, "--by", "total"), "which channels of attention are not"),
        ((PROMPT, "--basis", "heads"), "--basis"),
        ((PROMPT, "-t", "plt"), "have no part in --basis neurons+attention"),
        ((PROMPT, "--basis", "features", "-t", "neurons"), "those of --transcoders"),
        ((PROMPT, "--ablation", "resample"), "give both or neither"),
        ((PROMPT, "--contrast-prompt", "a banana is"), "give both or neither"),
        ((PROMPT, "--ablation", "resample", "--contrast-prompt", "a banana"), "as long"),
        ((PROMPT, "--ablation", "zero", "--reference", "x.txt"), "to take means over"),
        ((PROMPT, "--reference", "nosuch.txt"), "nosuch.txt"),
        ((PROMPT, "--answer", "banana", "--against", "italy"), "does not beat"),
        ((PROMPT, "--answer", "a b"), "not one token"),
    ],
)
def test_what_is_refused(run: Run, tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    found = run("circuit", *options, "--device", "cpu", "-o", "o")
    assert found.code in (1, 2)
    assert said in found.err
    assert not (tmp_path / "o").exists()


def test_prompts_of_the_same_letters_have_graphs_of_their_own(run: Run, tmp_path: Path) -> None:
    """Lines 1, 3 and 5 are searched with: two are one prompt in words, two are the same line."""
    prompts = ("a banana is", "the sky is", "a banana is .", "the sky is", "a banana is")
    lines = [json.dumps({"prompt": one}) for one in prompts]
    (tmp_path / "task.jsonl").write_text("\n".join(lines))
    found = run("circuit", "--task", "task.jsonl", *QUICK, "-o", "o")
    assert found.code == 0, found.err
    (folder,) = (tmp_path / "o").iterdir()
    stored = json.loads((folder / "circuit.json").read_text())["prompts"]
    used = [one for one in stored if one["used"]]
    asked = {one["prompt"]: load_graph(folder / one["graph"]).graph.info.prompt for one in used}
    assert asked == {"a banana is": "a banana is", "a banana is .": "a banana is ."}
    assert not any(one["graph"] for one in stored if not one["used"])


def test_a_folder_that_is_taken_is_refused_before_the_search(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("circuit", "a banana is", *QUICK, "-o", "o").code == 0

    def search(*_: object, **__: object) -> None:
        raise AssertionError("searched")

    monkeypatch.setattr("circuit_tracer.workbench.circuiting.find_circuit", search)
    taken = run("circuit", "a banana is", *QUICK, "-o", "o", "--seed", "3")
    assert (taken.code, "is there already; add --overwrite" in taken.err) == (1, True), taken.err
    no_graph = run("circuit", "o/..", *QUICK)
    assert (no_graph.code, "is no stored trace" in no_graph.err) == (2, True), no_graph.err
    (tmp_path / "file").write_text("")
    no_folder = run("circuit", "a banana is", *QUICK, "-o", "file")
    assert (no_folder.code, "cannot be written to" in no_folder.err) == (1, True), no_folder.err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"targets": ["nosuch"]}, 'line 1: the target "nosuch" is not one token'),
        ({"targets": ["red"]}, 'line 1: after "a banana is" red does not beat'),
        ({"contrast": "yellow"}, 'line 1: --contrast "yellow" must be two tokens with a comma'),
    ],
)
def test_why_no_prompt_of_a_task_can_be_taken(
    run: Run, tmp_path: Path, line: dict[str, Any], said: str
) -> None:
    (tmp_path / "task.jsonl").write_text(json.dumps({"prompt": "a banana is", **line}))
    found = run("circuit", "--task", "task.jsonl", *QUICK)
    assert (found.code, said in found.err) == (2, True), found.err


def test_weights_are_counted_by_hand() -> None:
    """Of a dense model: a neuron has three rows of the model's width, a channel two."""
    model = open_model("sprout", device="cpu")
    components = Components(model, open_neurons(model), channels=True)
    weights = component_weights(components)
    d, first = model.d_model, components.by_place["channel", 0].start
    for of_kind, most in ((weights[:first], 3 * d), (weights[first:], 2 * d)):
        assert int(of_kind.max()) == most
        assert float((of_kind == most).to(torch.float64).mean()) > 0.9


def test_a_traced_graph_is_asked_as_its_prompt_and_target(run: Run) -> None:
    """Tokens, answer and rival are the graph's, and so is the dictionary where features count."""
    traced = run("trace", "is a lemon yellow ?", "--contrast", "yes,no", "--no-trust",
                 "--device", "cpu")  # fmt: skip
    assert traced.code == 0, traced.err
    Path("few.txt").write_text("a banana is\nis a banana yellow ?")
    same = ("--random", "1", "--device", "cpu", "--json")
    for basis, more in (
        ("features", ("--reference", "few.txt")),
        ("neurons", ("--ablation", "zero")),
    ):
        words = ("--basis", basis, "--kl", "0.5", *more)
        found = run("circuit", "outputs/is-a-lemon-yellow", *words, "-o", "a", *same)
        assert found.code == 0, found.err
        record = json.loads(found.out)
        alone = run("circuit", "is a lemon yellow ?", "--answer", "yes", "--against", "no", *words,
                    "-o", "b", *same)  # fmt: skip
        wanted = json.loads(alone.out)
        for one in (record, wanted):
            del one["seconds"], one["dictionary"]["name"]
        assert record == wanted
    other = run("circuit", "outputs/is-a-lemon-yellow", "--basis", "features", "-t", "clt")
    assert other.code == 2
    assert "another dictionary" in other.err


def test_neurons_are_not_taken_for_features(run: Run, tmp_path: Path) -> None:
    """A model without transcoders has none, whatever its default dictionary is."""
    model = tiny_llama()
    model.module.save_pretrained(tmp_path / "model")
    model.tokenizer.save_pretrained(tmp_path / "model")
    options = ("--basis", "features", "--ablation", "zero", "--device", "cpu", "-o", "o")
    found = run("circuit", "the banana is", "-m", "model", *options)
    assert found.code == 2
    assert "give some, or choose neurons" in found.err
    assert not (tmp_path / "o").exists()


def test_two_written_circuits_are_shown_side_by_side(
    run: Run, tmp_path: Path, neurons: tuple[Path, dict[str, Any]]
) -> None:
    """Read back from their folders; what belongs to a search has no effect there."""
    assert run("circuit", PROMPT, *QUICK, "--kl", "0.15", "-o", "o").code == 0
    folders = [str(neurons[0]), *map(str, (tmp_path / "o").iterdir())]
    shown, told = run("circuit", *folders), run("circuit", *folders, "--json")
    assert (shown.code, told.code) == (0, 0), shown.err + told.err
    stored = [json.loads((Path(one) / "circuit.json").read_text()) for one in folders]
    assert json.loads(told.out) == stored
    for one in stored:
        assert f" {len(one['components'])} of " in shown.out
    compared = run("compare", *folders, "--shuffles", "0", "--json")
    assert compared.code == 0, compared.err
    viewed = run("view", *folders, "--no-browser")
    assert viewed.code == 0, viewed.err
    assert Path(viewed.out.strip()).parent == Path(folders[0])
    idle = run("circuit", *folders, "--kl", "0.3")
    assert (idle.code, "--kl has no effect with two circuits" in idle.err) == (2, True)
    wrong = run("circuit", folders[0], "nosuch")
    assert (wrong.code, "nosuch" in wrong.err) == (2, True)
