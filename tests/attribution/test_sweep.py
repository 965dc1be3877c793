"""The sweep against autograd on the frozen Hugging Face model, and its own invariances.

What differs between architectures is in `test_families.py`.
"""

from __future__ import annotations

import pytest
import torch

from circuit_tracer.attribution import sources, sweep
from circuit_tracer.attribution.sweep import Sweep
from circuit_tracer.models import frozen as attention
from circuit_tracer.transcoders.neurons import open_neurons
from tests.attribution.frozen import (
    dense_rows,
    every_logit,
    every_target,
    feature_targets,
    frozen,
    off,
)
from tests.device import DEVICE
from tests.rounding import rounding

PLT_AND_CLT_WITH_AND_WITHOUT_SKIP = [(k, s) for k in ("plt", "clt") for s in (False, True)]
DTYPES = [(dtype, rounding(dtype)) for dtype in (torch.float32, torch.float64)]


@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES, ids=["float32", "float64"])
@pytest.mark.parametrize(("kind", "skip"), PLT_AND_CLT_WITH_AND_WITHOUT_SKIP)
def test_rows_equal_autograd(kind: str, skip: bool, dtype: torch.dtype, tolerance: float) -> None:
    both = frozen(kind=kind, skip=skip, dtype=dtype)
    targets = every_target(both.model, both.replacement)
    oracle = both.network.rows(targets, torch.arange(len(targets)))
    assert oracle.abs().max() > 0.1
    assert off(dense_rows(both.replacement, targets), oracle) < tolerance


@pytest.mark.parametrize("n_kv_heads", [1, 2, 4])
@pytest.mark.parametrize("reads", ["mlp.hook_in", "ln2.hook_normalized", "hook_resid_mid"])
def test_rows_equal_autograd_for_every_head_grouping_and_reading_point(
    n_kv_heads: int, reads: str
) -> None:
    both = frozen(
        model_options={"n_kv_heads": n_kv_heads, "attention_bias": True},
        reads=reads,
        skip=True,
        kind="clt",
        n_zeroed=2,
    )
    targets = every_target(both.model, both.replacement)
    oracle = both.network.rows(targets, torch.arange(len(targets)))
    assert off(dense_rows(both.replacement, targets, 50), oracle) < 1e-11


def test_vectors_of_targets_are_the_gradients_of_what_they_stand_for() -> None:
    """Rows of vectors and of logits and pre-activations themselves, both from the oracle."""
    both = frozen(kind="clt", skip=True, model_options={"attention_bias": True})
    targets = every_target(both.model, both.replacement)
    by_vector = both.network.rows(targets, torch.arange(len(targets)))
    at, token = every_logit(both.model, both.replacement.n_tokens)
    features = torch.arange(len(both.network.features))
    own = torch.cat([both.network.logit_rows(at, token), both.network.feature_rows(features)])
    assert off(by_vector, own) < 1e-11


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "gpt_neox"])
@pytest.mark.parametrize("kind", ["plt", "clt"])
def test_rows_are_the_same_with_and_without_the_embeddings_image(
    family: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = frozen(family, kind=kind, skip=True)
    targets = every_target(both.model, both.replacement)
    expected = dense_rows(both.replacement, targets)
    monkeypatch.setattr(sweep, "LARGEST_IMAGE", 0)
    walk = Sweep(both.replacement)
    assert walk._image is None
    assert off(dense_rows(both.replacement, targets, walk=walk), expected) < 1e-12


@pytest.mark.parametrize("batch", [1, 7, 1000])
@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt_neox"])
def test_rows_do_not_depend_on_the_batch_size(family: str, batch: int) -> None:
    both = frozen(family, kind="clt", skip=True)
    targets = every_target(both.model, both.replacement)
    expected = dense_rows(both.replacement, targets)
    assert off(dense_rows(both.replacement, targets, batch), expected) < 1e-12


@pytest.mark.parametrize("block", [1, 2, 3])
@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_rows_are_the_same_whatever_queries_are_mixed_at_a_time(
    family: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = frozen(family, kind="clt", skip=True)
    targets = every_target(both.model, both.replacement)
    expected = dense_rows(both.replacement, targets)
    monkeypatch.setattr(attention, "QUERY_BLOCK", block)
    assert off(dense_rows(both.replacement, targets), expected) < 1e-12


def test_rows_of_neurons_are_the_same_in_small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    both = frozen("gemma2", dictionary=open_neurons)
    chosen = torch.arange(0, len(both.network.features), 9)
    targets = feature_targets(both.replacement, chosen)
    expected = dense_rows(both.replacement, targets)
    monkeypatch.setattr(sources, "LARGEST_PIECE", 1)
    assert off(dense_rows(both.replacement, targets), expected) < 1e-12


def test_rows_of_a_few_targets_in_any_order_are_those_of_all() -> None:
    both = frozen("gemma2", kind="clt", skip=True)
    targets = every_target(both.model, both.replacement)
    some = torch.randperm(len(targets), generator=torch.Generator().manual_seed(0))[:40]
    expected = dense_rows(both.replacement, targets)[some]
    assert off(dense_rows(both.replacement, targets.take(some.to(DEVICE)), 9), expected) < 1e-12


def test_frozen_network_oracle_reproduces_the_model() -> None:
    both = frozen(kind="clt", skip=True)
    assert off(both.network.forward(), both.capture.logits) < 1e-12
    activations = both.replacement.features.at(
        torch.arange(len(both.replacement.features), device=DEVICE)
    )
    assert off(both.network.pre_activations(), activations.activation) < 1e-12
