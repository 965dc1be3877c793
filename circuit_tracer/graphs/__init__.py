"""Attribution graphs: the data type, influence, pruning, paths, and the forms they are kept in.

Imports numpy alone; networkx and pyarrow are imported by the functions that need them.
"""

from circuit_tracer.graphs.files.atomic import new_file, new_folder
from circuit_tracer.graphs.files.exchange import open_graph, to_exchange, write_exchange
from circuit_tracer.graphs.files.exchange_reader import from_exchange
from circuit_tracer.graphs.files.network_formats import to_networkx
from circuit_tracer.graphs.files.records import counts
from circuit_tracer.graphs.files.storage import load_graph, save_graph
from circuit_tracer.graphs.graph import (
    Edges,
    Graph,
    Identity,
    NodeKind,
    Nodes,
    Target,
    node_name,
    node_names,
)
from circuit_tracer.graphs.pruning import PrunedGraph, prune
from circuit_tracer.graphs.routes.paths import best_paths

__all__ = [
    "Edges",
    "Graph",
    "Identity",
    "NodeKind",
    "Nodes",
    "PrunedGraph",
    "Target",
    "best_paths",
    "counts",
    "from_exchange",
    "load_graph",
    "new_file",
    "new_folder",
    "node_name",
    "node_names",
    "open_graph",
    "prune",
    "save_graph",
    "to_exchange",
    "to_networkx",
    "write_exchange",
]
