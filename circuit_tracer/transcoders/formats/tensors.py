"""Tensors in files somebody else wrote: headers, checked before weights are read.

Nothing here can run code and nothing allocates what a header merely claims: a safetensors or npz
header is parsed, every tensor's place is compared with the file's size, and only then is a tensor
read.
"""

from __future__ import annotations

import json
import math
import struct
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from circuit_tracer.errors import DictionaryError, reason
from circuit_tracer.reading import LFS_POINTER, is_lfs_pointer
from circuit_tracer.transcoders.formats.files import GET_AGAIN, place_of

READABLE = ("F64", "F32", "F16", "BF16")
"""Tensor dtypes a weight may have, by their safetensors names."""
TORCH_DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
}
_NUMPY = {"f8": "F64", "f4": "F32", "f2": "F16", "i8": "I64", "i4": "I32", "i2": "I16", "i1": "I8"}
_BOMB_BYTES, _BOMB_RATIO = 1 << 30, 20
"""Weights hardly compress: more than this out of a packed member is an attack or a mistake."""

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Stored:
    """One tensor in a file, known by its header only."""

    path: Path
    name: str
    shape: Shape
    dtype: str
    """safetensors name (F32, BF16, ...)."""
    offset: int | None
    """Where its bytes begin in the file; None if they are packed (a compressed npz member)."""

    @property
    def place(self) -> str:
        """File and folder, for messages: never the whole path."""
        return place_of(self.path)

    @property
    def torch_dtype(self) -> torch.dtype:
        """dtype it is read as."""
        return TORCH_DTYPES[self.dtype]

    def read(self) -> Tensor:
        """The whole tensor, in the dtype it is stored in, on the CPU."""
        if self.offset is None:
            with np.load(self.path, allow_pickle=False) as archive:
                return torch.from_numpy(np.ascontiguousarray(archive[self.name]))
        size = math.prod(self.shape)
        if size == 0:
            return torch.empty(self.shape, dtype=self.torch_dtype, device="cpu")
        itemsize = self.torch_dtype.itemsize
        data = np.fromfile(self.path, np.uint8, count=size * itemsize, offset=self.offset)
        if data.size != size * itemsize:
            raise DictionaryError(f"{self.place} is cut off or damaged; {GET_AGAIN}")
        return torch.from_numpy(data).view(self.torch_dtype).reshape(self.shape)


Headers = dict[str, Stored]


# Headers


def _damaged(path: Path, why: str) -> DictionaryError:
    why = LFS_POINTER if path.is_file() and is_lfs_pointer(path) else why
    return DictionaryError(f"{place_of(path)} is cut off or damaged ({why}); {GET_AGAIN}")


def read_headers(path: Path) -> Headers:
    """Names, shapes, dtypes and places of all tensors of a .safetensors or .npz file."""
    return npz_headers(path) if path.suffix.lower() == ".npz" else safetensors_headers(path)


def safetensors_headers(path: Path) -> Headers:
    """The tensors of a safetensors file; DictionaryError unless its library finds it whole."""
    try:
        with path.open("rb") as stream, safe_open(path, framework="np"):
            (length,) = struct.unpack("<Q", stream.read(8))
            entries = json.loads(stream.read(length))
    except (OSError, SafetensorError) as error:
        raise _damaged(path, reason(error)) from error
    entries.pop("__metadata__", None)
    return {
        name: Stored(
            path, name, tuple(entry["shape"]), entry["dtype"], 8 + length + entry["data_offsets"][0]
        )
        for name, entry in entries.items()
    }


def npz_headers(path: Path) -> Headers:
    """The arrays of an npz archive; pickled objects are refused unread."""
    headers: Headers = {}
    try:
        size = path.stat().st_size
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if not member.filename.endswith(".npy"):
                    raise DictionaryError(
                        f"{place_of(path)} holds {member.filename[:80]}, which is no array; "
                        f"{GET_AGAIN}"
                    )
                stored = _npy_header(path, archive, member, size)
                headers[stored.name] = stored
    except DictionaryError:
        raise
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError) as error:
        # what zipfile and numpy say of archives cut off, encrypted or of an unknown version
        raise _damaged(path, reason(error)) from error
    return headers


def _npy_header(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, size: int) -> Stored:
    name = member.filename.removesuffix(".npy")
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read(stream)
        header = stream.tell()
    if dtype.hasobject:
        raise DictionaryError(
            f"{name[:80]} in {place_of(path)} holds pickled objects, which can run code when "
            "opened, so it is refused; save plain arrays with numpy.savez"
        )
    claimed = math.prod(shape) * dtype.itemsize
    packed = member.compress_type != zipfile.ZIP_STORED
    bomb = packed and member.file_size > max(_BOMB_BYTES, _BOMB_RATIO * member.compress_size)
    if member.compress_size > size or bomb or header + claimed != member.file_size:
        raise _damaged(path, f"{name[:80]} claims {claimed:,} bytes and the file has {size:,}")
    code = _NUMPY.get(dtype.str[1:], dtype.str) if dtype.isnative else dtype.str
    in_order = not packed and not (fortran and len(shape) > 1)
    offset = _data_offset(path, member) + header if in_order else None
    return Stored(path, name, tuple(shape), code, offset)


def _data_offset(path: Path, member: zipfile.ZipInfo) -> int:
    """Where a member's bytes begin: after its local header, which has lengths of its own."""
    with path.open("rb") as stream:
        stream.seek(member.header_offset + 26)
        name, extra = struct.unpack("<HH", stream.read(4))
    return member.header_offset + 30 + int(name) + int(extra)


# Checks


def find_tensor(headers: Headers, name: str, path: Path) -> Stored:
    """A tensor that has to be there, of a dtype that is a number of some precision."""
    if name not in headers:
        known = ", ".join(sorted(headers)[:8]) or "nothing"
        raise DictionaryError(
            f"{place_of(path)} lacks the tensor {name} (it holds {known}); {GET_AGAIN}"
        )
    return check_dtype(headers[name])


def check_dtype(stored: Stored) -> Stored:
    """The tensor, if its dtype is one that weights may have."""
    if stored.dtype not in READABLE:
        raise DictionaryError(
            f"{stored.name} in {stored.place} has dtype {stored.dtype}; store it as one of "
            f"{', '.join(READABLE)}"
        )
    return stored


def check_shape(stored: Stored, shape: Shape) -> Stored:
    """The tensor, if it has this shape; names are never trusted."""
    if stored.shape != shape:
        hint = (
            "; it is stored the other way round, transpose it"
            if len(shape) == 2 and stored.shape == shape[::-1]
            else f"; {GET_AGAIN}"
        )
        raise DictionaryError(
            f"{stored.name} in {stored.place} has shape {list(stored.shape)} where {list(shape)} "
            f"is needed{hint}"
        )
    return stored


def length_of(headers: Headers, name: str, path: Path) -> int:
    """How long a vector is: the biases say which side of a matrix is which."""
    stored = find_tensor(headers, name, path)
    if len(stored.shape) != 1 or stored.shape[0] < 1:
        raise DictionaryError(
            f"{name} in {stored.place} has shape {list(stored.shape)} where one number a row is "
            f"needed; {GET_AGAIN}"
        )
    return stored.shape[0]


def refuse_others(headers: Headers, known: Iterable[str], path: Path, announced_by: str) -> None:
    """DictionaryError for a tensor that nothing speaks of: it would be dropped silently."""
    for name in headers:
        if name not in set(known):
            raise DictionaryError(
                f"{place_of(path)} holds a tensor {name[:80]} that {announced_by} does not "
                f"announce; {GET_AGAIN}"
            )


def check_finite(tensors: Mapping[str, Tensor], place: str) -> None:
    """DictionaryError naming the first tensor with NaN or infinity."""
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise DictionaryError(f"{name} in {place} holds NaN or infinite numbers; {GET_AGAIN}")
