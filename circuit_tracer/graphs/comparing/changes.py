"""What changed from one graph of a prompt to another: what appeared, vanished, changed its sign.

Of edges the share of their target's input, signed; of nodes the effect on the first target along
all routes (target_effects.py). Only what a graph keeps counts as there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from circuit_tracer.graphs.comparing.merging import MergedGraph, Owner
from circuit_tracer.graphs.graph import NodeKind, node_names
from circuit_tracer.graphs.influence import signed_shares, totals
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.target_effects import target_effects

Kind = Literal["appeared", "vanished", "flipped"]
_KINDS: dict[int, Kind] = {Owner.FIRST: "vanished", Owner.SECOND: "appeared", Owner.BOTH: "flipped"}
Value = float | None
"""None in a graph that does not keep it."""


@dataclass(frozen=True)
class Change:
    """One edge, or one feature or error node."""

    kind: Kind
    source: str
    """The node; of an edge the one that it comes from."""
    target: str
    """Of an edge; "" of a node."""
    rows: tuple[int, int]
    """Source and target in the merged graph; the same row twice for a node."""
    first: Value
    """Signed share of the target's input; of a node its effect on the first target."""
    second: Value
    influence: float
    """Of an edge's target on what is explained, mean of both graphs, by which edges are ranked; 1
    for a node."""

    @property
    def size(self) -> float:
        """How much it matters."""
        return self.influence * abs((self.second or 0.0) - (self.first or 0.0))


def changes(merged: MergedGraph, graphs: tuple[PrunedGraph, PrunedGraph]) -> tuple[Change, ...]:
    """Edges and nodes that only one graph keeps or that changed their sign, the largest first."""
    found = [*_edges(merged, graphs), *_nodes(merged, graphs)]
    return tuple(sorted(found, key=lambda one: (-one.size, one.rows)))


def _edges(merged: MergedGraph, graphs: tuple[PrunedGraph, PrunedGraph]) -> Iterator[Change]:
    names, edges = node_names(merged.pruned.graph), merged.pruned.graph.edges
    received = merged.pruned.influence + merged.pruned.graph.nodes.weight
    shares = []
    for one in graphs:
        kept = one.kept_edges
        pairs = zip(kept.source.tolist(), kept.target.tolist(), strict=True)
        shares.append(
            dict(zip(pairs, signed_shares(kept, totals(one.graph)).tolist(), strict=True))
        )
    for at, owner in enumerate(merged.edge_owner.tolist()):
        if owner == Owner.BOTH and not merged.edge_flipped[at]:
            continue
        source, target = int(edges.source[at]), int(edges.target[at])
        ends = zip(merged.rows[source], merged.rows[target], strict=True)
        first, second = (of.get(pair) for of, pair in zip(shares, ends, strict=True))
        named = names[source], names[target]
        yield Change(
            _KINDS[owner], *named, (source, target), first, second, float(received[target])
        )


def _nodes(merged: MergedGraph, graphs: tuple[PrunedGraph, PrunedGraph]) -> Iterator[Change]:
    names, kind = node_names(merged.pruned.graph), merged.pruned.graph.nodes.kind
    effects = [target_effects(one.graph).total[:, 0] for one in graphs]
    for row in np.flatnonzero(np.isin(kind, (NodeKind.FEATURE, NodeKind.ERROR))).tolist():
        values = [
            float(of[at]) if at >= 0 else None
            for of, at in zip(effects, merged.rows[row], strict=True)
        ]
        owner = int(merged.node_owner[row])
        if owner != Owner.BOTH or (values[0] or 0.0) * (values[1] or 0.0) < 0:
            yield Change(_KINDS[owner], names[row], "", (row, row), values[0], values[1], 1.0)
