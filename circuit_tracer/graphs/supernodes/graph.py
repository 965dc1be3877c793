"""The graph of supernodes: what goes from group to group, and the routes between them.

An edge between two groups sums all member edges from one into the other. Its share sums over the
source's members and is a mean over the target's, by their influence (for a target node, its
weight): the part of what goes into the group, as far as the group matters, that comes from the
other. So shares into a node that is alone are its own, and shares into any group sum to at most 1.
Edges inside a group are its own business and left out. Groups that span layers can feed each
other both ways; a route is therefore a walk over nodes, named by the groups it goes through.

The strength of a route between groups is the sum over all routes between their members, exact by
dynamic programming (paths.py). Which routes are the strongest is settled among those that the
`CANDIDATES` strongest routes of single nodes to each target go along: of a graph that has no more
routes, exactly; else a route could be missed that is made of weaker ones alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.graph import Floats, Graph, Ints, NodeKind, node_names, unique_names
from circuit_tracer.graphs.influence import edge_influence, ratio, signed_shares, totals
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.routes.paths import best_paths, path_mass
from circuit_tracer.graphs.supernodes.grouping import Supernode

CANDIDATES = 1000


@dataclass(frozen=True)
class GroupEdge:
    """All edges from the members of one group to those of another."""

    source: int
    """Index into `SupernodeGraph.nodes`."""
    target: int
    weight: float
    """Signed sum of the member edges."""
    share: float
    """Signed part of what goes into the target, in -1..1: summed over the source's members, the
    mean over the target's by influence."""
    influence: float
    """Share of the targets' influence that flows along the member edges."""


@dataclass(frozen=True)
class SupernodeGraph:
    """The supernodes, then every other kept node alone, with the edges between them."""

    nodes: tuple[Supernode, ...]
    edges: tuple[GroupEdge, ...]
    """Most influence first."""
    of_row: Ints
    """(n,) index of the node each row of the whole graph's node table is in; -1 if pruned."""


@dataclass(frozen=True)
class GroupPath:
    """All routes from tokens to a target that go through the same groups in the same order."""

    nodes: tuple[int, ...]
    """Indices into `SupernodeGraph.nodes`."""
    up: float
    """Share of all paths of the whole graph to the target that are such routes and push it up."""
    down: float
    """The same for those that push it down."""


def supernode_graph(pruned: PrunedGraph, groups: Sequence[Supernode]) -> SupernodeGraph:
    """Join the kept edges of the graph's nodes to edges between groups.

    Raises UsageError where a node is in two groups, or was pruned.
    """
    nodes, of_row = _partition(pruned, groups)
    graph = pruned.graph
    which = np.flatnonzero(pruned.edge_kept)
    edges = graph.edges.take(which)
    source, target = of_row[edges.source], of_row[edges.target]
    weight = edges.weight.astype(np.float64)
    flow = edge_influence(graph, pruned.influence, which)
    part = _within_group(pruned, of_row, len(nodes))[edges.target]
    share = signed_shares(edges, totals(graph)) * part
    pair = source.astype(np.int64) * len(nodes) + target
    between = source != target
    pairs, index = np.unique(pair[between], return_inverse=True)
    sums = [np.bincount(index, one[between], len(pairs)) for one in (weight, share, flow)]
    joined = [
        GroupEdge(*divmod(int(at), len(nodes)), float(w), float(s), float(f))
        for at, w, s, f in zip(pairs, *sums, strict=True)
    ]
    joined.sort(key=lambda edge: (-edge.influence, edge.source, edge.target))
    return SupernodeGraph(nodes, tuple(joined), of_row)


def group_paths(
    pruned: PrunedGraph, whole: SupernodeGraph, *, k: int = 10, candidates: int = CANDIDATES
) -> list[GroupPath]:
    """The k routes through groups to each target along which most goes, of either sign.

    Targets in their order. Raises UsageError for k < 1.
    """
    if k < 1:
        raise UsageError(f"The number of routes is {k}: ask for at least 1.")
    graph = pruned.graph
    compact, old = pruned.kept_alone().graph, pruned.kept_rows
    block = whole.of_row[old]
    mass = path_mass(graph)
    blocks = _Blocks(compact, block)
    paths: list[GroupPath] = []
    for target in compact.target_rows.tolist():
        routes = {
            _walk(block[list(path.rows)])
            for path in best_paths(compact, k=candidates, targets=[target])
        }
        sums = [GroupPath(route, *blocks.summed(route, target)) for route in sorted(routes)]
        ranked = sorted(sums, key=lambda one: (-(one.up + one.down), one.nodes))
        all_ = float(mass[old[target]])
        paths += [replace(one, up=one.up / all_, down=one.down / all_) for one in ranked[:k]]
    return paths


def _partition(
    pruned: PrunedGraph, groups: Sequence[Supernode]
) -> tuple[tuple[Supernode, ...], Ints]:
    names = node_names(pruned.graph)
    of_row = np.full(len(pruned.graph.nodes), -1, dtype=np.int64)
    for number, group in enumerate(groups):
        for row in group.rows:
            if not pruned.node_kept[row]:
                raise UsageError(f'{names[row]} in supernode "{group.name}" was pruned away')
            if of_row[row] >= 0:
                raise UsageError(f"{names[row]} is in two supernodes; leave it in one")
            of_row[row] = number
    alone = [row for row in pruned.kept_rows.tolist() if of_row[row] < 0]
    of_row[alone] = len(groups) + np.arange(len(alone))
    singles = [Supernode(names[row], (row,)) for row in alone]
    unique = unique_names([one.name for one in (*groups, *singles)], " #")
    nodes = [replace(one, name=name) for one, name in zip((*groups, *singles), unique, strict=True)]
    return tuple(nodes), of_row


def _within_group(pruned: PrunedGraph, of_row: Ints, count: int) -> Floats:
    """(n,) how much each node counts in its group: its influence over the group's; sums to 1."""
    kept = pruned.kept_rows
    matters = pruned.influence + pruned.graph.nodes.weight
    fed = np.zeros(len(matters), dtype=np.bool_)
    fed[pruned.kept_edges.target] = True  # tokens and errors have no inputs to take the mean of
    matters = np.where(fed, np.maximum(matters, 1e-300), 0.0)
    sums = np.bincount(of_row[kept], matters[kept], count).astype(np.float64)
    part = np.zeros(len(matters))
    part[kept] = ratio(matters[kept], sums[of_row[kept]])
    return part


def _walk(blocks: Ints) -> tuple[int, ...]:
    """Groups along a path, each once while it stays in it."""
    changes = np.flatnonzero(np.diff(blocks, prepend=-1))
    return tuple(int(one) for one in blocks[changes])


class _Blocks:
    """The shares between the members of every two groups, as small matrices."""

    def __init__(self, graph: Graph, block: Ints) -> None:
        self.members = {int(one): np.flatnonzero(block == one) for one in np.unique(block)}
        place = np.zeros(len(block), dtype=np.int64)
        for rows in self.members.values():
            place[rows] = np.arange(len(rows))
        edges, shares = graph.edges, signed_shares(graph.edges, totals(graph))
        pairs = np.stack([block[edges.target], block[edges.source]], axis=1)
        unique, index = np.unique(pairs, axis=0, return_inverse=True)
        self.into: dict[tuple[int, int], Floats] = {}
        """(target group, source group) -> (its members, its members) signed shares."""
        order = np.argsort(index.ravel(), kind="stable")
        counts = np.bincount(index.ravel(), minlength=len(unique))
        ends = np.cumsum(counts)
        for (target, source), start, end in zip(unique.tolist(), ends - counts, ends, strict=True):
            which = order[start:end]
            matrix = np.zeros((len(self.members[target]), len(self.members[source])))
            matrix[place[edges.target[which]], place[edges.source[which]]] = shares[which]
            self.into[target, source] = matrix
        is_token = graph.nodes.kind == NodeKind.EMBEDDING
        self.starts = {one: is_token[rows].astype(float) for one, rows in self.members.items()}

    def summed(self, route: tuple[int, ...], target: int) -> tuple[float, float]:
        """Strength of all paths along a route of groups, those that push the target up and down."""
        at = int(np.flatnonzero(self.members[route[-1]] == target)[0])
        absolute, signed = (float(self._carried(route, size)[at]) for size in (np.abs, np.asarray))
        return max(absolute + signed, 0.0) / 2, max(absolute - signed, 0.0) / 2

    def _carried(self, route: tuple[int, ...], size: Callable[[Floats], Floats]) -> Floats:
        """What arrives at each member of the last group; inside a group it goes on upwards."""
        mass = self._spread(route[0], self.starts[route[0]], size)
        for source, target in pairwise(route):
            mass = self._spread(target, size(self.into[target, source]) @ mass, size)
        return mass

    def _spread(self, group: int, mass: Floats, size: Callable[[Floats], Floats]) -> Floats:
        """mass + S mass + S^2 mass + ..., S the shares inside the group, which only go up."""
        if (group, group) not in self.into:
            return mass
        inside = np.eye(len(mass)) - size(self.into[group, group])
        return np.linalg.solve(inside, mass).astype(np.float64)
