"""Attribution graphs: the data type, influence, pruning, paths, and the forms they are kept in.

Imports numpy alone; networkx and pyarrow are imported by the functions that need them. Two
functions are not repeated here: `influence.influence`, which would hide its module, and
`networks.write`, whose name says little alone.
"""

from circuit_tracer.graphs.edges.store import EdgeStore
from circuit_tracer.graphs.files.atomic import new_file, new_folder
from circuit_tracer.graphs.files.exchange import (
    open_graph,
    read_exchange,
    to_exchange,
    write_exchange,
)
from circuit_tracer.graphs.files.exchange_reader import from_exchange
from circuit_tracer.graphs.files.network_formats import to_networkx
from circuit_tracer.graphs.files.records import counts, edge_table, node_table
from circuit_tracer.graphs.files.storage import load_graph, save_graph
from circuit_tracer.graphs.graph import (
    Edges,
    Graph,
    GraphInfo,
    Identity,
    NodeKind,
    Nodes,
    Target,
    node_name,
    node_names,
)
from circuit_tracer.graphs.influence import (
    Dropped,
    cumulative_influence,
    dropped_influence,
    edge_influence,
    flow,
    flow_in_parts,
    row_totals,
    totals,
)
from circuit_tracer.graphs.pruning import PrunedGraph, prune
from circuit_tracer.graphs.routes.paths import (
    Path,
    SignedMass,
    best_paths,
    direct_shares,
    path_mass,
    signed_mass,
)
from circuit_tracer.graphs.scores import Scores, scores

__all__ = [
    "Dropped",
    "EdgeStore",
    "Edges",
    "Graph",
    "GraphInfo",
    "Identity",
    "NodeKind",
    "Nodes",
    "Path",
    "PrunedGraph",
    "Scores",
    "SignedMass",
    "Target",
    "best_paths",
    "counts",
    "cumulative_influence",
    "direct_shares",
    "dropped_influence",
    "edge_influence",
    "edge_table",
    "flow",
    "flow_in_parts",
    "from_exchange",
    "load_graph",
    "new_file",
    "new_folder",
    "node_name",
    "node_names",
    "node_table",
    "open_graph",
    "path_mass",
    "prune",
    "read_exchange",
    "row_totals",
    "save_graph",
    "scores",
    "signed_mass",
    "to_exchange",
    "to_networkx",
    "totals",
    "write_exchange",
]
