"""A whole graph whose edges still lie as its rows came.

To put them in order takes a twentieth of the time that a small graph's rows took. It is done by
whoever needs the graph itself, in whatever process that is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from circuit_tracer.graphs.edges.store import EdgeStore
from circuit_tracer.graphs.graph import Graph, GraphInfo, Nodes


@dataclass(frozen=True)
class UnorderedGraph:
    """A `Graph` but for the order of its edges."""

    info: GraphInfo
    nodes: Nodes
    store: EdgeStore
    renumbered: NDArray[np.int32] | None = None
    """Row of each node that the store numbers in its own way; None where those are rows."""

    @property
    def n_edges(self) -> int:
        """Edges of the graph."""
        return self.store.count

    def ordered(self) -> Graph:
        """The graph; raises OutputError when its edges do not fit the disk they go to."""
        return Graph(self.info, self.nodes, self.store.edges(self.renumbered))
