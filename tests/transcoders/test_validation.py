"""A dictionary that is read wrongly is distinguished from one that is bad."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.graph import Identity
from circuit_tracer.models.capture import MlpActivity
from circuit_tracer.transcoders.dictionary import Dictionary, LayerTranscoder
from circuit_tracer.transcoders.validation import validate
from tests.tiny import random_dictionary, tiny_llama, tiny_tokenizer

L, D = 2, 8
TEXT = ("the banana is yellow and the sky is blue", "a lemon is yellow", "no banana is red or blue")


class PointModel:
    """A model whose MLPs are linear, with another tensor at every reading and writing point."""

    n_layers, d_model, max_length, steady_length, bos_id = L, D, 64, 64, 0
    device, torch_dtype = torch.device("cpu"), torch.float32
    identity = Identity("points", "memory", "", "fake")
    wiring = SimpleNamespace(paths=SimpleNamespace(mlp_post_norm="norm"))

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.tokenizer: Any = tiny_tokenizer()
        self.stream = torch.randn(L, len(self.tokenizer), D, generator=generator) + 0.5
        self.map = torch.randn(L, D, D, generator=generator)

    def mlp_activity(
        self, token_ids: Tensor, reads: str = "mlp.hook_in", writes: str = "mlp.hook_out"
    ) -> MlpActivity:
        stream = self.stream[:, token_ids]
        normal = stream / stream.pow(2).mean(-1, keepdim=True).sqrt()
        weighted = normal * torch.linspace(0.2, 3, D)
        outputs = torch.einsum("lbtd,lod->lbto", weighted, self.map)
        points = {"hook_resid_mid": stream, "ln2.hook_normalized": normal, "mlp.hook_in": weighted}
        mixed = outputs.flip(-1)
        return MlpActivity(points[reads], outputs if writes == "mlp.hook_out" else mixed)


def exact(model: PointModel, **changes: Any) -> Dictionary:
    """The MLPs themselves, as a skip."""
    layers = tuple(
        LayerTranscoder(
            layer=layer,
            W_enc=torch.zeros(3, D),
            b_enc=torch.tensor([1.0, -1.0, -1.0]),
            W_dec=torch.zeros(3, 1, D),
            b_dec=torch.zeros(D),
            activation="relu",
            W_skip=model.map[layer],
        )
        for layer in range(L)
    )
    identity = Identity("exact", "memory", "", "plt")
    made = Dictionary(kind="plt", layers=layers, reads="mlp.hook_in", identity=identity)
    return replace(made, **changes)


def test_what_is_right_gets_figures_and_no_warning() -> None:
    found = validate(PointModel(), exact(PointModel()), TEXT)
    assert found.warnings == []
    assert [layer.fvu for layer in found.layers] == pytest.approx([0, 0], abs=1e-6)
    assert [layer.l0 for layer in found.layers] == [1, 1]
    assert found.tokens == 17  # "and", "or" are unknown, BOS is left out
    assert found.as_json()["layers"][0]["better"] is None


@pytest.mark.parametrize("wrong", ["hook_resid_mid", "ln2.hook_normalized"])
def test_a_wrong_reading_point_is_named(wrong: str) -> None:
    found = validate(PointModel(), exact(PointModel(), reads=wrong), TEXT)
    assert len(found.warnings) == L
    assert "layer 0 reads better reading at mlp.hook_in (FVU 0.000 instead of" in found.warnings[0]
    assert "the reading point looks wrong" in found.warnings[0]


def test_a_wrong_writing_point_and_a_transposed_skip_are_named() -> None:
    model = PointModel()
    found = validate(model, exact(model, writes="hook_mlp_out"), TEXT)
    assert "writing at mlp.hook_out" in found.warnings[0]
    assert "the writing point looks wrong" in found.warnings[0]
    made = exact(model)
    turned = tuple(replace(t, W_skip=t.W_skip.T) for t in made.layers if t.W_skip is not None)
    found = validate(model, replace(made, layers=turned), TEXT)
    assert "with its skip transposed" in found.warnings[1]
    assert "the orientation of the skip looks wrong" in found.warnings[1]


def test_a_lost_factor_and_another_models_dictionary_are_recognised() -> None:
    model = PointModel()
    made = exact(model)
    inflated = tuple(replace(t, W_skip=t.W_skip * 19) for t in made.layers if t.W_skip is not None)
    warning = validate(model, replace(made, layers=inflated), TEXT).warnings[0]
    assert "would fit best multiplied by 0.0526 (FVU 0.000 instead of" in warning
    other = random_dictionary(tiny_llama())
    larger = replace(other, layers=tuple(replace(t, W_dec=t.W_dec * 9) for t in other.layers))
    for dictionary in (other, larger):
        warnings = validate(tiny_llama(), dictionary, TEXT).warnings
        assert warnings
        assert all("explains less than the mean does" in one for one in warnings), warnings


def test_a_text_without_known_words_is_refused() -> None:
    with pytest.raises(UsageError, match="no tokens of this model"):
        validate(PointModel(), exact(PointModel()), ("completely unknown words",))
