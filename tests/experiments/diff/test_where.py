"""Step 2 of `diff`: weights of one model in another, and what rank a change has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from circuit_tracer.experiments.diff import where
from circuit_tracer.experiments.diff.where import numerical_rank
from circuit_tracer.experiments.kit.passes import contrasts
from circuit_tracer.models import Model
from circuit_tracer.models.weight_parts import exchanged, weight_parts
from tests.experiments.diff.small import measured, shaken, small_study, tiny_pair, values
from tests.tiny import FAMILIES, tiny_model


def weights(model: Model) -> dict[str, torch.Tensor]:
    return {name: one.detach().clone() for name, one in model.module.named_parameters()}


@pytest.mark.parametrize("family", FAMILIES)
def test_parts_are_what_attribution_reads_under_their_names(family: str) -> None:
    model = tiny_model(family, n_layers=2)
    parts = weight_parts(model)
    assert sum(part.read().numel() for part in parts) == sum(
        one.numel() for one in model.module.parameters()
    )
    before = weights(model)
    blank = [type(one)(**{**vars(one), "parameter": torch.zeros_like(one.parameter)})
             for one in parts]  # fmt: skip
    attention, mlp = model.wiring.attention_weights(1), model.wiring.mlp_weights(1)
    queries = model.wiring.query_key_weights(1)
    kept = [one.clone() for one in (attention.W_V, attention.W_O, mlp.gate, mlp.down)]
    with exchanged(parts, blank, lambda part: part.kind == "QK" and part.layer == 1):
        changed = model.wiring.query_key_weights(1)
        assert not changed.W_Q.any()
        assert not changed.W_K.any()
        same = model.wiring.attention_weights(1), model.wiring.mlp_weights(1)
        read = (same[0].W_V, same[0].W_O, same[1].gate, same[1].down)
        assert all(torch.equal(one, other) for one, other in zip(read, kept, strict=True))
        assert model.wiring.query_key_weights(0).W_Q.any()
    with exchanged(parts, blank, lambda part: part.kind == "VO"):
        attention = model.wiring.attention_weights(1)
        assert not attention.W_V.any()
        assert not attention.W_O.any()
        assert torch.equal(model.wiring.query_key_weights(1).W_Q, queries.W_Q)
    with exchanged(parts, blank, lambda part: part.kind == "MLP"):
        assert not model.wiring.mlp_weights(0).down.any()
        assert model.wiring.attention_weights(0).W_V.any()
    after = weights(model)
    assert all(torch.equal(one, after[name]) for name, one in before.items())


def test_weights_come_back_when_something_fails() -> None:
    base, tuned = tiny_model("llama"), tiny_model("llama", seed=7)
    before = weights(base)

    def fail() -> None:
        with exchanged(weight_parts(base), weight_parts(tuned), lambda part: True):
            assert torch.equal(base.unembedding, tuned.unembedding)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert all(torch.equal(one, weights(base)[name]) for name, one in before.items())


def test_a_change_of_one_layers_output_projection_is_found_there(tmp_path: Path) -> None:
    base, tuned = tiny_pair()
    shaken(tuned, "layers.1.self_attn.o_proj", 2)
    weight = tuned.module.model.layers[1].self_attn.o_proj.weight
    study = small_study(tmp_path, base, tuned)
    result, rows = measured(study, where.STEP)
    names = [(one.kind, one.layers) for one in result.rows]
    assert names == [("VO", None), ("", (1, 1)), ("VO", (0, 1)), ("VO", (1, 1))]
    assert set(result.unchanged) == {"QK", "MLP", "norm", "embedding"}
    assert result.layers == (1,)
    for side, model in (("tuned", base), ("base", tuned)):
        expected = contrasts(model, study.located)
        for name in {row["name"] for row in rows}:
            found = values(rows, model=side, name=name)
            np.testing.assert_allclose(found, expected, atol=1e-9)
    assert result.rows[0].right_back.value == pytest.approx(result.base.value)
    assert result.rows[0].right_alone.value == pytest.approx(result.tuned.value)
    assert not result.low_rank
    assert result.rows[0].rank == result.rows[0].full_rank
    size = float((weight - base.module.model.layers[1].self_attn.o_proj.weight).norm())
    assert result.rows[-1].changed * float(
        sum(p.read().norm() ** 2 for p in weight_parts(base) if p.kind == "VO" and p.layer == 1)
        ** 0.5
    ) == pytest.approx(size)


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float32])
def test_a_low_rank_change_is_found_through_rounding(rank: int, stored: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(rank)
    before = (torch.randn(96, 64, generator=generator) * 0.1).to(stored).float()
    up, down = (torch.randn(n, rank, generator=generator) for n in (96, 64))
    after = (before + 0.02 * up @ down.T).to(stored).float()
    assert numerical_rank(before, after, stored) == rank
    assert numerical_rank(before, before, stored) == 0


def test_rows_of_large_weights_are_rounded_more_and_are_no_rank() -> None:
    generator = torch.Generator().manual_seed(2)
    before = torch.randn(192, 96, generator=generator) * 0.02
    before[:3] *= 100
    before[:, :2] *= 50
    up, down = (torch.randn(n, 4, generator=generator) for n in before.shape)
    after = (before.double() + 1e-3 * (up @ down.T)).float()
    assert numerical_rank(before, after, torch.float32) == 4


def test_a_change_of_full_rank_is_no_rounding() -> None:
    generator = torch.Generator().manual_seed(0)
    before = torch.randn(48, 32, generator=generator)
    after = (before + 0.1 * torch.randn(48, 32, generator=generator)).bfloat16()
    assert numerical_rank(before, after.float(), torch.bfloat16) >= 30
