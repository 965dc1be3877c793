"""Decoders that stay on disk: the rows of active features are read, never the whole matrix.

A cross-layer dictionary has F x (L - l) x d numbers a layer; a prompt needs the rows of the few
hundred features it activates. `DecoderFile` stands where a decoder tensor would and answers with
the same rows, bit for bit.

Shapes: F features of a layer, W layers written to, d model width, n rows asked for.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit_tracer.errors import DictionaryError, reason

ROWS_AT_ONCE = 4096
"""Rows in memory at a time when a whole decoder has to be gone through."""


@dataclass(frozen=True)
class DecoderFile:
    """A decoder (F, W, d) that lies in a file, row by row."""

    path: Path
    offset: int
    """Where its bytes begin."""
    stored_shape: tuple[int, int, int]
    """Features, layers in the file, d."""
    stored_dtype: torch.dtype
    first: int = 0
    """Layers in the file that come before the reading layer (and are not written to)."""
    device: torch.device | str = "cpu"
    dtype: torch.dtype | None = None
    """What rows are turned into; as stored for None."""
    written_at: int | None = None
    """When the file was last written, in nanoseconds: another one in its place is refused. Not
    looked at for None."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """F, W and d, as of the tensor it stands for."""
        features, layers, d = self.stored_shape
        return features, layers - self.first, d

    def to(self, *, device: torch.device | str, dtype: torch.dtype | None) -> DecoderFile:
        """The same file, whose rows come out on another device and in another dtype."""
        return replace(self, device=device, dtype=dtype)

    def rows(self, index: Int[Tensor, "n"], written: int) -> Float[Tensor, "n d"]:
        """Rows `index` into the `written`-th layer from the reading layer on.

        Raises DictionaryError where the file has changed or holds NaN.
        """
        order, back = torch.unique(index.cpu(), return_inverse=True)  # one pass through the file
        picked = self._map()[order.numpy(), self.first + written]
        return self._finished(picked)[back.to(self.device)]

    def chunks(self) -> Iterator[Float[Tensor, "n W d"]]:
        """All rows in order, some thousands at a time."""
        file = self._map()
        for start in range(0, self.stored_shape[0], ROWS_AT_ONCE):
            part = file[start : start + ROWS_AT_ONCE, self.first :]
            yield self._finished(np.array(part))

    def whole(self) -> Float[Tensor, "F W d"]:
        """The whole decoder in memory."""
        return torch.cat(list(self.chunks()))

    def _map(self) -> np.memmap:
        """The file as an array of bit patterns (numpy has no bfloat16)."""
        itemsize = self.stored_dtype.itemsize
        size = self.offset + math.prod(self.stored_shape) * itemsize
        try:
            found = os.stat(self.path)
            if found.st_size < size:
                raise OSError("it is shorter than it was")
            if self.written_at not in (None, found.st_mtime_ns):
                raise OSError("it was written again")
            return np.memmap(
                self.path, f"i{itemsize}", mode="r", offset=self.offset, shape=self.stored_shape
            )
        except (OSError, ValueError) as error:
            raise DictionaryError(
                f"the decoder in {self.path.parent.name}/{self.path.name} changed while it was "
                f"in use ({reason(error)}); open the dictionary again"
            ) from error

    def _finished(self, bits: np.ndarray) -> Tensor:
        rows = torch.from_numpy(bits).view(self.stored_dtype)
        if not bool(torch.isfinite(rows).all()):
            raise DictionaryError(
                f"the decoder in {self.path.parent.name}/{self.path.name} holds NaN or infinite "
                "numbers; get the files again"
            )
        return rows.to(device=self.device, dtype=self.dtype or self.stored_dtype)


def memory_budget(device: torch.device | str) -> int:
    """Bytes that decoders may take on a device: half of what is free there now."""
    if torch.device(device).type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return free // 2
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        available = next(line for line in lines if line.startswith("MemAvailable:"))
        return int(available.split()[1]) * 1024 // 2
    except (OSError, StopIteration, ValueError, IndexError):  # not every system tells
        return 8 << 30
