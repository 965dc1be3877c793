"""Supernodes: kept features that do the same, found without anybody's help.

1. Every two kept features are compared by what is known of them: what they write (cosine of their
   decoders, where the caller has them), where they fire and what they promote (overlap of their
   cards, where the caller has those), and what feeds them and what they feed (cosine of the shares
   signed along their kept edges). The similarity is the mean of what both have.
2. Average linkage (Sokal and Michener, 1958) joins the two most alike groups, again and again,
   until none are more alike than a threshold. Features at different tokens are never joined,
   unless asked for. Equal similarities go by row, so the groups are the same on every machine.
3. A group is named by what its members' labels have most in common, weighted by influence.

scores.py says how good a grouping is, file.py keeps it in a file that people edit, graph.py joins
the edges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.graph import Floats, Graph, Ints, NodeKind, unique_names
from circuit_tracer.graphs.influence import signed_shares, totals
from circuit_tracer.graphs.pruning import PrunedGraph

THRESHOLD = 0.5
"""Groups that are less alike than this stay apart."""
MOST_FEATURES = 3000
"""Kept features that may be grouped: all pairs are compared (72 MB a measure)."""
LONGEST_NAME = 40


@dataclass(frozen=True)
class Supernode:
    """Some nodes under one name."""

    name: str
    rows: tuple[int, ...]
    """Rows of the graph's node table, ascending."""


class Reading(NamedTuple):
    """What a feature's card says, as weights that sum to 1 (or to 0, if nothing is known)."""

    fires_on: Mapping[str, float]
    """Tokens by how strongly the feature fires on them."""
    promotes: Mapping[str, float]
    """Tokens by how much the feature raises them."""


@dataclass(frozen=True)
class Similarity:
    """How alike the kept features are: (n, n) each, symmetric, 1 on the diagonal."""

    rows: Ints
    """(n,) rows of the features in the graph's node table, ascending."""
    whole: Floats
    """The mean of the measures that are there, 0..1."""
    edges: Floats
    """Cosine of the shares along kept edges, in and out, 0..1 (opposites count 0)."""
    same_position: bool
    """Whether only features at the same token may be joined."""


def similarity(
    pruned: PrunedGraph,
    *,
    decoders: Floats | None = None,
    readings: Sequence[Reading] | None = None,
    same_position: bool = True,
) -> Similarity:
    """How alike the kept features are.

    `decoders` (n, d) and `readings` (n) belong to `feature_rows(pruned)`, in that order; what is
    left out does not count. Raises UsageError for other lengths, for numbers that are not finite
    and for more than `MOST_FEATURES` features.
    """
    rows = feature_rows(pruned)
    _check(rows, decoders, readings)
    edges = _edge_similarity(pruned, rows)
    measures = [edges]
    if decoders is not None:
        measures.append(_cosines(decoders.astype(np.float64)))
    if readings is not None:
        fires_on = overlaps([one.fires_on for one in readings])
        promotes = overlaps([one.promotes for one in readings])
        measures.append(_with_ones((fires_on + promotes) / 2))
    whole = sum(measures, np.zeros_like(edges)) / len(measures)
    return Similarity(rows, whole, edges, same_position)


def feature_rows(pruned: PrunedGraph) -> Ints:
    """Rows of the kept features, ascending: what is grouped."""
    return np.flatnonzero(pruned.node_kept & (pruned.graph.nodes.kind == NodeKind.FEATURE))


def find_supernodes(
    pruned: PrunedGraph, alike: Similarity, *, threshold: float = THRESHOLD
) -> list[Supernode]:
    """Kept features in groups of at least two, those of most influence first.

    A group is as alike as all pairs across any two of its parts were on average when they were
    joined: at least `threshold`, in 0..1. Raises UsageError for another threshold.
    """
    if not 0 <= threshold <= 1:
        raise UsageError(f"`threshold` {threshold} is no similarity; give a number from 0 to 1")
    positions = pruned.graph.nodes.position[alike.rows]
    parts = [np.arange(len(alike.rows))]
    if alike.same_position:
        parts = [np.flatnonzero(positions == at) for at in np.unique(positions)]
    groups = []
    for part in parts:
        for members in average_linkage(alike.whole[np.ix_(part, part)], threshold):
            if len(members) > 1:
                groups.append(alike.rows[part[members]])
    groups.sort(key=lambda rows: (-float(pruned.influence[rows].sum()), int(rows[0])))
    return named(pruned, groups)


def average_linkage(alike: Floats, threshold: float) -> list[Ints]:
    """Groups of 0..n-1 by average linkage, each ascending, in the order of their first members.

    `alike` (n, n) is symmetric. Of equal similarities the pair with the lowest first members is
    joined first. Exact: n - 1 joins at most, each with a look at all pairs of groups.
    """
    n = len(alike)
    between = alike.astype(np.float64)
    np.fill_diagonal(between, -np.inf)
    members = [[i] for i in range(n)]
    while n > 1:
        first, second = divmod(
            int(np.argmax(between)), n
        )  # the first of the largest: first < second
        if between[first, second] < threshold or not np.isfinite(between[first, second]):
            break
        sizes = len(members[first]), len(members[second])
        joined = (sizes[0] * between[first] + sizes[1] * between[second]) / sum(sizes)
        between[first], between[:, first] = joined, joined
        between[first, first] = -np.inf
        between[second], between[:, second] = -np.inf, -np.inf
        members[first] += members[second]
        members[second] = []
    return [np.array(sorted(group), dtype=np.int64) for group in members if group]


def named(pruned: PrunedGraph, groups: Sequence[Ints]) -> list[Supernode]:
    """The groups with names of their own: what their labels share, else the strongest's label.

    A label reads "where → what", each a token or several, "a/b" (transcoders/labels.py). Of each
    half the token that carries most of the members' influence is taken, and a second one beside it
    if it carries nearly as much. Equal
    names get the position they stand at or, where that is the same, their layer.
    """
    nodes = pruned.graph.nodes
    names = [group_name(pruned.graph, rows, pruned.influence[rows]) for rows in groups]
    for twice in sorted({name for name in names if names.count(name) > 1}):
        alike = [i for i, name in enumerate(names) if name == twice]
        positions = [int(nodes.position[groups[i][0]]) for i in alike]
        for i, position in zip(alike, positions, strict=True):
            layer = int(nodes.layer[groups[i][0]])
            names[i] += f" @{position}" if len(set(positions)) > 1 else f" L{layer}"
    return [
        Supernode(name, tuple(rows.tolist()))
        for name, rows in zip(unique_names(names, " #"), groups, strict=True)
    ]


def group_name(graph: Graph, rows: Ints, influence: Floats) -> str:
    """What most of the labels at some rows say, by influence; may be the name of another group."""
    places: dict[str, float] = {}
    effects: dict[str, float] = {}
    for row, weight in zip(rows.tolist(), influence.tolist(), strict=True):
        place, _, effect = graph.nodes.label[row].partition("→")
        for half, votes in ((place, places), (effect, effects)):
            for part in {one.strip() for one in half.split("/")} - {"…"}:
                votes[part] = votes.get(part, 0.0) + max(float(weight), 1e-12)
    place, effect = _elected(places), _elected(effects)
    name = f"{place} → {effect}".strip() if effect else place
    if not name:
        nodes, first = graph.nodes, int(rows[np.argmax(influence)])
        name = f"L{nodes.layer[first]}/{nodes.feature[first]} and like"
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1].rstrip() + "…"


def _elected(votes: Mapping[str, float]) -> str:
    """The parts of a label with most votes, at most two; "" where most labels have none."""
    ranked = sorted(votes, key=lambda part: (-votes[part], part))
    chosen = [part for part in ranked[:2] if part and votes[part] >= 0.7 * votes[ranked[0]]]
    return "/".join(chosen) if votes and ranked[0] else ""


def _check(rows: Ints, decoders: Floats | None, readings: Sequence[Reading] | None) -> None:
    if len(rows) > MOST_FEATURES:
        raise UsageError(
            f"{len(rows):,} features were kept, too many to compare in pairs (at most "
            f"{MOST_FEATURES:,}); keep fewer with circuit-tracer prune --node-threshold"
        )
    for name, given in (("decoders", decoders), ("cards", readings)):
        if given is not None and len(given) != len(rows):
            raise UsageError(f"{len(given)} {name} for {len(rows)} kept features: give one each")
    if decoders is not None and not np.isfinite(decoders).all():
        raise UsageError("a decoder holds a number that is not finite; check the dictionary")


def _edge_similarity(pruned: PrunedGraph, rows: Ints) -> Floats:
    """(n, n) mean cosine of what feeds two features and of what they feed, 0 where negative."""
    graph, edges = pruned.graph, pruned.kept_edges
    n = len(graph.nodes)
    share = signed_shares(edges, totals(graph))
    place = np.full(n, -1)
    place[rows] = np.arange(len(rows))
    similarities = []
    for own, other in ((edges.target, edges.source), (edges.source, edges.target)):
        among = place[own] >= 0
        profile = np.zeros((len(rows), n))
        profile[place[own[among]], other[among]] = share[among]
        similarities.append(_cosines(profile))
    return (similarities[0] + similarities[1]) / 2


def _cosines(vectors: Floats) -> Floats:
    """(n, n) cosines of the rows, 0 where negative or of length 0; the diagonal is 1."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    return _with_ones(unit @ unit.T)


def overlaps(shares: Sequence[Mapping[str, float]]) -> Floats:
    """(n, n) sum of the smaller share of every word: 1 for equal distributions, 0 for disjoint."""
    bearers: dict[str, tuple[list[int], list[float]]] = {}
    for row, one in enumerate(shares):
        for word, share in one.items():
            rows, sizes = bearers.setdefault(word, ([], []))
            rows.append(row)
            sizes.append(share)
    table = np.zeros((len(shares), len(shares)))
    for word in sorted(bearers):  # most words are in few features
        rows, sizes = bearers[word]
        table[np.ix_(rows, rows)] += np.minimum.outer(sizes, sizes)
    return table


def _with_ones(alike: Floats) -> Floats:
    """Symmetric to the last bit, within 0..1, 1 on the diagonal."""
    alike = np.clip((alike + alike.T) / 2, 0.0, 1.0)
    np.fill_diagonal(alike, 1.0)
    return alike
