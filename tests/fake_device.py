"""A second device made of the CPU: what a GPU refuses, it refuses, so that no GPU is needed to see.

`torch.device("fake")` is torch's slot for devices of others, filled in Python. Its tensors keep
their numbers on the host and hand every operation to the CPU, after the checks of a real device:

1. tensors of the host and of the device do not meet, numbers (0-dim) of the host excepted;
2. a generator is on the device that it fills with random numbers;
3. a tensor becomes numpy's by way of `.cpu()` only, and inside `nothing_crosses()` nothing moves:
   not by `.cpu()`, `.item()`, `bool()` or `.tolist()`, not by indices of the host, and not by an
   operation whose result's size depends on values (`nonzero`, boolean masks);
4. there are two, `fake:0` and `fake:1`, which do not meet either; the second has no float64, like
   Apple's GPUs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

FAKE = "fake"
NARROW = 1
"""Index of the device without float64."""
aten = torch.ops.aten

COPY = aten.copy_.default
COPIES = {COPY, aten._to_copy.default}
"""What may move numbers between devices."""
READS = {
    aten._local_scalar_dense.default,
    aten.equal.default,
    aten.nonzero.default,
    aten.masked_select.default,
    aten.bincount.default,
    aten.repeat_interleave.Tensor,
    aten._unique2.default,
    aten.unique_consecutive.default,
    aten.unique_dim.default,
}
"""What the host waits for: it needs values, or a size that depends on them."""


class DeviceError(AssertionError):
    """What works on the CPU and fails, or stalls, on another device."""


class FakeTensor(Tensor):
    """A tensor of the fake device; `host` has its numbers."""

    host: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, host: Tensor, index: int) -> FakeTensor:
        """Of the same sizes and strides as `host`, whose memory it shares."""
        if host.dtype == torch.float64 and index == NARROW:
            raise TypeError(f"{FAKE}:{index} has no float64")
        made: FakeTensor = Tensor._make_wrapper_subclass(
            cls,
            host.size(),
            strides=host.stride(),
            storage_offset=host.storage_offset(),
            dtype=host.dtype,
            device=torch.device(FAKE, index),
        )
        made.host = host
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Check an operation and hand it to the CPU."""
        return _run(func, *args, **(kwargs or {}))

    def tolist(self) -> Any:
        """As of every device: a copy is read."""
        return self.cpu().tolist()

    def untyped_storage(self) -> Any:
        """What files are written from, by way of the host."""
        return self.host.untyped_storage()

    def __repr__(self, **_: Any) -> str:
        return f"{self.host!r} on {FAKE}"


class _Rules:
    """What is forbidden at the moment."""

    crossing = True


@contextmanager
def nothing_crosses(forbidden: bool = True) -> Iterator[None]:
    """Inside the block neither the host nor the device may wait for the other (or may again)."""
    before, _Rules.crossing = _Rules.crossing, not forbidden
    try:
        yield
    finally:
        _Rules.crossing = before


def _run(func: Any, *args: Any, **kwargs: Any) -> Any:
    """An operation of which some tensor is on the device, or is to be."""
    leaves = tree_leaves((args, kwargs))
    fakes = [leaf for leaf in leaves if isinstance(leaf, FakeTensor)]
    asked = kwargs.get("device")
    into = (
        torch.device(asked) if asked is not None else (args[0] if func is COPY else fakes[0]).device
    )
    _check(func, args, leaves, into)
    if asked is not None:
        kwargs["device"] = torch.device("cpu")
    written = {id(t.host): t for t in fakes}
    result = func(*_unwrapped(args), **_unwrapped(kwargs))
    if any(t.shape != t.host.shape for t in fakes):
        raise NotImplementedError(f"{func} changes a tensor's sizes in place")
    if into.type != FAKE:
        return result

    def wrapped(tensor: Tensor) -> Tensor:
        known = written.get(id(tensor))
        return FakeTensor(tensor, into.index or 0) if known is None else known

    return tree_map_only(Tensor, wrapped, result)


def _unwrapped(tree: Any) -> Any:
    return tree_map_only(FakeTensor, lambda t: t.host, tree)


def _check(func: Any, args: Any, leaves: list[Any], into: torch.device) -> None:
    indices = _indices(func, args)
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    meeting = [t for t in tensors if not any(t is index for index in indices)]
    places = {t.device for t in meeting if t.dim() or isinstance(t, FakeTensor)} | {into}
    places |= {index.device for index in indices if isinstance(index, FakeTensor)}
    if func not in COPIES and len(places) > 1:
        raise DeviceError(f"{func}: expected all tensors to be on one device, got {places}")
    if any(isinstance(leaf, torch.Generator) for leaf in leaves):
        raise DeviceError(f"{func}: a generator of the host fills a tensor on {into}")
    moves = func in COPIES and any(t.device != into for t in tensors)
    moves = moves or any(not isinstance(index, FakeTensor) for index in indices)
    masked = any(index.dtype in (torch.bool, torch.uint8) for index in indices)
    if not _Rules.crossing and (moves or masked or func in READS):
        raise DeviceError(f"{func}: the host waits for {FAKE}, or it for the host")


def _indices(func: Any, args: Any) -> list[Tensor]:
    """What `x[...]` and `x[...] = y` pick by; torch brings it to the device by itself."""
    name = func.overloadpacket.__name__
    if name not in ("index", "index_put", "index_put_", "_index_put_impl_"):
        return []
    return [index for index in args[1] if index is not None]


class _Module:
    """What torch asks of a backend's module."""

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return True

    def current_device(self) -> int:
        return 0

    def device_count(self) -> int:
        return 2

    def manual_seed_all(self, seed: int) -> None:
        """The CPU's generator is seeded anyway."""

    def _is_in_bad_fork(self) -> bool:
        return False

    def synchronize(self, device: Any = None) -> None:
        """Nothing runs by itself."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.float32, torch.bfloat16]


@cache
def install() -> torch.device:
    """Make the device known to torch, for the rest of the process."""
    _setup_privateuseone_for_python_backend(FAKE, _Module())
    everything, some = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")
    everything.fallback(_run, "PrivateUse1")  # made on the device: no tensor of it to dispatch on
    some.impl("copy_", partial(_run, COPY), "PrivateUse1")  # torch.tensor() leaves subclasses out
    for made in RESIZED:
        some.impl(made.name().removeprefix("aten::"), partial(_run, made), "PrivateUse1")
    _libraries.extend((everything, some))
    return torch.device(FAKE, 0)


RESIZED = (
    aten.arange.default,
    aten.arange.start,
    aten.arange.start_step,
    aten.eye.default,
    aten.eye.m,
    aten.linspace.default,
    aten.logspace.default,
)
"""What torch makes by filling an empty tensor that grows: sizes of a `FakeTensor` are final."""

_libraries: list[torch.library.Library] = []
"""Registrations last as long as these."""
