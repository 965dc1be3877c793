"""What comes of a prompt (a graph, or why there is none) and of a process's share of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from circuit_tracer.batch.manifest import Entry
from circuit_tracer.batch.run_file import RunInfo
from circuit_tracer.batch.tables import PromptRows, rows_of
from circuit_tracer.graphs.edges.store import UnorderedGraph
from circuit_tracer.graphs.head_loadings import LeadingHead
from circuit_tracer.graphs.pruning import PrunedGraph, prune

OnProgress = Callable[[str, int, int], None]
"""(stage, done, total)"""


@dataclass(frozen=True)
class Traced:
    """A prompt's whole graph, from which its rows are made."""

    entry: Entry
    graph: UnorderedGraph | PrunedGraph
    """Pruned as the run asks for if that had to be done to know more of it."""
    sweeping: float
    """Seconds of the sweep alone."""
    heads: tuple[LeadingHead, ...] = ()

    @property
    def n_edges(self) -> int:
        """Edges of the whole graph."""
        graph = self.graph
        return len(graph.graph.edges) if isinstance(graph, PrunedGraph) else graph.n_edges

    def rows(self, run: RunInfo) -> PromptRows:
        """Prune and make rows, in this process."""
        pruned = self.graph
        if isinstance(pruned, UnorderedGraph):
            pruned = prune(
                pruned.ordered(),
                node_threshold=run.node_threshold,
                edge_threshold=run.edge_threshold,
            )
        return rows_of(self.entry, pruned, run, self.heads)


class Outcome(NamedTuple):
    """What a process has done, and how the run stands."""

    traced: int
    """Prompts traced by this process."""
    done: int
    """Prompts of its share that have a graph."""
    failed: int
    """Prompts of its share that have failed, now or earlier."""
    total: int
    """Prompts and bad lines of its share."""
    sweeping: float
    """Seconds that this process spent in sweeps."""
    seconds: float
    """Seconds from the first group to the last row on disk."""
