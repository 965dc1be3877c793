"""The kept graph as a networkx graph and as files that other tools open.

Forms: GraphML and GEXF (Gephi, Cytoscape), node-link JSON (networkx, d3), and two tables, nodes and
edges, as CSV or Parquet. Nodes go by the names users see (`node_names`). What a node does not have
(an error node's activation) is left out, never written as NaN or None.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.files.atomic import new_file, new_folder
from circuit_tracer.graphs.files.json_values import plain, to_json
from circuit_tracer.graphs.files.records import edge_table, node_table
from circuit_tracer.graphs.graph import unique_names
from circuit_tracer.graphs.pruning import PrunedGraph

if TYPE_CHECKING:
    import networkx as nx

Form = Literal["graphml", "gexf", "node-link", "csv", "parquet"]

# XML 1.0 has no way to write these, not even escaped; a prompt or a label may hold them.
_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_networkx(pruned: PrunedGraph) -> nx.DiGraph[str]:
    """The kept graph, edges pointing the way influence goes (tokens to targets).

    Node attributes: kind, layer, position, token, feature, activation, influence, label. Edge
    attributes: weight (signed), sign, share (of the target's whole absolute input), influence.
    """
    import networkx as nx

    network: nx.DiGraph[str] = nx.DiGraph()
    info = pruned.graph.info
    facts = {
        "prompt": info.prompt,
        "model": info.model.name,
        "dictionary": info.dictionary.name,
        "node_threshold": pruned.node_threshold,
        "edge_threshold": pruned.edge_threshold,
        "replacement": pruned.scores.replacement,
        "completeness": pruned.scores.completeness,
    }
    network.graph.update(_present(facts))
    for node in sorted(node_table(pruned, None), key=lambda node: int(node["row"])):
        node.pop("row")
        name = node.pop("name")
        network.add_node(name, **_present(node))
    for edge in edge_table(pruned, None):
        source, target = edge.pop("source"), edge.pop("target")
        network.add_edge(source, target, **_present(edge))
    return network


def write(pruned: PrunedGraph, path: Path | str, form: str, *, overwrite: bool = False) -> None:
    """Write the kept graph in one of the forms; csv and parquet make a folder of two tables.

    Whole or not at all. Raises UsageError for an unknown form, OutputError for a place that is
    taken or cannot be written to.
    """
    if form not in get_args(Form):
        raise UsageError(
            f"There is no graph form {form!r}: choose one of {', '.join(get_args(Form))}."
        )
    if form in ("csv", "parquet"):
        with new_folder(path, overwrite, marker=f"nodes.{form}") as folder:
            _write_table(folder / f"nodes.{form}", node_table(pruned, None))
            _write_table(folder / f"edges.{form}", edge_table(pruned, None))
        return
    with new_file(path, overwrite) as file:
        _write_network(to_networkx(pruned), file, form)


def _write_network(network: nx.DiGraph[str], file: Path, form: str) -> None:
    import networkx as nx

    if form == "node-link":
        record = nx.node_link_data(network, edges="links")
        file.write_text(to_json(record) + "\n", encoding="utf-8")
    elif form == "graphml":
        nx.write_graphml(_for_xml(network), file)
    else:
        nx.write_gexf(_for_xml(network), file)


def _write_table(file: Path, rows: list[dict[str, Any]]) -> None:
    columns = list(rows[0]) if rows else []
    if file.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.table({name: [row[name] for row in rows] for name in columns})
        pq.write_table(table, file, compression="zstd")
        return
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)


def _present(attributes: dict[str, Any]) -> dict[str, Any]:
    """The attributes that are there, as plain Python scalars."""
    kept = {name: plain(value) for name, value in attributes.items()}
    return {name: value for name, value in kept.items() if value is not None}


def _for_xml(network: nx.DiGraph[str]) -> nx.DiGraph[str]:
    """A copy without the control characters that XML refuses; its values are plain scalars."""
    import networkx as nx

    names = unique_names((_xml_text(name) for name in network), "'")
    renamed = nx.relabel_nodes(network, dict(zip(network, names, strict=True)), copy=True)
    parts = [renamed.graph, *(attributes for _, attributes in renamed.nodes(data=True))]
    parts += [attributes for _, _, attributes in renamed.edges(data=True)]
    for attributes in parts:
        texts = {
            key: _xml_text(value) for key, value in attributes.items() if isinstance(value, str)
        }
        attributes |= texts
    return renamed


def _xml_text(text: str) -> str:
    return _NOT_IN_XML.sub("\ufffd", text)
