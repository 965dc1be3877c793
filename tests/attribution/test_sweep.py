"""The sweep against autograd on the frozen Hugging Face model, and against real interventions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from circuit_tracer.attribution import sweep
from circuit_tracer.attribution.replacement import LocalReplacementModel, build_replacement
from circuit_tracer.attribution.sweep import Sweep, SweepTargets
from circuit_tracer.models import Model
from circuit_tracer.models.capture import Capture
from tests.oracle import FrozenNetwork
from tests.tiny import random_dictionary, tiny_llama

PROMPT = "the banana is yellow yes a lemon is blue"
PLT_AND_CLT_WITH_AND_WITHOUT_SKIP = [(k, s) for k in ("plt", "clt") for s in (False, True)]
DTYPES = [(torch.float32, 1e-5), (torch.float64, 1e-9)]


def frozen(
    *, kind: str = "plt", skip: bool = False, dtype: torch.dtype = torch.float64, **options: object
) -> tuple[Model, Capture, LocalReplacementModel]:
    model_options = {k: v for k, v in options.items() if k in ("n_kv_heads", "attention_bias")}
    reads = options.get("reads", "mlp.hook_in")
    model = tiny_llama(dtype=dtype, **model_options)  # type: ignore[arg-type]
    dictionary = random_dictionary(model, kind=kind, skip=skip, reads=reads)  # type: ignore[arg-type]
    capture = model.capture(model.tokenize(PROMPT))
    n_zeroed = int(options.get("n_zeroed", 1))  # type: ignore[call-overload]
    return model, capture, build_replacement(capture, model.wiring, dictionary, n_zeroed=n_zeroed)


def every_target(model: Model, replacement: LocalReplacementModel) -> SweepTargets:
    """All active features, and every vocabulary row at every position."""
    features, T = replacement.features, replacement.n_tokens
    all_features = torch.arange(len(features))
    vocabulary = model.unembedding
    at = torch.arange(T).repeat_interleave(len(vocabulary))
    logits = vocabulary.repeat(T, 1) * replacement.final_gain[at]
    return SweepTargets(
        level=torch.cat([torch.full_like(at, replacement.n_layers), features.layer]),
        position=torch.cat([at, features.position]),
        vector=torch.cat([logits, replacement.encoder_rows(all_features)]),
    )


def dense_rows(replacement: LocalReplacementModel, targets: SweepTargets, batch: int) -> Tensor:
    walk = Sweep(replacement)
    dense = targets.vector.new_zeros(len(targets), walk.n_columns)

    def collect(rows: object) -> None:
        for row, weights in zip(rows.target, rows.weight, strict=True):  # type: ignore[attr-defined]
            dense[row, rows.column] = weights  # type: ignore[attr-defined]

    walk.run(targets, torch.arange(len(targets)), batch_size=batch, on_rows=collect)
    return dense


@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES)
@pytest.mark.parametrize(("kind", "skip"), PLT_AND_CLT_WITH_AND_WITHOUT_SKIP)
def test_rows_equal_autograd(kind: str, skip: bool, dtype: torch.dtype, tolerance: float) -> None:
    model, capture, replacement = frozen(kind=kind, skip=skip, dtype=dtype)
    targets = every_target(model, replacement)
    ours = dense_rows(replacement, targets, 64)
    oracle = FrozenNetwork(model, capture, replacement).rows(targets, torch.arange(len(targets)))
    assert oracle.abs().max() > 0.1
    assert torch.allclose(ours, oracle, rtol=0, atol=tolerance * float(oracle.abs().max()))


@pytest.mark.parametrize("n_kv_heads", [1, 2, 4])
@pytest.mark.parametrize("reads", ["mlp.hook_in", "ln2.hook_normalized", "hook_resid_mid"])
def test_rows_equal_autograd_for_every_head_grouping_and_reading_point(
    n_kv_heads: int, reads: str
) -> None:
    model, capture, replacement = frozen(
        n_kv_heads=n_kv_heads, reads=reads, attention_bias=True, skip=True, kind="clt", n_zeroed=2
    )
    targets = every_target(model, replacement)
    oracle = FrozenNetwork(model, capture, replacement).rows(targets, torch.arange(len(targets)))
    assert torch.allclose(dense_rows(replacement, targets, 50), oracle, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", ["plt", "clt"])
def test_rows_are_the_same_with_and_without_the_embeddings_image(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _, replacement = frozen(kind=kind, skip=True, attention_bias=True)
    targets = every_target(model, replacement)
    expected = dense_rows(replacement, targets, 64)
    monkeypatch.setattr(sweep, "LARGEST_IMAGE", 0)
    assert Sweep(replacement)._image is None
    assert torch.allclose(dense_rows(replacement, targets, 64), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_rows_do_not_depend_on_the_batch_size(batch: int) -> None:
    model, _, replacement = frozen(kind="clt", skip=True)
    targets = every_target(model, replacement)
    expected = dense_rows(replacement, targets, 64)
    assert torch.allclose(dense_rows(replacement, targets, batch), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("kind", "skip"), PLT_AND_CLT_WITH_AND_WITHOUT_SKIP)
def test_doubling_a_feature_with_everything_frozen_moves_the_rest_by_its_column(
    kind: str, skip: bool
) -> None:
    model, capture, replacement = frozen(kind=kind, skip=skip, dtype=torch.float32)
    targets = every_target(model, replacement)
    dense = dense_rows(replacement, targets, 64)
    network, features = FrozenNetwork(model, capture, replacement), replacement.features
    logits = network.forward()
    before = torch.cat([logits.flatten(), network.pre_activations()])
    assert torch.allclose(logits, capture.logits, atol=1e-5)
    for row in range(0, len(features), 3):
        layer, position = int(features.layer[row]), int(features.position[row])
        transcoder = replacement.dictionary.layers[layer]
        added = {}
        for offset in range(transcoder.W_dec.shape[1]):
            extra = torch.zeros_like(capture.mlp_out[0])
            decoder = transcoder.W_dec[int(features.index[row]), offset]
            extra[position] = decoder * features.activation[row]
            added[layer + offset] = extra
        after = torch.cat([network.forward(added).flatten(), network.pre_activations()])
        column = dense[:, network.columns.feature[row]]
        assert column.abs().max() > 1e-3
        assert torch.allclose(after - before, column, rtol=0, atol=1e-4)


def test_frozen_network_oracle_reproduces_the_model() -> None:
    model, capture, replacement = frozen(kind="clt", skip=True)
    network = FrozenNetwork(model, capture, replacement)
    assert torch.allclose(network.forward(), capture.logits, atol=1e-12)
    assert torch.allclose(network.pre_activations(), replacement.features.activation, atol=1e-12)
