"""What floating point promises: the one place that tests take tolerances of rounding from.

A sum of n terms computed in any order, with or without fused operations, misses the true one by at
most n unit roundoffs of the sum of the terms' magnitudes (Higham, "Accuracy and Stability of
Numerical Algorithms", chapter 4). CPUs, kernels and thread counts differ within that, and no
further. A fault of the code misses by a share of the terms themselves: 1e-3 and more in models as
small as those of the tests.
"""

from __future__ import annotations

import numpy as np
import torch

from circuit_tracer.graphs.graph import Floats, Graph

LONGEST_WAY = 1000
"""Terms that are added one after another on the longest way through a tiny model, there and back:
3 layers, each with products over d, the heads, the tokens and the MLP of 9 to 32 terms."""


def rounding(dtype: torch.dtype, *, n_terms: int = LONGEST_WAY) -> float:
    """By how much two computations of one sum may differ, as a share of its terms' magnitudes."""
    return n_terms * torch.finfo(dtype).eps / 2


def missed_shares(graph: Graph) -> Floats:
    """(rows,) by how much edges and constant of each row miss its value, as a share of the sum of
    their magnitudes: it is rounding even where the terms cancel and the value vanishes."""
    nodes, edges = graph.nodes, graph.edges
    n, rows = len(nodes), np.flatnonzero(nodes.expanded)
    received = np.bincount(edges.target, weights=edges.weight, minlength=n) + nodes.dropped
    gross = np.bincount(edges.target, weights=np.abs(edges.weight), minlength=n)
    missed = np.abs(received + nodes.constant - nodes.value)[rows]
    terms = (gross + nodes.dropped_total + np.abs(nodes.constant) + np.abs(nodes.value))[rows]
    shares: Floats = missed / terms
    return shares
