"""Labels and cards of published dictionaries, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from circuit_tracer.errors import DictionaryError
from circuit_tracer.transcoders.card_making import make_cards
from circuit_tracer.transcoders.formats.native import save_dictionary
from circuit_tracer.workbench import feature_cards
from tests.cli.conftest import Run
from tests.tiny import random_dictionary, tiny_llama
from tests.transcoders.test_published_cards import record, write_features


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and a dictionary with a `features/` folder beside it."""
    home = tmp_path_factory.mktemp("home")
    model = tiny_llama(n_layers=2)
    model.module.save_pretrained(home / "model")
    model.tokenizer.save_pretrained(home / "model")
    save_dictionary(random_dictionary(model, n_features=8), home / "set")
    write_features(home / "set", [[record(f" w{layer}{f}") for f in range(8)] for layer in (0, 1)])
    return home


def trace(run: Run, home: Path, out: str, *more: str) -> Path:
    outcome = run(
        *("trace", "a banana is", "-m", str(home / "model"), "-t", str(home / "set")),
        *("--device", "cpu", "--out", str(home / out), "--format", "json", "--overwrite", *more),
    )
    assert outcome.code == 0, outcome.err
    return home / out / "a-banana-is"


def clerps(file: Path) -> dict[str, str]:
    nodes = json.loads(file.read_text())["nodes"]
    wanted = [node for node in nodes if node["feature_type"] == "cross layer transcoder"]
    return {node["node_id"].rpartition("_")[0]: node["clerp"] for node in wanted}


def test_published_cards_label_a_graph_and_are_shown(home: Path, run: Run) -> None:
    graph = trace(run, home, "graph")
    labels = clerps(graph / "graph.json")
    assert labels
    for name, label in labels.items():
        assert "ripe w" + name.replace("_", "") in label
    assert run("view", str(graph), "--no-browser").code == 0
    assert "peel" in (graph / "graph.html").read_text()
    outcome = run("features", "show", "L1/3", "-t", str(home / "set"))
    assert (outcome.code, "ripe [w13]" in outcome.out) == (0, True), outcome.out


def label_all(folder: Path, layers: int = 2) -> Path:
    path = folder / "labels.csv"
    lines = [f"{layer},{f},mine {layer}_{f}" for layer in range(layers) for f in range(8)]
    path.write_text("\n".join(["layer,feature,label", *lines]))
    return path


def test_a_label_file_names_features_in_traces(home: Path, run: Run, tmp_path: Path) -> None:
    labels = label_all(tmp_path)
    graph = trace(run, home, "labelled", "--labels", str(labels))
    found = clerps(graph / "graph.json")
    assert found
    assert all(f"mine {name}" in label for name, label in found.items())


def test_a_label_file_names_neurons_too(home: Path, run: Run, tmp_path: Path) -> None:
    labels = label_all(tmp_path)
    graph = trace(run, home, "neurons", "-t", "neurons", "--labels", str(labels))
    found = clerps(graph / "graph.json")
    assert any("mine " in label for label in found.values())
    assert any("mine " not in label for label in found.values())


def test_stored_graphs_are_shown_and_exported_with_labels(
    home: Path, run: Run, tmp_path: Path
) -> None:
    graph, labels = str(trace(run, home, "stored")), str(label_all(tmp_path))
    assert "mine 0_" in run("show", graph, "--labels", labels).out
    page, exported = tmp_path / "page.html", tmp_path / "graph.json"
    assert run("view", graph, "--labels", labels, "-o", str(page), "--no-browser").code == 0
    assert "mine 0_" in page.read_text()
    assert run("export", graph, "--labels", labels, "-o", str(exported)).code == 0
    assert all(f"mine {name}" in label for name, label in clerps(exported).items())


def test_labels_of_another_dictionary_are_noted_or_refused(
    home: Path, run: Run, tmp_path: Path
) -> None:
    graph, labels = str(trace(run, home, "other")), label_all(tmp_path, layers=3)
    outcome = run("show", graph, "--labels", str(labels))
    assert "8 features are not in this graph's model and ignored (L2/0, ...)" in outcome.err
    labels.write_text("layer,feature,label\n1,99999,x\n")
    outcome = run(
        "trace",
        "a",
        "-m",
        str(home / "model"),
        "-t",
        str(home / "set"),
        "--device",
        "cpu",
        "-o",
        str(tmp_path / "new"),
        "--labels",
        str(labels),
    )
    assert (outcome.code, (tmp_path / "new").exists()) == (2, False)
    assert "no feature that --labels names is one of set, such as L1/99999" in outcome.err


def test_a_run_stores_the_labels_of_its_file(home: Path, run: Run, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a banana is\n")
    outcome = run(
        "batch",
        str(tmp_path / "prompts.txt"),
        "-m",
        str(home / "model"),
        "-t",
        str(home / "set"),
        "--device",
        "cpu",
        "-o",
        str(tmp_path / "runs"),
        "--labels",
        str(label_all(tmp_path)),
    )
    assert outcome.code == 0, outcome.err
    exported = run(
        "runs", "export", str(tmp_path / "runs" / "prompts"), "1", "-o", str(tmp_path / "g")
    )
    assert exported.code == 0, exported.err
    found = clerps(tmp_path / "g" / "graph.json")
    assert all(f"mine {name}" in label for name, label in found.items())


def test_a_published_feature_is_shown_with_its_page(
    home: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = feature_cards.card_book(str(home / "set"))
    monkeypatch.setattr(feature_cards, "card_book", lambda name: book)
    shown = run("features", "show", "L1/3", "-t", "mntss/clt-gemma-2-2b-2.5M")
    page = "https://www.neuronpedia.org/gemma-2-2b/1-clt-hp/3"
    assert page in shown.out
    assert "ripe [w13]" in shown.out

    def without_cards(name: str) -> None:
        raise DictionaryError("there are no cards")

    monkeypatch.setattr(feature_cards, "card_book", without_cards)
    alone = run("features", "show", "L1/3", "-t", "mntss/clt-gemma-2-2b-2.5M@main")
    assert (alone.code, alone.out.strip()) == (0, page)
    assert "there are no cards" in alone.err
    assert run("features", "show", "L1/3", "-t", "some/other").code == 2


def test_cards_are_made_from_a_text_for_any_dictionary(
    home: Path, run: Run, tmp_path: Path
) -> None:
    random_set = tmp_path / "bare"
    save_dictionary(random_dictionary(tiny_llama(n_layers=2), n_features=8), random_set)
    text = tmp_path / "text.txt"
    text.write_text("a banana is yellow\nthe sky is blue\n" * 40)
    arguments = ("transcoders", "cards", str(home / "model"), str(text), "-t", str(random_set))
    made = run(*arguments, "--device", "cpu", "--row-length", "8")
    assert (made.code, made.out.strip()) == (0, str(random_set / "cards.parquet")), made.err
    shown = run("features", "find", "is", "-t", str(random_set))
    assert "L0/" in shown.out + run("features", "find", "the", "-t", str(random_set)).out
    again = run(*arguments, "--device", "cpu")
    assert again.code == 1
    assert "is there already; add --overwrite" in again.err
    neurons = run("transcoders", "cards", str(home / "model"), str(text), "--device", "cpu")
    assert "name a dictionary with --transcoders" in neurons.err


def test_making_cards_reports_how_far_it_is(tmp_path: Path) -> None:
    model = tiny_llama(n_layers=2)
    (tmp_path / "text.txt").write_text("a banana is yellow\n" * 200)
    seen: list[tuple[str, int, int]] = []
    make_cards(
        model,
        random_dictionary(model, n_features=8),
        tmp_path / "text.txt",
        tmp_path,
        row_length=8,
        on_progress=lambda *now: seen.append(now),
    )
    stages = list(dict.fromkeys(stage for stage, _, _ in seen))
    assert stages == ["finding where features fire", "reading contexts", "labelling layers"]
    for stage in stages[:2]:
        done = [(done, total) for name, done, total in seen if name == stage]
        assert len(done) > 1
        assert done == sorted(done)
        assert done[-1][0] == done[-1][1]
