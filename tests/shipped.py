"""Every shipped prompt, traced once for all tests that look at the graphs."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.prompts import DTYPES, Row, measure
from circuit_tracer.graphs import PrunedGraph
from circuit_tracer.models import open_model
from circuit_tracer.workbench.folders import write_form


class Exported(NamedTuple):
    """A graph's exchange JSON with what it was made of."""

    kept: PrunedGraph
    """What was kept of the graph, and nothing else: the whole ones are too large to hold."""
    text: str


def exported(pruned: PrunedGraph, slug: str = "a-slug") -> Exported:
    """What `export` writes of a graph."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.json"
        write_form(pruned, "json", path, slug=slug, max_nodes=60)
        text = path.read_text(encoding="utf-8")
    rows, graph = pruned.kept_rows, pruned.kept_graph()
    kept = PrunedGraph(
        graph=graph,
        node_threshold=pruned.node_threshold,
        edge_threshold=pruned.edge_threshold,
        node_kept=np.ones(len(rows), dtype=np.bool_),
        edge_kept=np.ones(len(graph.edges), dtype=np.bool_),
        influence=pruned.influence[rows],
        scores=pruned.scores,
        shares=pruned.cumulative[rows],
    )
    return Exported(kept, text)


EVERY = {"plt": 1, "clt": 3}
"""Of the shipped prompts, how many are traced: all per layer, a third across layers."""


@cache
def _measured(transcoders: str) -> tuple[list[Row], list[Exported]]:
    models = {"float32": open_model("sprout", device="cpu")}
    exports: list[Exported] = []
    every = EVERY[transcoders]
    found = measure(models, transcoders, lambda p: exports.append(exported(p)), every=every)
    return found, exports


@cache
def rows_of_both_dtypes(transcoders: str) -> list[Row]:
    """One row each of some prompts of every kind, traced in float32 and in float64."""
    models = {dtype: open_model("sprout", dtype=dtype, device="cpu") for dtype in DTYPES}
    return measure(models, transcoders, every=7)


def rows(transcoders: str) -> list[Row]:
    """One row a prompt."""
    return _measured(transcoders)[0]


def exports(transcoders: str) -> list[Exported]:
    """One exchange JSON a prompt, in the order of `rows`."""
    return _measured(transcoders)[1]
