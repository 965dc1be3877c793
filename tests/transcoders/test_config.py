"""Settings that cannot be, and the sentence each gets."""

from __future__ import annotations

from typing import Any

import pytest

from circuit_tracer.errors import UsageError
from circuit_tracer.transcoders.training import TrainingConfig
from circuit_tracer.transcoders.training.schedule import (
    SparsityController,
    learning_rate_factor,
    rise,
)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"k": 8, "activation": "jumprelu"}, ["`k`", "`activation` jumprelu"]),
        ({"target_l0": 8.0}, ["`target_l0`", "`activation` topk"]),
        ({"sparsity": "tanh"}, ["sparsity", "`activation` topk"]),
        ({"sparsity_weight": 1.0}, ["sparsity_weight", "`activation` topk"]),
        (
            {"activation": "jumprelu", "target_l0": 8.0, "sparsity_weight": 1.0},
            ["`target_l0`", "sparsity_weight"],
        ),
        ({"k": 32, "n_features": 16}, ["`k` (32)", "`n_features` (16)"]),
        ({"warm_up": 0.5, "decay_from": 0.4}, ["warm_up (0.5)", "decay_from (0.4)"]),
        ({"buffer_tokens": 10}, ["buffer_tokens (10)", "`batch_size` (1024)"]),
        ({"batch_size": 0}, ["`batch_size` is 0", "at least 1"]),
        ({"learning_rate": float("nan")}, ["`learning_rate` is nan", "above 0"]),
        ({"held_out_share": 2.0}, ["held_out_share is 2.0", "share"]),
        ({"held_out_share": 0.7}, ["held_out_share is 0.7", "every other document"]),
        ({"aux_weight": -1.0}, ["aux_weight", "at least 0"]),
    ],
)
def test_bad_settings_are_named(settings: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        TrainingConfig(**settings)
    for word in words:
        assert word in str(caught.value)


def test_settings_survive_json_and_unknown_ones_are_named() -> None:
    config = TrainingConfig(kind="clt", activation="jumprelu", target_l0=12.0)
    assert TrainingConfig.from_json(config.as_json()) == config
    with pytest.raises(UsageError, match="learning_rat"):
        TrainingConfig.from_json({"learning_rat": 1.0})


def test_the_learning_rate_rises_stays_and_falls() -> None:
    def factor(done: float) -> float:
        return learning_rate_factor(done, warm_up=0.1, decay_from=0.4)

    assert [factor(x) for x in (0.05, 0.1, 0.4, 0.7)] == pytest.approx([0.5, 1, 1, 0.5])
    assert 0 < factor(0.0) < 0.01
    assert factor(1.0) == 0
    assert rise(0.05, until=0.1) == 0.5
    assert rise(0.5, until=0.0) == 1


def test_the_controller_leads_l0_to_its_target() -> None:
    controller = SparsityController([1e-3], 16.0, until=0.3)
    l0 = 200.0
    for step in range(400):
        # a plant whose L0 falls where the penalty is above, and rises where it is below, 0.01
        l0 *= 0.98 if controller.weights(step / 400)[0] > 0.01 else 1.01
        controller.update([l0], step / 400)
    assert 12 < l0 < 21
