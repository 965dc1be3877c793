"""Sparse matrices as compressed-tensors stores them: expanded on loading, refused where broken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from circuit_tracer.errors import ModelError
from circuit_tracer.models.bitmask import SETTINGS, packed
from tests.models.test_folders import (
    DOWN,
    WEIGHTS,
    Tensors,
    adapt,
    configure,
    factors,
    logits,
    opened,
    rewrite,
    saved,
)

ONE = f"{DOWN}.weight"


def thinned(weight: Tensor) -> Tensor:
    """A quarter of the entries, and one row without any."""
    generator = torch.Generator().manual_seed(len(weight))
    thin = weight * (torch.rand(weight.shape, generator=generator) < 0.25)
    thin[1] = 0
    return thin


def packed_folder(folder: Path) -> tuple[Path, Tensors]:
    """A tiny model whose projections are stored sparsely, and the weights that means."""
    saved(folder)
    meant = load_file(folder / WEIGHTS)

    def change(tensors: Tensors) -> None:
        for name in [name for name in tensors if "_proj.weight" in name]:
            meant[name] = thinned(tensors.pop(name))
            tensors |= packed(name, meant[name])

    rewrite(folder, change)
    configure(folder, quantization_config=SETTINGS)
    return folder, meant


def test_a_matrix_is_packed_as_the_layout_says() -> None:
    matrix = torch.tensor([[0.0, 0, 3, 0, 0, 0, 0, 0, 4], [0] * 9, [1.0, 0, 2, 0, 0, 0, 0, 0, 0]])
    found = {name: tensor.tolist() for name, tensor in packed("w", matrix).items()}
    assert found == {
        "w.compressed": [3, 4, 1, 2],
        "w.bitmask": [[0b100, 1], [0, 0], [0b101, 0]],
        "w.row_offsets": [0, 2, 2],
        "w.shape": [3, 9],
    }


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_sparse_weights_are_expanded_to_exactly_what_was_stored(tmp_path: Path, dtype: str) -> None:
    folder, meant = packed_folder(tmp_path / "packed")
    model = opened(folder, dtype=dtype)
    found = model.module.state_dict()
    for name, weight in meant.items():
        assert torch.equal(found[name].cpu(), weight.to(getattr(torch, dtype)).float()), name
    zeros = sum(int((weight == 0).sum()) for weight in meant.values())
    assert sum(int((found[name] == 0).sum()) for name in meant) == zeros > 1000
    assert model.notes == ()


def test_packed_or_not_it_is_the_same_model(tmp_path: Path) -> None:
    folder, meant = packed_folder(tmp_path / "packed")
    dense = saved(tmp_path / "dense")
    rewrite(dense, lambda tensors: tensors.update(meant))
    assert torch.equal(logits(opened(folder)), logits(opened(dense)))


def test_an_adapter_beside_sparse_weights_is_merged(tmp_path: Path) -> None:
    folder, meant = packed_folder(tmp_path)
    lora = factors(DOWN, 16, 32)
    adapt(folder, lora, target_modules=["down_proj"])
    merged = opened(folder).module.state_dict()[ONE].cpu()
    change = lora[f"{DOWN}.lora_B.weight"] @ lora[f"{DOWN}.lora_A.weight"] * 6 / 2
    torch.testing.assert_close(merged, meant[ONE] + change)


def edited(part: str, change: Callable[[Tensor], Tensor]) -> Callable[[Tensors], Any]:
    return lambda tensors: tensors.update({f"{ONE}.{part}": change(tensors[f"{ONE}.{part}"])})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda tensors: tensors.pop(f"{ONE}.bitmask"), "its bitmask is missing"),
        (lambda tensors: tensors.pop(f"{ONE}.compressed"), "has no values"),
        (edited("compressed", lambda one: one[:-1]), "more or fewer entries"),
        (edited("compressed", lambda one: one.int()), "no matrix of numbers"),
        (edited("bitmask", lambda one: one[:, :-1]), "is not that of"),
        (edited("bitmask", lambda one: one.flip(0)), "row_offsets are not those"),
        (edited("shape", lambda one: torch.tensor([2**40, 2**40])), "is not that of"),
        (edited("shape", lambda one: one.flip(0)), "is not that of"),
        (edited("shape", lambda one: one[:1]), "no matrix of numbers"),
        (edited("row_offsets", lambda one: one + 1), "row_offsets are not those"),
        (lambda tensors: tensors.update({ONE: torch.zeros(16, 32)}), "stored twice"),
    ],
)
def test_broken_parts_end_in_one_sentence(
    tmp_path: Path, change: Callable[[Tensors], Any], says: str
) -> None:
    folder, _ = packed_folder(tmp_path)
    rewrite(folder, change)
    with pytest.raises(ModelError, match=says) as caught:
        opened(folder)
    assert "get the model's files again" in str(caught.value)


def test_a_config_and_weights_that_disagree_are_refused(tmp_path: Path) -> None:
    folder, _ = packed_folder(tmp_path / "packed")
    configure(folder, quantization_config=...)
    with pytest.raises(ModelError, match="is stored in"):
        opened(folder)
    dense = saved(tmp_path / "dense")
    configure(dense, quantization_config=SETTINGS)
    with pytest.raises(ModelError, match="no matrix there is stored so"):
        opened(dense)


@pytest.mark.parametrize("more", [{"config_groups": {"group_0": {}}}, {"format": "pack-quantized"}])
def test_sparse_and_quantised_is_refused(tmp_path: Path, more: dict[str, Any]) -> None:
    folder, _ = packed_folder(tmp_path)
    configure(folder, quantization_config={**SETTINGS, **more})
    with pytest.raises(ModelError, match="quantised with compressed-tensors"):
        opened(folder)
