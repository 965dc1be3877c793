"""`trace` from the command line on a saved model of every family."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from circuit_tracer.transcoders.formats.circuit_tracer_writer import save_circuit_tracer
from tests.cli.conftest import Run
from tests.tiny import FAMILIES, random_dictionary, tiny_model

PROMPT = "the banana is yellow yes a lemon is"


@pytest.mark.parametrize("family", FAMILIES)
def test_trace_with_neurons_and_with_an_upstream_set(family: str, tmp_path: Path, run: Run) -> None:
    model = tiny_model(family)
    model.module.save_pretrained(tmp_path / "model")
    model.tokenizer.save_pretrained(tmp_path / "model")
    save_circuit_tracer(random_dictionary(model, activation="jumprelu"), tmp_path / "set")
    for transcoders, more in (("neurons", ()), (str(tmp_path / "set"), ("--no-trust",))):
        done = run(
            *("trace", PROMPT, "-m", str(tmp_path / "model"), "-t", transcoders, "--json"),
            *("--slug", Path(transcoders).name, "--device", "cpu", *more),
        )
        assert done.code == 0, done.err
        found = json.loads(done.out)
        assert found["conservation"]["max_relative_residual"] < 1e-4
        assert found["settings"]["model"]["kind"] == family.removesuffix("_serial")
        assert found["counts"]["kept_edges"] > 0
