"""What a stored stage or row depends on where model and dictionary lie nowhere but in memory."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import circuit_tracer as ct
from circuit_tracer.errors import UsageError
from circuit_tracer.experiments.diff.run import diff_key
from circuit_tracer.experiments.dissociation.run import experiment_key
from circuit_tracer.experiments.dissociation.study import Settings, Study
from circuit_tracer.experiments.kit.weights import weights_hash
from circuit_tracer.models import Model
from tests.experiments.diff.small import shaken, small_study, tiny_pair
from tests.experiments.dissociation.small import bananas
from tests.tiny import random_dictionary, tiny_llama


def trained(model: Model) -> None:
    """One weight moved."""
    with torch.no_grad():
        model.module.model.layers[0].mlp.down_proj.weight[0, 0] += 1


def test_what_was_trained_in_memory_has_another_hash() -> None:
    model, same = tiny_llama(), tiny_llama()
    dictionary, other = (random_dictionary(model, seed=seed) for seed in (1, 2))
    before = weights_hash(model)
    assert before == weights_hash(same)
    trained(model)
    assert weights_hash(model) != before
    assert weights_hash(dictionary) == weights_hash(random_dictionary(same, seed=1))
    assert weights_hash(dictionary) != weights_hash(other)
    fewer = replace(dictionary.layers[0], activation="topk", k=3)
    changed = replace(dictionary, layers=(fewer, *dictionary.layers[1:]))
    assert weights_hash(changed) != weights_hash(dictionary)
    named = replace(dictionary, identity=replace(dictionary.identity, sha256="abc"))
    assert weights_hash(named) == "abc"


def test_no_stage_of_other_weights_is_taken_up(tmp_path: Path) -> None:
    base, tuned = tiny_pair()
    study = small_study(tmp_path, base, tuned)
    before = diff_key(study)
    shaken(tuned, "mlp", 0.1)
    assert diff_key(study) != before
    model = tiny_llama()
    asked = Study(model, random_dictionary(model), bananas().spec, Settings())
    before = experiment_key(asked)
    trained(model)
    assert experiment_key(asked) != before


def test_a_run_of_transcripts_is_not_gone_on_with_by_other_weights(tmp_path: Path) -> None:
    line = {"prompt": "the sky is blue", "reasoning": "a banana is yellow", "answer": "yes"}
    path = tmp_path / "runs.jsonl"
    path.write_text(json.dumps({**line, "watch": {"key": "blue"}}) + "\n", encoding="utf-8")
    model = tiny_llama()

    def judged() -> int:
        return len(ct.monitor(path, model=model, check=True, out=tmp_path).runs)

    assert judged() == judged() == 1
    trained(model)
    with pytest.raises(UsageError, match="begun with another `model`"):
        judged()


def test_reports_of_other_weights_have_folders_of_their_own(tmp_path: Path) -> None:
    model = tiny_llama()
    for _ in range(2):
        ct.steps("a banana is", "yellow", model=model, exact=tmp_path)
        ct.edits("a banana is", model=model, replacements=1, graphs=0, out=tmp_path)
        trained(model)
    assert len(list(tmp_path.glob("steps-*"))) == len(list(tmp_path.glob("edits-*"))) == 2
