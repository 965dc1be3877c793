"""Overlaps of distributions: their figures, means, place between two ends, and a permutation p."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from circuit_tracer.graphs.graph import Floats, Ints

SHUFFLES = 200


@dataclass(frozen=True)
class Overlap:
    """What two graphs share, 0..1 each; None where it is not defined."""

    features: float | None
    """Influence of features, at positions that belong together. None for two dictionaries."""
    anywhere: float | None
    """The same wherever they fire."""
    edges: float | None
    """Influence along edges whose two ends both graphs have."""
    paths: float | None
    """Mean over the two graphs of the share of path mass along shared edges. Paths of a single
    edge, which meet no feature, do not count."""
    places: float | None
    """Influence of features and errors by layer and position, whatever they are."""
    tokens: float | None
    """Influence of the prompts' tokens, by position."""


def mean_overlap(overlaps: Sequence[Overlap]) -> Overlap | None:
    """The mean of each figure over those that have it; None for no overlaps."""
    if not overlaps:
        return None
    means = {}
    for field in fields(Overlap):
        values = [getattr(one, field.name) for one in overlaps]
        known = [value for value in values if value is not None]
        means[field.name] = sum(known) / len(known) if known else None
    return Overlap(**means)


def between(value: Overlap, floor: Overlap | None, ceiling: Overlap | None) -> Overlap | None:
    """Each figure as its place between floor (0) and ceiling (1); below and above are possible.

    None without both; a figure is None where it, the floor or the ceiling is, or where the ceiling
    does not lie above the floor.
    """
    if floor is None or ceiling is None:
        return None
    places: dict[str, float | None] = {}
    for field in fields(Overlap):
        x, low, high = (getattr(one, field.name) for one in (value, floor, ceiling))
        known = None not in (x, low, high) and high > low
        places[field.name] = (x - low) / (high - low) if known else None
    return Overlap(**places)


def jaccard(keys: tuple[Ints, Ints], shares: tuple[Floats, Floats]) -> float | None:
    """Weighted Jaccard index of two distributions: each is made to sum to 1, equal keys summed.

    None where neither has anything; 0 where only one has.
    """
    sums = [float(one.sum()) for one in shares]
    if max(sums) <= 0:
        return None
    if min(sums) <= 0:
        return 0.0
    least = np.minimum(*_tables(keys, shares)[1])
    return float(least.sum() / (2 - least.sum()))


def permutation_p(
    keys: tuple[Ints, Ints],
    shares: tuple[Floats, Floats],
    layer_of: Ints,
    *,
    shuffles: int = SHUFFLES,
    seed: int = 0,
) -> float | None:
    """Share of permutations, the given one counted in, that overlap at least as much.

    `layer_of` gives the layer of each key (indexed by key). None where a graph has nothing.
    """
    if min(float(one.sum()) for one in shares) <= 0:
        return None
    union, (first, second) = _tables(keys, shares)
    layers = layer_of[union]
    groups = [np.flatnonzero(layers == layer) for layer in np.unique(layers)]
    overlap = float(np.minimum(first, second).sum())
    rng = np.random.default_rng(seed)
    higher = 0
    for _ in range(shuffles):
        permuted = second.copy()
        for group in groups:
            permuted[group] = second[rng.permutation(group)]
        higher += float(np.minimum(first, permuted).sum()) >= overlap - 1e-12
    return (1 + higher) / (1 + shuffles)


def _tables(
    keys: tuple[Ints, Ints], shares: tuple[Floats, Floats]
) -> tuple[Ints, tuple[Floats, Floats]]:
    """The keys of either, ascending, and both distributions over them."""
    union, places = np.unique(np.concatenate(keys), return_inverse=True)
    first, second = places[: len(keys[0])], places[len(keys[0]) :]
    tables = [
        np.bincount(place, share / share.sum(), len(union)).astype(np.float64)
        for place, share in zip((first, second), shares, strict=True)
    ]
    return union, (tables[0], tables[1])
