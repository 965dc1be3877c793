"""The strongest of many: which few make up most of a sum, without sorting them all.

Entries are counted in buckets of equal exponent and leading mantissa bits (an IEEE 754 bit pattern
rises with the size of a positive number); only the one bucket in which the wanted share is reached
is sorted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from circuit_tracer.graphs.graph import Bools

_SHIFT = 20
_BUCKETS = 1 << (31 - _SHIFT)
"""Eight exponent bits and three of the mantissa of a float32: eight buckets an octave."""

ROUNDING = 1e-12
"""Keeps a share that is reached exactly from being missed by rounding."""

Sizes = Callable[[], Iterable[NDArray[np.floating[Any]]]]


def strongest(sizes: Sizes, count: int, mass: float) -> Bools:
    """(count,) mask of the fewest entries that reach `mass` of the sum of all.

    `sizes` gives the entries, finite and none negative, in consecutive pieces, the same each time
    it is called (twice). Equal entries are kept from the first on; zeros never; `mass` 1 keeps all
    that are not zero.
    """
    kept = np.zeros(count, dtype=np.bool_)
    if mass >= 1:
        for piece, size in _placed(sizes):
            np.greater(size, 0, out=kept[piece])
        return kept
    sums = np.zeros(_BUCKETS)
    for _, size in _placed(sizes):
        bucket = _buckets(size)
        sums += np.bincount(bucket, weights=size, minlength=_BUCKETS)
    sums = sums[::-1].cumsum()  # from the largest down
    needed = (mass - ROUNDING) * float(sums[-1])
    cut = min(int(np.searchsorted(sums, needed)), _BUCKETS - 1)
    above = float(sums[cut - 1]) if cut else 0.0
    last, last_size = _split(sizes, kept, _BUCKETS - 1 - cut)
    order = np.argsort(-last_size, kind="stable")
    running = above + np.cumsum(last_size[order], dtype=np.float64)
    kept[last[order[: int(np.searchsorted(running, needed)) + 1]]] = True
    return kept


def _split(
    sizes: Sizes, kept: Bools, cut: int
) -> tuple[NDArray[np.int64], NDArray[np.floating[Any]]]:
    """Keep all above the bucket `cut`; where the positive entries in it lie, and what they are."""
    places: list[NDArray[np.int64]] = []
    values: list[NDArray[np.floating[Any]]] = []
    for piece, size in _placed(sizes):
        bucket = _buckets(size)
        np.greater(bucket, cut, out=kept[piece])
        inside = np.flatnonzero(bucket == cut)
        inside = inside[size[inside] > 0]
        places.append(inside + piece.start)
        values.append(size[inside])
    if not places:
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    return np.concatenate(places), np.concatenate(values)


def _placed(sizes: Sizes) -> Iterable[tuple[slice, NDArray[np.floating[Any]]]]:
    start = 0
    for size in sizes():
        yield slice(start, start + len(size)), size
        start += len(size)


def _buckets(size: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """The bucket of each absolute value, rising with it: 0 (only tiny ones) to 2047."""
    with np.errstate(over="ignore", under="ignore"):
        narrow = size.astype(np.float32)
    return (narrow.view(np.uint32) >> _SHIFT).astype(np.int64)
