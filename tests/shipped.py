"""A spread of the shipped prompts, traced once for all tests that look at the graphs."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.prompts import DTYPES, Row, measure, prompts
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
        write_form(pruned, "json", path, slug)
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


ONE_OF_A_KIND = list({kind: i for i, (kind, _) in enumerate(prompts())}.values())
"""Places among the shipped prompts, whose graphs are made in float64, too."""
EVERY = 39
"""Of all shipped prompts, how many are traced besides; benchmarks/prompts.py traces them all."""


def places() -> list[int]:
    """Which of the shipped prompts are traced, one of each kind first."""
    more = range(0, len(prompts()), EVERY)
    return list(dict.fromkeys([*ONE_OF_A_KIND, *more]))


@cache
def _measured(transcoders: str) -> tuple[list[Row], list[Exported]]:
    models = {dtype: open_model("sprout", dtype=dtype, device="cpu") for dtype in DTYPES}
    exports: list[Exported] = []
    rows: list[Row] = []
    both, found = len(ONE_OF_A_KIND), places()
    for dtypes, some in ((DTYPES, found[:both]), (DTYPES[:1], found[both:])):
        chosen = {dtype: models[dtype] for dtype in dtypes}
        rows += measure(chosen, transcoders, lambda p: exports.append(exported(p)), places=some)
    return rows, exports


def rows(transcoders: str) -> list[Row]:
    """One row a prompt that is traced."""
    return _measured(transcoders)[0]


def exports(transcoders: str) -> list[Exported]:
    """One exchange JSON a prompt, in the order of `rows`."""
    return _measured(transcoders)[1]
