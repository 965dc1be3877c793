"""Around the parts of a trace: time taken, precision of products, a remedy when memory runs out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from circuit_tracer.attribution.settings import Cotangents
from circuit_tracer.errors import CircuitTracerError

FULL = ("out of memory", "allocate memory", "not enough memory", "alloc_failed")
"""How devices and libraries say that memory ran out; an illegal access to it is something else."""


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Add the wall time of a block to that of its stage."""
    start = time.perf_counter()
    yield
    seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - start


@contextmanager
def products(cotangents: Cotangents | None = None) -> Iterator[None]:
    """Keep float32 products at full precision on GPUs, or let them be TF32 where asked for."""
    before: Any = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if cotangents == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def memory_remedy() -> Iterator[None]:
    """Say what helps where memory runs out; raises CircuitTracerError."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        is_full = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not is_full and not any(words in str(error).lower() for words in FULL):
            raise
        raise CircuitTracerError(
            "memory ran out; lower `max_feature_nodes` (or set `coverage` 0.9), then `batch_size`, "
            "or shorten the prompt"
        ) from error
