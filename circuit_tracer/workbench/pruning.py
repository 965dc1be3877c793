"""Prune a stored graph again: its files are rewritten, or written into a new folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from circuit_tracer.errors import OutputError
from circuit_tracer.experiments.trust.results_file import TRUST_FILE, fingerprint, read_verdict
from circuit_tracer.graphs import PrunedGraph, counts, load_graph, prune
from circuit_tracer.graphs.head_loadings import load_heads, loadings_after
from circuit_tracer.workbench.folders import Extras, formats_in, write_trace

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Repruned:
    """A graph before and after it was pruned again."""

    before: PrunedGraph
    after: PrunedGraph
    folder: Path
    files: Mapping[str, str]
    """What was written where, by its form."""

    def record(self) -> dict[str, Any]:
        """How much is kept and was kept, and the files, as JSON values."""
        return {"counts": counts(self.after), "before": counts(self.before), "files": self.files}

    def changes(self) -> list[str]:
        """How much is kept of nodes and edges, a sentence each."""
        then, now = counts(self.before), counts(self.after)
        return [
            f"{what}s {then[f'{what}s_kept']} -> {now[f'{what}s_kept']} of {now[f'{what}s']} "
            f"({what} threshold {getattr(self.before, f'{what}_threshold'):g} -> "
            f"{getattr(self.after, f'{what}_threshold'):g})"
            for what in ("node", "edge")
        ]


def prune_folder(
    graph: Path,
    out: Path | None = None,
    *,
    node_threshold: float = 0.8,
    edge_threshold: float = 0.98,
    max_nodes: int = 60,
    overwrite: bool = False,
) -> Repruned:
    """Prune a traced folder with other thresholds and rewrite it, or write the folder `out`.

    Head loadings go along as far as they are known. Raises OutputError where rewriting would drop
    what takes a model to make again, which only `overwrite` does.
    """
    before = load_graph(graph)
    folder = graph if graph.is_dir() else graph.parent
    after = prune(before.graph, node_threshold=node_threshold, edge_threshold=edge_threshold)
    final = out or folder
    loadings = load_heads(before, folder)
    heads = None if loadings is None else loadings_after(loadings, before, after)
    heads_lost = loadings is not None and heads is None
    same = out is None and fingerprint(after) == fingerprint(before)
    if not (same or out is not None or overwrite):
        _check_loss(before, folder, heads_lost=heads_lost)
    if heads_lost:
        logger.info(
            "edges are kept of whose heads nothing was stored; `circuit-tracer heads "
            f"{final} --save` takes them apart"
        )
    if out is None and not same and (folder / TRUST_FILE).is_file():
        logger.info(
            "the trust report is of other thresholds; `circuit-tracer trust` makes a new one"
        )
    extras = Extras(max_nodes, heads, folder)
    files = write_trace(
        after, final, formats_in(folder), extras, overwrite=overwrite or out is None
    )
    return Repruned(before, after, final, files)


def _check_loss(before: PrunedGraph, folder: Path, *, heads_lost: bool) -> None:
    verdict = read_verdict(folder, before)
    lost = ["the full trust report"] if verdict is not None and not verdict.is_brief else []
    lost += ["the head loadings"] if heads_lost else []
    if lost:
        raise OutputError(
            f"{' and '.join(lost)} in {folder} would not fit the new thresholds and be lost; write "
            "a new folder with `out`, or add `overwrite`"
        )
