"""Write safetensors a piece at a time, so that decoders on disk never have to fit in memory."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from circuit_tracer.transcoders.decoders import DecoderFile

_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
}


class Flat:
    """A decoder on disk (F, 1, d) as it is written where one layer is written to: (F, d)."""

    def __init__(self, decoder: DecoderFile) -> None:
        self.decoder = decoder


Writable = Tensor | DecoderFile | Flat


def write_safetensors(path: Path, tensors: Mapping[str, Writable]) -> None:
    """One file with these tensors, each in the dtype it has."""
    names = sorted(tensors, key=lambda name: (-_dtype(tensors[name]).itemsize, name))  # aligned
    header, place = {}, 0
    for name in names:
        size = math.prod(_shape(tensors[name])) * _dtype(tensors[name]).itemsize
        header[name] = {
            "dtype": _NAMES[_dtype(tensors[name])],
            "shape": list(_shape(tensors[name])),
            "data_offsets": [place, place + size],
        }
        place += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        for name in names:
            for part in _parts(tensors[name]):
                flat = part.detach().cpu().contiguous().reshape(-1)
                flat.view(torch.uint8).numpy().tofile(stream)


def _parts(value: Writable) -> Iterable[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return (value.decoder if isinstance(value, Flat) else value).chunks()


def _shape(value: Writable) -> tuple[int, ...]:
    if isinstance(value, Flat):
        features, _, d = value.decoder.shape
        return features, d
    return tuple(value.shape)


def _dtype(value: Writable) -> torch.dtype:
    if isinstance(value, Tensor):
        return value.dtype
    decoder = value.decoder if isinstance(value, Flat) else value
    return decoder.dtype or decoder.stored_dtype
