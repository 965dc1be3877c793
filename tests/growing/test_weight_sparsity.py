"""How a sibling of sprout is made sparse, stored so, and examined."""

from __future__ import annotations

import importlib
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import circuit_tracer as ct
from circuit_tracer.bundled import sha256_of, shipped_folder
from circuit_tracer.models import open_model
from circuit_tracer.workbench.opening import open_pair
from transcoders.growing.language.corpus import vocabulary
from transcoders.growing.model_folder import read_model, write_model
from transcoders.growing.weight_sparsity.activity import Activity
from transcoders.growing.weight_sparsity.examination import neuron_figures
from transcoders.growing.weight_sparsity.training import (
    Plan,
    divergence,
    fold_norms,
    hidden_matrices,
    keep_largest,
    make_sparse,
)

SPROUT = shipped_folder("transcoders") / "sprout" / "model"
SHORT = Plan(steps=4, rows=2, annealed=0.5)
TOKENS = torch.tensor([[2, 10, 11, 12, 13, 14], [2, 20, 21, 22, 23, 24]])


def test_the_largest_entries_stay() -> None:
    matrix = torch.tensor([[1.0, -5.0, 0.5, 2.0], [-3.0, 0.1, 4.0, 0.2]])
    keep_largest(matrix, 1)
    assert int(matrix.count_nonzero()) == 8
    keep_largest(matrix, 3 / 8)
    assert matrix.tolist() == [[0, -5, 0, 0], [-3, 0, 4, 0]]


def test_the_share_kept_falls_geometrically_and_then_the_rate() -> None:
    plan = Plan(steps=1000, annealed=0.5, kept=1 / 16, warm_up=10, rate=1, last=0.03)
    assert plan.kept_at(249) == pytest.approx(1 / 4)
    assert plan.kept_at(499) == plan.kept_at(999) == pytest.approx(1 / 16)
    assert [plan.rate_at(step) for step in (0, 9, 500)] == pytest.approx([0.1, 1, 1])
    assert plan.rate_at(750) == pytest.approx(1 - 0.97 / 2)
    assert plan.rate_at(1000) == pytest.approx(0.03)
    assert {replace(plan, kept=1.0).kept_at(step) for step in (0, 500, 999)} == {1.0}


def test_folded_norms_leave_the_model_as_it_is() -> None:
    model, _ = read_model(SPROUT)
    before = model(input_ids=TOKENS).logits
    fold_norms(model)
    assert all((one == 1).all() for name, one in model.named_parameters() if "norm" in name)
    torch.testing.assert_close(model(input_ids=TOKENS).logits, before, atol=1e-3, rtol=1e-4)


def test_the_divergence_is_that_from_the_parent() -> None:
    ours, theirs = torch.tensor([[[0.0, 0.0]]]), torch.tensor([[[math.log(3), 0.0]]])
    expected = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert divergence(ours, theirs).item() == pytest.approx(expected)


def test_activity_is_what_neurons_write() -> None:
    """Summed with its signs it is the MLP's output; its share is of the stream before it."""
    model, _ = read_model(SPROUT)
    model.train(False)
    activity, seen = Activity(model), {}
    layer = model.model.layers[2]
    layer.mlp.register_forward_hook(lambda _, given, out: seen.update(given=given[0], out=out))
    layer.post_attention_layernorm.register_forward_hook(
        lambda _, given, out: seen.update(stream=given[0])
    )
    for _ in range(2):
        with torch.no_grad():
            model(input_ids=TOKENS)
    assert len(activity.layers) == 6
    mlp, place = layer.mlp, (1, 3)
    gate = torch.nn.functional.silu(mlp.gate_proj.weight @ seen["given"][place])
    values = gate * (mlp.up_proj.weight @ seen["given"][place])
    written = mlp.down_proj.weight * values
    torch.testing.assert_close(written.sum(1), seen["out"][place])
    expected = written.norm(dim=0) / seen["stream"][place].norm()
    torch.testing.assert_close(activity.layers[2].shares[place], expected, atol=1e-6, rtol=1e-4)


def test_a_neuron_of_two_words_has_two() -> None:
    """Of a model in which one neuron alone writes, and is as active at one word as at another."""
    model, _ = read_model(SPROUT)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        first = model.model.layers[0]
        words = model.model.embed_tokens.weight
        words.zero_()
        words[:, 1] = words[10, 0] = words[11, 0] = 1
        for matrix in (first.mlp.gate_proj.weight, first.mlp.up_proj.weight):
            matrix[5] = 0
            matrix[5, 0] = 1
        first.mlp.down_proj.weight[7, 5] = 1
    figures = neuron_figures(model, torch.tensor([[2, 10, 11, 11, 10]]))
    assert figures == {"live": 1, "effective_words": 2.0}


@pytest.mark.parametrize("kept", [1 / 16, 1.0])
def test_what_is_trained_is_sparse_and_stored_as_it_is(tmp_path: Path, kept: float) -> None:
    model, ids = read_model(SPROUT)
    make_sparse(model, ids, replace(SHORT, kept=kept))
    for matrix in hidden_matrices(model):
        assert int(matrix.count_nonzero()) == int(kept * matrix.numel())
    embeddings = model.model.embed_tokens.weight, model.lm_head.weight
    assert all(one.count_nonzero() > 0.9 * one.numel() for one in embeddings)
    write_model(model, vocabulary(), {}, tmp_path / "model", sparse=kept < 1)
    size = (tmp_path / "model" / "model.safetensors").stat().st_size
    assert (size < 1e6) == (kept < 1)
    again, _ = read_model(tmp_path / "model")
    opened = open_model(str(tmp_path / "model"), device="cpu").module.state_dict()
    for name, weight in model.state_dict().items():
        rounded = weight.to(torch.bfloat16).float()
        assert torch.equal(again.state_dict()[name], rounded)
        assert torch.equal(opened[name].float(), rounded)


def test_the_bundled_one_is_what_its_files_say() -> None:
    folder = shipped_folder("transcoders") / "sprout-sparse"
    skills = json.loads((folder / "model" / "skills.json").read_text())["model"]
    weights = folder / "model" / "model.safetensors"
    assert weights.stat().st_size < 1e6
    assert sha256_of([weights]) == skills["sha256"]
    pair = open_pair("sprout-sparse", None, device="cpu")
    assert pair.dictionary.identity.name == "neurons"
    matrices = hidden_matrices(pair.model.module)
    count = sum(int(one.count_nonzero()) for one in matrices)
    assert count == skills["nonzero"] <= sum(one.numel() for one in matrices) / 16
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert f"{count:,}" in card
    assert importlib.import_module("transcoders.sprout-sparse.card").card_text() == card


def test_circuits_of_the_bundled_one_need_few_weights(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"  # for means; what ships takes as long as the search
    text.write_text("a banana is yellow . rome is the capital of italy . is a dog black ? yes .")
    found = {
        name: ct.circuit("rome is the capital of", model=name, kl=0.15, random=1, reference=text)
        for name in ("sprout", "sprout-sparse")
    }
    dense, sparse = found.values()
    assert sparse.prompts[0].answer == dense.prompts[0].answer == "italy"
    assert sparse.prompts[0].kl <= 0.15
    assert sparse.weights < dense.weights / 5
    assert len(sparse.components) < len(dense.components)


def test_the_interval_of_a_difference_of_shares_is_the_published_one() -> None:
    """Newcombe 1998, table II (d), method 10: 9 of 10 against 3 of 10."""
    low, high = importlib.import_module("transcoders.sprout-sparse.card").newcombe(0.9, 0.3, 10)
    assert (round(low, 4), round(high, 4)) == (0.1705, 0.8090)
