"""Exact attribution graphs of language models: trace, prune, read, check.

    >>> import circuit_tracer as ct
    >>> g = ct.trace("a banana is", model="sprout", transcoders="plt", targets=["yellow"])
    >>> g.scores.replacement > 0.5
    True

Names are imported when first used, so that reading a graph never imports torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_MODULES = {
    "attribution": "TraceSettings",
    "attribution.head_loadings": "head_loadings",
    "attribution.head_ways": "head_parts",
    "attribution.qk": "explain_score",
    "graphs": "Graph PrunedGraph best_paths load_graph prune save_graph",
    "graphs.routes.head_paths": "best_head_paths",
    "interventions.engine": "intervene",
    "models": "Model open_model",
    "transcoders.dictionary": "Dictionary",
    "transcoders.neurons": "open_neurons",
    "transcoders.opening": "open_transcoders",
    "workbench.calls": "dissociate steer totals trace",
    "workbench.circuiting": "circuit",
    "workbench.diffing": "diff",
    "workbench.drawing": "View graph_svg",
    "workbench.editing": "edits",
    "workbench.loading": "compare load",
    "workbench.monitoring": "monitor",
    "workbench.opening": "open_pair reopen",
    "workbench.stepping": "read_steps steps",
    "workbench.traced_graph": "TracedGraph",
    "workbench.tracing": "FolderSettings trace_into",
    "workbench.viewing": "write_page",
}
"""The public names by the module they are from."""
_HOME = {name: module for module, names in _MODULES.items() for name in names.split()}

__all__ = [
    "Dictionary",
    "FolderSettings",
    "Graph",
    "Model",
    "PrunedGraph",
    "TraceSettings",
    "TracedGraph",
    "View",
    "best_head_paths",
    "best_paths",
    "circuit",
    "compare",
    "diff",
    "dissociate",
    "edits",
    "explain_score",
    "graph_svg",
    "head_loadings",
    "head_parts",
    "intervene",
    "load",
    "load_graph",
    "monitor",
    "open_model",
    "open_neurons",
    "open_pair",
    "open_transcoders",
    "prune",
    "read_steps",
    "reopen",
    "save_graph",
    "steer",
    "steps",
    "totals",
    "trace",
    "trace_into",
    "write_page",
]

if TYPE_CHECKING:
    from circuit_tracer.attribution import TraceSettings
    from circuit_tracer.attribution.head_loadings import head_loadings
    from circuit_tracer.attribution.head_ways import head_parts
    from circuit_tracer.attribution.qk import explain_score
    from circuit_tracer.graphs import (
        Graph,
        PrunedGraph,
        best_paths,
        load_graph,
        prune,
        save_graph,
    )
    from circuit_tracer.graphs.routes.head_paths import best_head_paths
    from circuit_tracer.interventions.engine import intervene
    from circuit_tracer.models import Model, open_model
    from circuit_tracer.transcoders.dictionary import Dictionary
    from circuit_tracer.transcoders.neurons import open_neurons
    from circuit_tracer.transcoders.opening import open_transcoders
    from circuit_tracer.workbench.calls import dissociate, steer, totals, trace
    from circuit_tracer.workbench.circuiting import circuit
    from circuit_tracer.workbench.diffing import diff
    from circuit_tracer.workbench.drawing import View, graph_svg
    from circuit_tracer.workbench.editing import edits
    from circuit_tracer.workbench.loading import compare, load
    from circuit_tracer.workbench.monitoring import monitor
    from circuit_tracer.workbench.opening import open_pair, reopen
    from circuit_tracer.workbench.stepping import read_steps, steps
    from circuit_tracer.workbench.traced_graph import TracedGraph
    from circuit_tracer.workbench.tracing import FolderSettings, trace_into
    from circuit_tracer.workbench.viewing import write_page


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'circuit_tracer' has no attribute {name!r}")
    return getattr(import_module(f"circuit_tracer.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
