"""Supernodes of a graph with what is reported of them: their scores, edges and routes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from circuit_tracer.graphs.graph import Floats, node_names
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.supernodes.graph import (
    GroupPath,
    SupernodeGraph,
    group_paths,
    supernode_graph,
)
from circuit_tracer.graphs.supernodes.grouping import (
    THRESHOLD,
    Reading,
    Supernode,
    find_supernodes,
    similarity,
)
from circuit_tracer.graphs.supernodes.scores import (
    Figure,
    GroupScores,
    against_random,
    group_scores,
)


@dataclass(frozen=True)
class ScoredGroups:
    """Groups of a graph's kept features."""

    pruned: PrunedGraph
    groups: tuple[Supernode, ...]
    scores: tuple[GroupScores, ...]
    """One a group."""
    figures: Mapping[str, Figure]
    """The grouping's mean scores beside those of random ones of the same sizes."""
    whole: SupernodeGraph
    paths: tuple[GroupPath, ...]

    def record(self) -> dict[str, Any]:
        """Everything as JSON values."""
        rows, nodes = node_names(self.pruned.graph), self.whole.nodes
        return {
            "supernodes": [
                {
                    "name": group.name,
                    "nodes": [rows[row] for row in group.rows],
                    "influence": float(self.pruned.influence[list(group.rows)].sum()),
                    **vars(score),
                }
                for group, score in zip(self.groups, self.scores, strict=True)
            ],
            "figures": self.figures,
            "edges": [
                {
                    **vars(edge),
                    "source": nodes[edge.source].name,
                    "target": nodes[edge.target].name,
                }
                for edge in self.whole.edges
            ],
            "routes": [
                {**vars(path), "nodes": [nodes[node].name for node in path.nodes]}
                for path in self.paths
            ],
        }


def scored_groups(
    pruned: PrunedGraph,
    groups: Sequence[Supernode] | None = None,
    *,
    threshold: float = THRESHOLD,
    same_position: bool = True,
    readings: Sequence[Reading] | None = None,
    decoders: Floats | None = None,
    effects: Callable[[], Mapping[int, Floats]] | None = None,
    k: int = 5,
    seed: int = 0,
) -> ScoredGroups:
    """Score groups, by default those that are found at a `threshold`, with the k best routes.

    `effects`, as in `group_scores`, are only measured where there are groups; the others are as in
    `similarity`.
    """
    alike = similarity(pruned, decoders=decoders, readings=readings, same_position=same_position)
    if groups is None:
        groups = find_supernodes(pruned, alike, threshold=threshold)
    measured = effects() if effects is not None and groups else None
    scores = group_scores(groups, alike, readings=readings, effects=measured)
    figures = against_random(pruned, groups, alike, readings=readings, effects=measured, seed=seed)
    whole = supernode_graph(pruned, groups)
    paths = group_paths(pruned, whole, k=k)
    return ScoredGroups(pruned, tuple(groups), tuple(scores), figures, whole, tuple(paths))
