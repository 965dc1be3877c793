"""Rows kept sparse: the strongest edges of each, and exact sums of the others.

`strongest` chooses, `remainders` adds up what was not chosen, `keep_strongest` does both to a
whole graph. To choose without sorting a row, its entries are counted in buckets of equal sign-free
exponent and leading mantissa bits (an IEEE 754 bit pattern rises with the number's size); only
the one bucket in which the wanted mass is reached is sorted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from circuit_tracer.graphs.graph import DROPPED, Bools, Floats, Graph, NodeKind

_SHIFT = 20
_BUCKETS = 1 << (31 - _SHIFT)
"""Eight exponent bits and three of the mantissa of a float32: eight buckets an octave."""

ROUNDING = 1e-12
"""Keeps a share that is reached exactly from being missed by rounding."""

Sizes = Callable[[], Iterable[NDArray[np.floating[Any]]]]


class Remainders(NamedTuple):
    """Sums over the entries of each row that were not kept, (B,) each: the `Nodes` columns."""

    dropped: Floats
    """Signed."""
    dropped_embeddings: Floats
    """Absolute, over the columns that are embeddings."""
    dropped_errors: Floats
    dropped_features: Floats


def strongest(weights: NDArray[np.floating[Any]], mass: float, most: int) -> Bools:
    """(B, C) mask of each row's fewest entries that reach `mass` of its absolute sum.

    `weights` (B, C) are finite; at most `most` entries of a row are kept, also where they do not
    reach the mass. Equal entries are kept from the lowest column on; zeros never; `mass` 1 keeps
    all that are not zero. A row's result does not depend on the other rows.
    """
    kept = np.zeros(weights.shape, dtype=np.bool_)
    for row, size in enumerate(np.abs(weights)):
        kept[row] = strongest_of(partial(tuple, [size]), len(size), mass, most)
    return kept


def strongest_of(sizes: Sizes, count: int, mass: float, most: int | None = None) -> Bools:
    """(count,) mask of the fewest entries that reach `mass` of the sum of all.

    `sizes` gives the entries, none negative, in consecutive pieces, the same each time it is
    called (twice). Otherwise as `strongest`.
    """
    most = count if most is None else most
    kept = np.zeros(count, dtype=np.bool_)
    if mass >= 1 and most >= count:
        for piece, size in _placed(sizes):
            np.greater(size, 0, out=kept[piece])
        return kept
    sums, counts = np.zeros(_BUCKETS), np.zeros(_BUCKETS, dtype=np.int64)
    for _, size in _placed(sizes):
        bucket = _buckets(size)
        sums += np.bincount(bucket, weights=size, minlength=_BUCKETS)
        counts += np.bincount(bucket, minlength=_BUCKETS)
    sums, counts = sums[::-1].cumsum(), counts[::-1].cumsum()  # from the largest down
    needed = (mass - ROUNDING) * float(sums[-1]) if mass < 1 else np.inf
    cut = min(int(np.searchsorted(sums, needed)), int(np.searchsorted(counts, most)), _BUCKETS - 1)
    above = float(sums[cut - 1]) if cut else 0.0
    room = most - (int(counts[cut - 1]) if cut else 0)
    last, last_size = _split(sizes, kept, _BUCKETS - 1 - cut)
    order = np.argsort(-last_size, kind="stable")[: max(room, 0)]
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


def remainders(
    weights: NDArray[np.floating[Any]], kept: Bools, kind: NDArray[np.int8]
) -> Remainders:
    """What `kept` (B, C) leaves out of `weights` (B, C), in float64; `kind` (C,) of the sources.

    A row's sums do not depend on the other rows.
    """
    left = np.where(kept, 0.0, weights.astype(np.float64))
    sizes = np.abs(left)
    kinds = (NodeKind.EMBEDDING, NodeKind.ERROR, NodeKind.FEATURE)
    return Remainders(left.sum(1), *(np.compress(kind == k, sizes, axis=1).sum(1) for k in kinds))


def keep_strongest(graph: Graph, *, mass: float, most: int | None = None) -> Graph:
    """The graph with each row cut down to its `strongest` edges; the sums go to its node.

    Nodes stay, also those that no edge reaches any more.
    """
    nodes, edges = graph.nodes, graph.edges
    n = len(nodes)
    kept = np.zeros(len(edges), dtype=np.bool_)
    ends = np.searchsorted(edges.target, np.arange(n + 1, dtype=edges.target.dtype))
    for start, end in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
        if end > start:
            row = edges.weight[None, start:end]
            kept[start:end] = strongest(row, mass, end - start if most is None else most)[0]
    left = edges.take(~kept)
    weight = left.weight.astype(np.float64)
    sums = [np.bincount(left.target, weights=weight, minlength=n)]
    for kind in (NodeKind.EMBEDDING, NodeKind.ERROR, NodeKind.FEATURE):
        of_kind = nodes.kind[left.source] == kind
        size = np.abs(weight[of_kind])
        sums.append(np.bincount(left.target[of_kind], weights=size, minlength=n))
    columns = {name: getattr(nodes, name) + s for name, s in zip(DROPPED, sums, strict=True)}
    return replace(graph, nodes=replace(nodes, **columns), edges=edges.take(kept))
