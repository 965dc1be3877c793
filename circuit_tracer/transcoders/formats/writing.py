"""Write safetensors a piece at a time, so that decoders on disk never have to fit in memory."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from circuit_tracer.transcoders.decoders import DecoderFile
from circuit_tracer.transcoders.formats.tensors import TORCH_DTYPES

_NAMES = {dtype: name for name, dtype in TORCH_DTYPES.items()}

Writable = Tensor | DecoderFile


def write_safetensors(
    path: Path, tensors: Mapping[str, Writable], *, shapes: Mapping[str, tuple[int, ...]] = {}
) -> None:
    """One file with these tensors, each in the dtype it has, reshaped to `shapes` where given."""
    names = sorted(tensors, key=lambda name: (-_dtype(tensors[name]).itemsize, name))  # aligned
    header, place = {}, 0
    for name in names:
        shape = shapes.get(name, tuple(tensors[name].shape))
        size = math.prod(shape) * _dtype(tensors[name]).itemsize
        header[name] = {
            "dtype": _NAMES[_dtype(tensors[name])],
            "shape": list(shape),
            "data_offsets": [place, place + size],
        }
        place += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        for name in names:
            value = tensors[name]
            for part in [value] if isinstance(value, Tensor) else value.chunks():
                flat = part.detach().cpu().contiguous().reshape(-1)
                flat.view(torch.uint8).numpy().tofile(stream)


def _dtype(value: Writable) -> torch.dtype:
    return value.dtype if isinstance(value, Tensor) else value.dtype or value.stored_dtype
