"""Quicker ways to train: what they compute, where they may not be taken, and what they cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from circuit_tracer.models import Model
from circuit_tracer.models.capture import MlpActivity
from circuit_tracer.models.devices import side_by_side
from circuit_tracer.transcoders.rows import RowReader
from circuit_tracer.transcoders.training import TrainingConfig, train_in_memory
from circuit_tracer.transcoders.training import precision as training_precision
from circuit_tracer.transcoders.training.losses import batch_loss
from circuit_tracer.transcoders.training.sparse import encode_topk, largest
from circuit_tracer.transcoders.training.stream import ActivityBuffer
from circuit_tracer.transcoders.training.trainer import Trainer
from circuit_tracer.transcoders.training.weights import initial_weights
from tests.rounding import rounding
from tests.tiny import FAMILIES, tiny_llama, tiny_model
from tests.transcoders.fakes import small_config, text_file


def filled(model: Model, folder: Path, precision: Any) -> ActivityBuffer:
    reader = RowReader(text_file(folder), model.tokenizer, bos_id=model.bos_id, row_length=16)
    config = small_config(precision=precision, buffer_tokens=256)
    buffer = ActivityBuffer(model, reader, config)
    buffer.fill()
    return buffer


@pytest.mark.parametrize("family", FAMILIES)
def test_a_quick_pass_reads_and_writes_what_the_model_does(family: str, tmp_path: Path) -> None:
    model = tiny_model(family)
    plain = filled(model, tmp_path, "float32").content()
    quick = filled(model, tmp_path, "fused")
    for found, wanted in zip(quick.content(), plain, strict=True):
        near = 100 * rounding(torch.float32) * float(wanted.abs().max())
        torch.testing.assert_close(found, wanted, rtol=0, atol=near)
    assert model.module.config._attn_implementation == "eager"


def test_a_pass_in_bfloat16_is_near(tmp_path: Path) -> None:
    model = tiny_llama()
    plain = filled(model, tmp_path, "float32").content().outputs
    quick = filled(model, tmp_path, "bfloat16").content().outputs
    assert quick.dtype == torch.float32
    error = float((quick - plain).norm() / plain.norm())
    assert 1e-5 < error < 0.05


def test_what_fused_attention_leaves_out_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_llama()
    own = model.mlp_activity

    def other_when_fused(*arguments: Any, **more: Any) -> MlpActivity:
        found = own(*arguments, **more)
        if model.module.config._attn_implementation == "eager":
            return found
        return MlpActivity(found.inputs, found.outputs * 1.1)

    monkeypatch.setattr(Model, "mlp_activity", lambda _, *a, **m: other_when_fused(*a, **m))
    assert not filled(model, tmp_path, "fused").is_quick


def test_the_largest_are_those_of_a_sort_and_of_equal_ones_there_are_k() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(50, 40, generator=generator)
    ties = torch.randint(0, 4, (50, 40), generator=generator).float()
    for given in (values, ties):
        for k in (1, 7, 40):
            found, places = largest(given, k)
            assert torch.equal(given.gather(1, places), found)
            assert all(len(set(row.tolist())) == k for row in places)
            wanted = given.sort(dim=1, descending=True).values[:, :k]
            assert torch.equal(found.sort(dim=1, descending=True).values, wanted)


def test_every_precision_encodes_nearly_the_same() -> None:
    generator = torch.Generator().manual_seed(0)
    x, W, b = (torch.randn(*s, generator=generator) for s in ((64, 12), (40, 12), (40,)))
    dense = []
    for precision in ("float32", "fused", "bfloat16"):
        found = encode_topk(x, W, b, 8, precision)
        dense.append(torch.zeros(64, 40).scatter(1, found.indices, found.values))
    torch.testing.assert_close(dense[1], dense[0])
    assert float((dense[2] - dense[0]).norm() / dense[0].norm()) < 0.05


@pytest.mark.parametrize("settings", [{}, {"skip": True}, {"activation": "jumprelu"}])
def test_layers_that_learn_alone_get_the_gradients_of_all_together(
    settings: dict[str, Any],
) -> None:
    config = small_config(**settings)
    values = torch.randn(2, 3, 256, 8, generator=torch.Generator().manual_seed(0))
    activity = MlpActivity(*values)
    trainer = Trainer.start(config, activity)
    whole = batch_loss(
        trainer.weights,
        trainer.units.normalise(activity),
        config,
        dead=[silent >= config.dead_steps for silent in trainer.silent],
        penalties=trainer.controller.weights(0.0),
    ).loss
    weights = [tensor for own in trainer.weights for tensor in own.named().values()]
    wanted = torch.autograd.grad(whole, weights)
    figures = trainer.step(activity, 1024)
    assert figures.loss == pytest.approx(float(whole.detach()))
    states = [one.state for one in trainer.optimisers]
    for tensor, gradient in zip(weights, wanted, strict=True):
        moment = next(state[tensor]["exp_avg"] for state in states if tensor in state)
        torch.testing.assert_close(moment / 0.1, gradient, rtol=1e-4, atol=1e-6)
        assert tensor.grad is None  # no layer's outlives its own step


@pytest.mark.parametrize("aux_k", [4, 9, 16, 100])  # of 16 dead: too few, some, all, more
def test_dead_features_learn_the_same_by_dense_and_by_sparse_products(aux_k: int) -> None:
    values = torch.randn(2, 1, 64, 8, generator=torch.Generator().manual_seed(0))
    dead, found = [torch.arange(48, device="cpu") % 3 == 0], []
    for precision in ("float32", "fused"):
        config = small_config(precision=precision, aux_k=aux_k, aux_weight=1.0)
        weights = initial_weights(MlpActivity(*values), config)
        batch = MlpActivity(*values)
        loss = batch_loss(weights, batch, config, dead=dead, penalties=[0.0]).loss
        own = weights[0]
        found.append([loss, *torch.autograd.grad(loss, [own.W_enc, own.b_enc, own.W_dec])])
    for sparse, dense in zip(*found, strict=True):
        torch.testing.assert_close(dense, sparse, rtol=1e-4, atol=1e-6)


def test_threads_change_nothing_of_a_step() -> None:
    values = torch.randn(2, 5, 256, 8, generator=torch.Generator().manual_seed(0))
    places = torch.arange(0, 256, 2)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            trainer = Trainer.start(small_config(), MlpActivity(*values))
            for _ in range(3):
                trainer.step(MlpActivity(*values), 1024, None, places)
            assert torch.get_num_threads() == threads
            found.append(trainer.tensors())
    finally:
        torch.set_num_threads(before)
    assert trainer.tokens == 3 * 128
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_what_goes_wrong_beside_others_is_raised() -> None:
    def work(number: int) -> int:
        if number == 2:
            raise ValueError("two")
        return number

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert list(side_by_side(work, [3, 0, 1], torch.device("cpu"))) == [3, 0, 1]
        with pytest.raises(ValueError, match="two"):
            list(side_by_side(work, [0, 2, 1], torch.device("cpu")))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("has", "chosen"), [(True, "bfloat16"), (False, "fused")])
def test_auto_asks_the_device_and_the_dictionary_says_what_was_taken(
    has: bool, chosen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_precision, "multiplies_bfloat16", lambda _: has)
    config = small_config(precision="auto", max_tokens=1500)
    made = train_in_memory(tiny_llama(), text_file(tmp_path), config)
    assert made.config["training"]["precision"] == chosen


def test_settings_of_earlier_versions_are_float32() -> None:
    assert TrainingConfig.from_json({}).precision == "float32"
    assert TrainingConfig().precision == "auto"
