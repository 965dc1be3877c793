"""`transcoders inspect | validate | convert` on folders, patterns and hub names, and `trace`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from circuit_tracer.transcoders.decoders import DecoderFile
from circuit_tracer.transcoders.formats.circuit_tracer_writer import save_circuit_tracer
from tests.cli.conftest import Run
from tests.tiny import random_dictionary, tiny_llama
from tests.transcoders.formats.hub_cache import publish
from tests.transcoders.formats.published import CASES, Case, raw_layers


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_inspect_shows_both_vocabularies_from_headers_alone(
    case: Case, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.write(Path("set"), raw_layers())
    monkeypatch.setattr(
        "circuit_tracer.transcoders.formats.tensors.Stored.read", lambda self: pytest.fail("read")
    )
    outcome = run("transcoders", "inspect", "set", "--json")
    assert outcome.code == 0, outcome.err
    facts = json.loads(outcome.out)
    assert (facts["format"], facts["kind"], facts["layers"]) == (case.format, case.kind, 3)
    assert facts["features_per_layer"] == [5, 8, 7]
    assert facts["reads"] == f"blocks.{{layer}}.{case.reads}"
    assert facts["writes"] == f"blocks.{{layer}}.{case.writes}"
    assert "{layer}" in facts["reads_module"]
    assert "{layer}" in facts["writes_module"]
    assert facts["megabytes"] >= 0
    text = run("transcoders", "inspect", "set", "--format", case.format).out
    assert f"format               {case.format}" in text


def test_what_was_chosen_is_said_on_stderr(run: Run) -> None:
    CASES["gemma-scope"].write(Path("set"), raw_layers())
    outcome = run("transcoders", "inspect", "set")
    assert "note: chosen: width 16k, average L0 60, 67, 74" in outcome.err
    assert "chosen" not in outcome.out


def test_convert_and_open_what_was_written(run: Run) -> None:
    CASES["llama-scope"].write(Path("set"), raw_layers())
    assert run("transcoders", "convert", "set", "mine").out == "mine: in our format\n"
    outcome = run("transcoders", "convert", "mine", "theirs", "--to", "circuit-tracer")
    assert outcome.out == "theirs: in the layout of circuit-tracer\n"
    assert "the model's name is not known" not in outcome.err
    assert json.loads(run("transcoders", "inspect", "mine", "--json").out)["format"] == "ours"
    assert run("transcoders", "convert", "mine", "theirs").code == 1
    assert run("transcoders", "convert", "mine", "theirs", "--overwrite").code == 1  # not ours


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("inspect", "nowhere"), 'there is no dictionary "nowhere"'),
        (("inspect", "org/repo"), "HF_HUB_OFFLINE"),
        (("inspect", "set", "--format", "zip"), 'no dictionary format "zip"; choose one of ours'),
        (("inspect", "set", "--format", "saelens"), "lacks|holds no|is missing"),
        (("convert", "set", "out", "--to", "gguf"), 'not to "gguf"'),
        (("validate", "sprout/plt", "--text", "nothing.txt"), "there is no text file"),
        (("validate", "set"), "set has 3 layers and the model sprout has 6"),
    ],
)
def test_mistakes_end_with_2_and_a_sentence(
    arguments: tuple[str, ...], words: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    CASES["sparsify"].write(Path("set"), raw_layers())
    outcome = run("transcoders", *arguments)
    assert outcome.code == 2
    assert any(word in outcome.err for word in words.split("|"))
    assert outcome.err.count("\n") == 1


def test_validate_tells_a_wrong_reading_point(run: Run) -> None:
    run("transcoders", "convert", "sprout/plt", "theirs", "--to", "circuit-tracer")
    outcome = run("transcoders", "validate", "theirs")
    assert outcome.code == 0, outcome.err
    assert "warning" not in outcome.out
    config = Path("theirs/config.yaml")
    config.write_text(config.read_text().replace("mlp.hook_in", "hook_resid_mid"))
    outcome = run("transcoders", "validate", "theirs")
    assert "reading at mlp.hook_in (FVU" in outcome.out
    assert "the reading point looks wrong" in outcome.out
    Path("text.txt").write_text("a banana is yellow\n\na lemon is yellow\n")
    record = json.loads(
        run("transcoders", "validate", "sprout/plt", "--text", "text.txt", "--json").out
    )
    assert record["warnings"] == []
    assert record["tokens"] == 8
    assert all(layer["fvu"] < 0.5 and layer["l0"] == 16 for layer in record["layers"])


def test_a_hub_dictionary_is_traced_with_from_disk(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("circuit_tracer.transcoders.opening.memory_budget", lambda device: 0)
    monkeypatch.setattr(DecoderFile, "whole", lambda self: pytest.fail("read as a whole"))
    model = tiny_llama(dtype=torch.float32)
    model.module.save_pretrained("tiny")
    model.tokenizer.save_pretrained("tiny")
    save_circuit_tracer(random_dictionary(model, kind="clt", skip=True), Path("set"))
    publish(tmp_path / "cache", "org/repo", Path("set").resolve())
    options = ("-m", "./tiny", "-t", "org/repo", "--json", "--transcoders-format", "circuit-tracer")
    outcome = run("trace", "the banana is", *options)
    assert outcome.code == 0, outcome.err
    record = json.loads(outcome.out)
    assert record["settings"]["dictionary"]["source"].startswith("hub:org/repo@0123456789abcdef")
    assert record["conservation"]["max_relative_residual"] < 1e-4
