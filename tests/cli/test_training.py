"""`transcoders train` and `evaluate` on a tiny model from a folder, then `trace` with it."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch

from circuit_tracer.transcoders.opening import open_transcoders
from tests.cli.conftest import Run
from tests.tiny import WORDS, tiny_llama

TRAIN = (
    *("transcoders", "train", "text.txt", "--model", "./tiny", "--out", "mine", "--device", "cpu"),
    *("--features", "32", "--k", "4", "--row-length", "16", "--train-batch", "64"),
)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A model folder and a text of random words in the working directory."""
    model = tiny_llama()
    model.module.save_pretrained(tmp_path / "tiny")
    model.tokenizer.save_pretrained(tmp_path / "tiny")
    words, draw = WORDS[2:], random.Random(0)
    lines = [" ".join(draw.choices(words, k=12)) for _ in range(300)]
    (tmp_path / "text.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.mark.parametrize("kind", ["plt", "clt"])
def test_a_trained_dictionary_is_measured_labelled_and_traced_with(
    kind: str, tiny: Path, run: Run
) -> None:
    outcome = run(*TRAIN, "--kind", kind, "--json")
    assert outcome.code == 0, outcome.err
    figures = json.loads(outcome.out)
    assert len(figures["layers"]) == 3
    assert all(0 < layer["l0"] <= 4 for layer in figures["layers"])
    assert (tiny / "mine" / "cards.parquet").is_file()
    again = run("transcoders", "evaluate", "mine", "text.txt", "--model", "./tiny", "--json")
    assert json.loads(again.out)["layers"][0]["fvu"] < 1
    assert kind in run("transcoders", "inspect", "mine").out
    outcome = run("trace", "a banana is", "-m", "./tiny", "-t", "mine", "--json")
    assert outcome.code == 0, outcome.err
    record = json.loads(outcome.out)
    assert record["settings"]["dictionary"]["kind"] == kind
    assert record["settings"]["dictionary"]["location"] == str(tiny / "mine")


def test_a_dictionary_that_reads_before_the_norm_learns_the_response_and_is_traced_with(
    tiny: Path, run: Run
) -> None:
    """No norm of an MLP is frozen in its graph."""
    before = ("--reads", "hook_resid_mid", "--jacobian", "0.1", "--jacobian-directions", "mix")
    outcome = run(*TRAIN, *before, "--max-tokens", "1000", "--no-cards")
    assert outcome.code == 0, outcome.err
    assert "cosine dec  data   iso  error dec" in outcome.out
    config = json.loads((tiny / "mine" / "dictionary.json").read_text())
    assert config["reads"] == "hook_resid_mid"
    assert config["training"]["jacobian_directions"] == "mix"
    responses = [layer["jacobian"] for layer in config["evaluation"]["layers"]]
    assert responses[0]["dec"]["cosine"] is None
    assert all(one["iso"]["error"] > 0 for one in responses)
    assert "cosine dec" in run("transcoders", "inspect", "mine").out
    outcome = run("trace", "a banana is", "-m", "./tiny", "-t", "mine", "--json")
    assert outcome.code == 0, outcome.err

    resid = ("--reads", "resid", "--writes", "resid", "--jacobian", "1")
    refused = run(*TRAIN, *resid, "--overwrite")
    assert (refused.code, "--jacobian is for transcoders of MLPs" in refused.err) == (2, True)
    refused = run(*TRAIN, "--jacobian-directions", "dec", "--overwrite")
    assert (refused.code, "is used with --jacobian alone" in refused.err) == (2, True)


def test_a_sparse_autoencoder_is_used_but_not_traced_through(tiny: Path, run: Run) -> None:
    assert run("trace", "a banana is", "-m", "./tiny", "-o", ".", "--slug", "graph").code == 0
    outcome = run(*TRAIN, "--reads", "resid", "--writes", "resid", "--layers", "1", "--json")
    assert outcome.code == 0, outcome.err
    assert [layer["layer"] for layer in json.loads(outcome.out)["layers"]] == [1]
    assert json.loads(run("transcoders", "inspect", "mine", "--json").out)["after_layers"] == [1]
    feature = json.loads(run("features", "find", "a", "-t", "mine", "--json").out)[0]["name"]
    assert feature.startswith("L1/")
    assert run("features", "show", feature, "-t", "mine").code == 0

    on = ("-t", "mine", "-f", feature, "--value", "5")
    steered = run("steer", "./tiny", *on, "--prompt", "a banana is", "--json")
    assert steered.code == 0, steered.err
    ablated = run("ablate", "graph", *on, "--json")
    assert ablated.code == 0, ablated.err
    row = json.loads(ablated.out)["interventions"][0]
    assert row["predicted_direct"] is None
    assert abs(row["measured"]["free"]["logits"][0]) > 0

    for command in (
        ("ablate", "graph", "-t", "mine", "--top", "2"),
        ("ablate", "graph", "-t", "mine", "-f", "L0/1"),
        ("ablate", "graph", "-t", "mine", "-f", "L1/1@40"),
        ("trace", "a banana is", "-m", "./tiny", "-t", "mine", "-o", "other"),
        ("show", "graph", "-t", "mine"),
    ):
        refused = run(*command)
        assert refused.code in (1, 2), command
        assert refused.err.startswith("error: ")
    assert not (tiny / "other").exists()


def test_a_finished_dictionary_is_only_replaced_when_asked(tiny: Path, run: Run) -> None:
    assert run(*TRAIN, "--no-cards").code == 0
    before = (tiny / "mine" / "dictionary.json").read_bytes()
    refused = run(*TRAIN, "--no-cards", "--seed", "1")
    assert refused.code == 1
    assert "--overwrite" in refused.err
    assert (tiny / "mine" / "dictionary.json").read_bytes() == before
    assert run(*TRAIN, "--no-cards", "--seed", "1", "--overwrite").code == 0
    assert (tiny / "mine" / "dictionary.json").read_bytes() != before


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        (["--kind", "sae"], "--kind"),
        (["--activation", "gelu"], "--activation"),
        (["--activation", "jumprelu"], "k"),
        (["--k", "64"], "k"),
        (["--held-out", "nowhere.txt"], "nowhere.txt"),
        (["--held-out", "text.txt"], "--held-out is the text that is learnt"),
        (["--reads", "resid"], "--reads hook_resid_post and --writes mlp.hook_out clash"),
        (["--reads", "attention"], "--reads"),
        (["--layers", "1"], "--layers is for sparse autoencoders"),
        (["--layers", "one"], '--layers "one"'),
        (["--row-length", "999"], "--row-length"),
    ],
)
def test_training_that_cannot_be_is_refused(
    extra: list[str], says: str, tiny: Path, run: Run
) -> None:
    outcome = run(*TRAIN, *extra)
    assert outcome.code == 2, outcome
    assert outcome.err.startswith("error: ")
    assert says in outcome.err
    assert not (tiny / "mine").exists()


def test_training_goes_on_from_a_dictionary_and_takes_its_shape(tiny: Path, run: Run) -> None:
    """At no rate it stays what it was; a stopped run goes on with the same start alone."""
    first = run(*TRAIN, "--skip", "--max-tokens", "1000", "--no-cards")
    assert first.code == 0, first.err
    on = ("transcoders", "train", "text.txt", "--model", "./tiny", "--out", "on", "--no-cards")
    on += ("--start", "./mine", "--train-batch", "64", "--row-length", "16", "--device", "cpu")
    same = run(*on, "--max-tokens", "500", "--learning-rate", "1e-12")
    assert same.code == 0, same.err
    before, after = (open_transcoders(tiny / name).layers for name in ("mine", "on"))
    for one, other in zip(before, after, strict=True):
        for name, tensor in one.tensors().items():
            torch.testing.assert_close(getattr(other, name), tensor, rtol=0.01, atol=1e-3)
    stored = json.loads((tiny / "on" / "dictionary.json").read_text())["training"]
    assert (stored["start"], stored["n_features"], stored["k"], stored["skip"]) == (
        *("mine", 32, 4),
        True,
    )

    learnt = run(*on, "--jacobian", "0.1", "--max-tokens", "500", "--overwrite")
    assert learnt.code == 0, learnt.err
    refused = run(*on, "--features", "32", "--overwrite")
    assert (refused.code, "--features has no effect with --start" in refused.err) == (2, True)
    itself = run(*on, "--start", "./on", "--overwrite")
    assert (itself.code, "--start and --out are both on" in itself.err) == (2, True)
    missing = run(*on, "--start", "nowhere", "--overwrite")
    assert (missing.code, "nowhere" in missing.err) == (2, True)
