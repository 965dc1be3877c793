"""Nodes, edges, targets and scores in words: what tooltips, legends and the terminal say."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from circuit_tracer.graphs.graph import Graph, NodeKind, node_name
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.token_text import prompt_texts, target_texts
from circuit_tracer.render.numbers import number, percent
from circuit_tracer.render.text import printable


def short_label(graph: Graph, row: int) -> str:
    """The few words a node is called by: its label, "L3/117" without one, "error", the token."""
    nodes = graph.nodes
    kind = NodeKind(int(nodes.kind[row]))
    if kind is NodeKind.ERROR:
        return "error"
    if kind is NodeKind.EMBEDDING:
        return _token(graph, row)
    if kind is NodeKind.LOGIT:
        return _target(graph, row)
    return printable(nodes.label[row]).strip() or f"L{nodes.layer[row]}/{nodes.feature[row]}"


def _token(graph: Graph, row: int) -> str:
    return prompt_texts(graph.info.tokens)[int(graph.nodes.position[row])]


def _target(graph: Graph, row: int) -> str:
    number: int = graph.target_rows.tolist().index(row)
    return target_texts(graph.info.targets)[number]


def node_lines(pruned: PrunedGraph, row: int) -> list[str]:
    """Everything a reader may want to know of one node, a fact a line."""
    graph = pruned.graph
    nodes = graph.nodes
    kind = NodeKind(int(nodes.kind[row]))
    place = f'at token {nodes.position[row]} "{_token(graph, row)}"'
    influence = f"influence {percent(float(pruned.influence[row]))}"
    if kind is NodeKind.LOGIT:
        target = graph.info.targets[graph.target_rows.tolist().index(row)]
        return [
            f'target "{_target(graph, row)}"',
            f"probability {percent(target.probability)}, logit {target.logit:+.3f}",
            f"weight {percent(float(nodes.weight[row]))} in the influence",
            node_name(graph, row),
        ]
    if kind is NodeKind.EMBEDDING:
        return [f'token {nodes.position[row]} "{_token(graph, row)}"', influence]
    if kind is NodeKind.ERROR:
        return [
            f"error of layer {nodes.layer[row]} {place}",
            "what the dictionary did not reconstruct",
            influence,
            node_name(graph, row),
        ]
    lines = [
        nodes.label[row] or "feature without a label",
        f"layer {nodes.layer[row]}, feature {nodes.feature[row]}, {place}",
        f"activation {number(float(nodes.activation[row]))}, {influence}",
        node_name(graph, row),
    ]
    if not nodes.expanded[row]:
        lines.insert(3, "its incoming edges were not computed")
    return lines


def edge_lines(graph: Graph, edge: int, share: float) -> list[str]:
    """One edge: its ends, its weight and what part of its target's input it is."""
    source, target = int(graph.edges.source[edge]), int(graph.edges.target[edge])
    weight = float(graph.edges.weight[edge])
    return [
        f"{short_label(graph, source)} → {short_label(graph, target)}",
        f"weight {weight:+.4g}, {percent(share)} of what goes into its target",
        f"{node_name(graph, source)} → {node_name(graph, target)}",
    ]


@dataclass(frozen=True)
class ScoreLine:
    """One score as shown to a reader."""

    name: str
    value: str
    meaning: str
    """One plain sentence that is true of this value."""


def score_lines(pruned: PrunedGraph) -> tuple[ScoreLine, ...]:
    """The scores with what they mean, in the words their values allow."""
    return (
        _replacement(pruned),
        _completeness(pruned),
        _errors(pruned),
        _constants(pruned),
        *_unexpanded(pruned),
        *_dropped(pruned),
        _conservation(pruned.graph),
        *_audit(pruned.graph),
    )


def _has_errors(pruned: PrunedGraph) -> bool:
    return len(pruned.graph.nodes.of_kind(NodeKind.ERROR)) > 0


def _replacement(pruned: PrunedGraph) -> ScoreLine:
    score = pruned.scores.replacement
    started = f"Of the influence that tokens and errors start, tokens start {percent(score)}"
    if not _has_errors(pruned):
        meaning = "The graph has no error nodes, so this says nothing here."
    elif score >= 0.7:
        meaning = f"{started}."
    elif score >= 0.5:
        meaning = f"{started}: errors start a large part."
    else:
        meaning = f"{started}: errors start more than the prompt does."
    return ScoreLine("replacement", f"{score:.2f}", meaning)


def _completeness(pruned: PrunedGraph) -> ScoreLine:
    score = pruned.scores.completeness
    missing = f"Errors are {percent(1 - score)} of what goes into the nodes that matter"
    if not _has_errors(pruned):
        meaning = "The graph has no error nodes, so this says nothing here."
    elif score >= 0.8:
        meaning = f"{missing}."
    elif score >= 0.5:
        meaning = f"{missing}: read with care."
    else:
        meaning = f"{missing}: the routes miss most of it."
    return ScoreLine("completeness", f"{score:.2f}", meaning)


def _errors(pruned: PrunedGraph) -> ScoreLine:
    share = pruned.scores.error_share
    if not _has_errors(pruned):
        meaning = "The dictionary leaves no error."
    else:
        meaning = "Influence that ends in what the dictionary failed to reconstruct."
    return ScoreLine("error share", percent(share), meaning)


def _constants(pruned: PrunedGraph) -> ScoreLine:
    share = pruned.scores.constant_share
    meaning = "Influence that ends in biases and in what is zeroed at BOS: no route shows it."
    if share >= 0.5:
        meaning = "More than half ends in biases and what is zeroed at BOS: no route shows it."
    return ScoreLine("constant share", percent(share), meaning)


def _unexpanded(pruned: PrunedGraph) -> tuple[ScoreLine, ...]:
    share = pruned.scores.unexpanded_share
    if share <= 0:
        return ()
    meaning = "Influence that ends at features whose inputs were not computed (the budget)."
    return (ScoreLine("unexpanded share", percent(share), meaning),)


def _dropped(pruned: PrunedGraph) -> tuple[ScoreLine, ...]:
    scores = pruned.scores
    if scores.dropped_share <= 0:
        return ()
    low, high = scores.replacement_range
    meaning = (
        "Influence into edges too small to keep: with every edge and row, replacement is "
        f"from {_floor(low)} to {_ceiling(high)}."
    )
    return (ScoreLine("dropped share", percent(scores.dropped_share), meaning),)


def _floor(share: float) -> str:
    return f"{math.floor(100 * share) / 100:.2f}"


def _ceiling(share: float) -> str:
    return f"{math.ceil(100 * share) / 100:.2f}"


def features_there(graph: Graph) -> str:
    """What the features of the node table are: those that no kept edge reaches may be missing."""
    return "features with an edge" if graph.nodes.dropped_total.any() else "active features"


def softcap_line(graph: Graph) -> str:
    """What the targets' logits are where the model caps them; "" where it does not."""
    cap = graph.info.logit_softcap
    return f"Logits before the soft-cap of {cap:g}; probabilities after it." if cap else ""


def _conservation(graph: Graph) -> ScoreLine:
    residual, tolerance = graph.info.conservation_residual, graph.info.conservation_tolerance
    if residual <= tolerance:
        meaning = f"Edges and constants add up to every node's value (tolerance {tolerance:.0e})."
    else:
        meaning = f"Edges do NOT add up to the nodes' values (tolerance {tolerance:.0e})."
    return ScoreLine("conservation", f"{residual:.0e}", meaning)


def _audit(graph: Graph) -> tuple[ScoreLine, ...]:
    """What a sweep of lower precision lost, as it was measured on some of its rows."""
    found = graph.info.settings.get("audit")
    if not isinstance(found, Mapping):
        return ()
    meaning = (
        f"Relative error of {found['rows']} rows swept again in float32: the median; the worst "
        f"{found['worst']:.0e}."
    )
    return (ScoreLine(f"{graph.info.dtype} audit", f"{found['median']:.0e}", meaning),)
