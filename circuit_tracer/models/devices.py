"""Which device and dtype, what a device may lack, and where numbers leave it for the host.

A device works on while the host prepares what comes next, and whoever reads one of its numbers (by
`.item()`, `bool()`, `nonzero`, ...) waits until it has caught up. While rows are swept this happens
here only: the walk down itself (attribution/sweep.py) reads nothing.
"""

from __future__ import annotations

import resource
import sys
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Int
from numpy.typing import NDArray
from torch import Tensor

from circuit_tracer.errors import UsageError, reason

Item = TypeVar("Item")
Result = TypeVar("Result")

DTYPES = {name: getattr(torch, name) for name in ("float32", "float64", "bfloat16", "float16")}


def parse_device(name: str, dtype: torch.dtype = torch.float32) -> torch.device:
    """A torch device by name, checked to exist and to have a dtype.

    "auto" is a GPU if there is one, else the CPU. Raises UsageError.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda", "mps", "xpu"):
            raise RuntimeError(f"torch cannot compute on a {device.type} here")
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(
            f'the device "{name}" cannot be used here ({reason(error)}); try cpu'
        ) from error
    if dtype == torch.float64:
        check_float64(device)
    return device


def parse_dtype(name: str) -> torch.dtype:
    """A dtype by name ("float32", "fp32", "bf16", ...); UsageError lists the choices."""
    short = {"fp32": "float32", "fp64": "float64", "bf16": "bfloat16", "fp16": "float16"}
    dtype: torch.dtype | None = DTYPES.get(short.get(name, name))
    if dtype is None:
        raise UsageError(f'unknown dtype "{name}"; choose one of {", ".join(DTYPES)}')
    return dtype


def check_float64(device: torch.device) -> None:
    """Raise UsageError for a device without float64."""
    if widest(device) != torch.float64:
        raise UsageError(
            f"the device {device} has no float64; leave out `dtype` float64, or add `device` cpu"
        )


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the device has products in bfloat16, which are several times as fast as in float32
    then. Asked of the device, not measured: it must not depend on what else it does."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu._is_amx_tile_supported())


def side_by_side(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    device: torch.device,
    *,
    most: int | None = None,
) -> Generator[Result, None, None]:
    """`work` of every item in their order, on the CPU in as many threads as torch has (at `most`
    so many), which share torch's.

    With one of torch's threads each, every item is computed as on one thread, so results do not
    depend on how many there are. For work whose products are too small to be shared out, and large
    enough that Python between them does not count. No more results wait to be read than there are
    threads. Threads are torch's again once the last one is read, or the iterator closed.
    """
    threads = torch.get_num_threads()
    workers = min(threads, len(items), threads if most is None else most)
    if device.type != "cpu" or workers <= 1:
        yield from map(work, items)
        return
    pool = ThreadPoolExecutor(
        workers, initializer=torch.set_num_threads, initargs=(threads // workers,)
    )
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # part of what the threads set was set for all


def synchronize(device: torch.device) -> None:
    """Wait until a device has done all that it was asked for: before a clock is read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type != "cpu":
        torch.get_device_module(device).synchronize()


def peak_memory(device: torch.device) -> int:
    """Bytes at the highest so far: of a GPU's memory, else of the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024)


def as_numpy(tensor: Tensor) -> NDArray[Any]:
    """A tensor's numbers on the host, in their own dtype."""
    return tensor.detach().cpu().numpy()


def as_floats(tensor: Tensor) -> NDArray[np.float64]:
    """A tensor's numbers on the host in float64: widened there, some devices have no float64."""
    return tensor.detach().cpu().double().numpy()


def true_places(mask: Bool[Tensor, "..."]) -> tuple[Int[Tensor, "n"], ...]:
    """Where a mask is true, one tensor a dimension; the host waits for how many there are."""
    return mask.nonzero(as_tuple=True)


def on_device(numbers: NDArray[Any], device: torch.device) -> Tensor:
    """An array's numbers as a tensor of a device; float64 becomes what the device has of it."""
    tensor = torch.from_numpy(numbers)
    if tensor.dtype == torch.float64:
        tensor = tensor.to(widest(device))
    return tensor.to(device)


@cache
def widest(device: torch.device) -> torch.dtype:
    """The dtype in which long sums are taken: float64, or float32 where a device has no other."""
    try:
        return torch.zeros(1, dtype=torch.float64, device=device).dtype
    except (TypeError, RuntimeError):
        return torch.float32
