"""Sparse matrices in the layout of compressed-tensors ("sparse-bitmask"): read and written.

Of a matrix X there are, instead of X itself,

    X.compressed    (entries other than zero,): their values, row by row
    X.bitmask       (rows, columns / 8, rounded up) uint8: where they are, the lowest bit first
    X.row_offsets   (rows,): where each row begins among the values
    X.shape         (2,): rows, columns

The two numbers beside values and bits say nothing that the bits do not, and have to agree with
them: so a file that was cut or joined wrongly is refused. Matrices are expanded when a model is
loaded; then nothing knows that they were packed. Layout: https://github.com/vllm-project/compressed-tensors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from circuit_tracer.errors import ModelError
from circuit_tracer.models.weight_files import StoredTensor, read_tensor

VALUES, BITS, OFFSETS, SHAPE = PARTS = (".compressed", ".bitmask", ".row_offsets", ".shape")
SETTINGS = {
    "quant_method": "compressed-tensors",
    "sparsity_config": {"format": "sparse-bitmask", "sparsity_structure": "unstructured"},
}
"""What config.json says of it, as quantization_config."""


def is_bitmask(settings: Mapping[str, Any]) -> bool:
    """Whether a config's settings are of matrices that are sparse and not quantised."""
    sparsity = settings.get("sparsity_config")
    return (
        settings.get("quant_method") == SETTINGS["quant_method"]
        and isinstance(sparsity, Mapping)
        and sparsity.get("format") == "sparse-bitmask"
        and not settings.get("config_groups")
        and settings.get("format") in (None, "dense")
    )


def packed(name: str, matrix: Float[Tensor, "rows columns"]) -> dict[str, Tensor]:
    """A matrix as the four tensors that are stored of it, by name."""
    there = matrix != 0
    counts = there.sum(-1)
    bits = np.packbits(there.numpy(force=True), axis=-1, bitorder="little")
    return {
        name + VALUES: matrix[there],
        name + BITS: torch.from_numpy(bits),
        name + OFFSETS: counts.cumsum(0) - counts,
        name + SHAPE: torch.tensor(matrix.shape, device="cpu"),
    }


@dataclass(frozen=True)
class Bitmask:
    """Which matrices of a checkpoint are stored so."""

    place: str
    """The model's name, for messages."""
    names: tuple[str, ...]

    dtype: ClassVar[None] = None
    """The weights are read in the dtype they are stored in."""
    note: ClassVar[str] = ""
    """Nothing is lost, so there is nothing to tell the user."""

    def stored(self, headers: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
        """By weight, the tensor of the file that holds its values."""
        others = {name: one for name, one in headers.items() if not name.endswith(PARTS)}
        return others | {name: headers[name + VALUES] for name in self.names}

    def weights(self, headers: Mapping[str, StoredTensor], _: torch.dtype) -> dict[str, Tensor]:
        """All weights of a checkpoint, sparse ones expanded.

        Raises ModelError for a matrix whose parts are missing or do not agree.
        """
        found = {}
        for name in self.stored(headers):
            if name in self.names:
                missing = next((part for part in PARTS if name + part not in headers), None)
                if missing:
                    raise self._refusal(name, f"its {missing[1:]} is missing")
                found[name] = self._expanded(
                    name, [read_tensor(name + part, headers[name + part]) for part in PARTS]
                )
            else:
                found[name] = read_tensor(name, headers[name])
        return found

    def _expanded(self, name: str, parts: list[Tensor]) -> Tensor:
        values, bits, offsets, shape = parts
        size = [int(n) for n in shape.flatten()]
        if len(size) != 2 or min(size) < 1 or not values.is_floating_point():
            raise self._refusal(name, "it is no matrix of numbers")
        rows, columns = size
        wide = math.ceil(columns / 8)
        if bits.dtype != torch.uint8 or tuple(bits.shape) != (rows, wide):
            raise self._refusal(name, f"its bitmask is not that of {rows} x {columns} entries")
        unpacked = torch.from_numpy(np.unpackbits(bits.numpy(), axis=-1, bitorder="little")).bool()
        there, counts = unpacked[:, :columns], unpacked.sum(-1)
        if unpacked[:, columns:].any() or values.shape != (int(counts.sum()),):
            raise self._refusal(name, "its bitmask marks more or fewer entries than there are")
        if not torch.equal(offsets, counts.cumsum(0) - counts):
            raise self._refusal(name, "its row_offsets are not those of its bitmask")
        matrix = torch.zeros(rows, columns, dtype=values.dtype, device=values.device)
        matrix[there] = values
        return matrix

    def _refusal(self, name: str, why: str) -> ModelError:
        return ModelError(
            f"{name[:80]} in {self.place} cannot be expanded: {why}; get the model's files again"
        )


def find_bitmask(headers: Mapping[str, StoredTensor], place: str) -> Bitmask:
    """The matrices that are stored so. `place` is for messages.

    Raises ModelError where there are none, or one is there in part or twice.
    """
    names = tuple(name.removesuffix(VALUES) for name in headers if name.endswith(VALUES))
    fault = "no matrix there is stored so" if not names else None
    for name in headers:
        whole, dot, part = name.rpartition(".")
        if dot + part in PARTS and whole not in names:
            fault = f"{whole[:80]} has no values"
        if name in names:
            fault = f"{name[:80]} is stored twice"
    if fault:
        raise ModelError(
            f"config.json of {place} says sparse-bitmask and {fault}; get the model's files again"
        )
    return Bitmask(place, names)
