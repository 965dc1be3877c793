"""Nodes, edges, targets and scores in words: what tooltips, legends and the terminal say."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from circuit_tracer.graphs.files.q_params import note_of
from circuit_tracer.graphs.graph import Graph, NodeKind, Target, node_name
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.target_effects import target_effects
from circuit_tracer.graphs.token_text import prompt_texts, target_texts
from circuit_tracer.render.numbers import number, percent
from circuit_tracer.render.text import printable


def value_words(target: Target) -> str:
    """What the value of a target that is no single token is."""
    where = target.direction
    if where is None:
        return "difference of two logits"
    place = "after" if where.reads == "hook_resid_post" else "at the MLP of"
    return f"direction {place} layer {where.layer}"


def value_text(target: Target) -> str:
    """A token's probability; what a contrast or a direction comes to."""
    return percent(target.probability) if target.is_token else f"{target.logit:+.2f}"


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
    return printable(nodes.label[row]).strip() or feature_id(graph, row)


def called(graph: Graph, row: int) -> str:
    """`short_label`, for a feature after its id: "L3/117 banana → yellow".

    What stands for several features (index -1) has no id.
    """
    nodes, label = graph.nodes, short_label(graph, row)
    if nodes.kind[row] != NodeKind.FEATURE or nodes.feature[row] < 0:
        return label
    name = feature_id(graph, row)
    return label if label == name else f"{name} {label}"


def feature_id(graph: Graph, row: int) -> str:
    """ "L3/117": a feature's layer and index."""
    return f"L{graph.nodes.layer[row]}/{graph.nodes.feature[row]}"


def _token(graph: Graph, row: int) -> str:
    return prompt_texts(graph.info.tokens)[int(graph.nodes.position[row])]


def _target(graph: Graph, row: int) -> str:
    number: int = graph.target_rows.tolist().index(row)
    return target_texts(graph.info.targets)[number]


def node_lines(pruned: PrunedGraph, row: int) -> list[str]:
    """Everything a reader may want to know of one node, a fact a line, and what people wrote."""
    return [*_facts(pruned, row), *note_of(pruned.graph, row).splitlines()]


def _facts(pruned: PrunedGraph, row: int) -> list[str]:
    graph = pruned.graph
    nodes = graph.nodes
    kind = NodeKind(int(nodes.kind[row]))
    place = f'at token {nodes.position[row]} "{_token(graph, row)}"'
    influence = f"influence {percent(float(pruned.influence[row]))}"
    if kind is NodeKind.LOGIT:
        target = graph.info.targets[graph.target_rows.tolist().index(row)]
        return [
            f'target "{_target(graph, row)}"',
            f"probability {percent(target.probability)}, logit {target.logit:+.3f}"
            if target.is_token
            else f"{value_words(target)} {target.logit:+.3f}",
            f"weight {percent(float(nodes.weight[row]))} in the influence",
            node_name(graph, row),
        ]
    does = effect_lines(graph, row, most=1)
    if kind is NodeKind.EMBEDDING:
        return [f'token {nodes.position[row]} "{_token(graph, row)}"', influence, *does]
    if kind is NodeKind.ERROR:
        return [
            f"error of layer {nodes.layer[row]} {place}",
            "what the dictionary did not reconstruct",
            influence,
            *does,
            node_name(graph, row),
        ]
    if nodes.feature[row] < 0:
        where = f"several features, the strongest in layer {nodes.layer[row]} {place}"
        return [nodes.label[row], where, influence, *does]
    lines = [
        nodes.label[row] or "feature without a label",
        f"layer {nodes.layer[row]}, feature {nodes.feature[row]}, {place}",
        f"activation {number(float(nodes.activation[row]))}, {influence}",
        *does,
        node_name(graph, row),
    ]
    if not nodes.expanded[row]:
        lines.insert(-1, "its incoming edges were not computed")
    return lines


def edge_lines(graph: Graph, edge: int, share: float) -> list[str]:
    """One edge: its ends, its weight and what part of its target's input it is."""
    source, target = int(graph.edges.source[edge]), int(graph.edges.target[edge])
    weight = float(graph.edges.weight[edge])
    lines = [
        f"{short_label(graph, source)} → {short_label(graph, target)}",
        f"weight {weight:+.4g}, {percent(share)} of what goes into its target",
    ]
    kind, feature = graph.nodes.kind, graph.nodes.feature
    if not any(kind[row] == NodeKind.FEATURE and feature[row] < 0 for row in (source, target)):
        lines.append(f"{node_name(graph, source)} → {node_name(graph, target)}")
    return lines


@dataclass(frozen=True)
class ScoreLine:
    """One score as shown to a reader."""

    name: str
    value: str
    meaning: str
    """One plain sentence that is true of this value."""


def score_lines(pruned: PrunedGraph) -> tuple[ScoreLine, ...]:
    """The scores with what they mean, in the words their values allow."""
    return (*_shares(pruned), *_checks(pruned.graph))


def _shares(pruned: PrunedGraph) -> list[ScoreLine]:
    """What of the influence starts at tokens, and where the rest of it ends."""
    scores = pruned.scores
    replacement, completeness = scores.replacement, scores.completeness
    started = f"Of the influence that tokens and errors start, tokens start {percent(replacement)}"
    started += _grade(
        replacement,
        (0.7, ": errors start a large part"),
        ": errors start more than the prompt does",
    )
    missing = f"Errors are {percent(1 - completeness)} of what goes into the nodes that matter"
    missing += _grade(completeness, (0.8, ": read with care"), ": the routes miss most of it")
    errors = "Influence that ends in what the dictionary failed to reconstruct."
    if not len(pruned.graph.nodes.of_kind(NodeKind.ERROR)):
        started = missing = "The graph has no error nodes, so this says nothing here."
        errors = "The dictionary leaves no error."
    constants = "Influence that ends in biases and in what is zeroed at BOS: no route shows it."
    if scores.constant_share >= 0.5:
        constants = "More than half ends in biases and what is zeroed at BOS: no route shows it."
    lines = [
        ScoreLine("replacement", f"{replacement:.2f}", started),
        ScoreLine("completeness", f"{completeness:.2f}", missing),
        ScoreLine("error share", percent(scores.error_share), errors),
        ScoreLine("constant share", percent(scores.constant_share), constants),
    ]
    if scores.unexpanded_share > 0:
        meaning = "Influence that ends at features whose inputs were not computed (the budget)."
        lines.append(ScoreLine("unexpanded share", percent(scores.unexpanded_share), meaning))
    if scores.dropped_share > 0:
        low, high = scores.replacement_range
        meaning = (
            "Influence into edges too small to keep: with every edge and row, replacement is "
            f"from {math.floor(100 * low) / 100:.2f} to {math.ceil(100 * high) / 100:.2f}."
        )
        lines.append(ScoreLine("dropped share", percent(scores.dropped_share), meaning))
    return lines


def _grade(score: float, fair: tuple[float, str], bad: str) -> str:
    """What is to be added for a score below 0.5, and below the bound of `fair`."""
    bound, remark = fair
    return "." if score >= bound else f"{remark if score >= 0.5 else bad}."


def _checks(graph: Graph) -> list[ScoreLine]:
    """Whether edges add up, and what a sweep of lower precision lost on some of its rows."""
    residual, tolerance = graph.info.conservation_residual, graph.info.conservation_tolerance
    meaning = "Edges and constants add up to every node's value"
    if residual > tolerance:
        meaning = "Edges do NOT add up to the nodes' values"
    meaning += f" (tolerance {tolerance:.0e})."
    lines = [ScoreLine("conservation", f"{residual:.0e}", meaning)]
    audit = graph.info.settings.get("audit")
    if isinstance(audit, Mapping):
        meaning = (
            f"Relative error of {audit['rows']} rows swept again in float32: the median; the worst "
            f"{audit['worst']:.0e}."
        )
        lines.append(ScoreLine(f"{graph.info.dtype} audit", f"{audit['median']:.0e}", meaning))
    return lines


def features_there(graph: Graph) -> str:
    """What the features of the node table are: those that no kept edge reaches may be missing."""
    return "features with an edge" if graph.nodes.dropped_total.any() else "active features"


def softcap_line(graph: Graph) -> str:
    """What the targets' logits are where the model caps them; "" where it does not."""
    cap = graph.info.logit_softcap
    return f"Logits before the soft-cap of {cap:g}; probabilities after it." if cap else ""


def effect_lines(graph: Graph, row: int, most: int | None = None) -> list[str]:
    """ "raises yellow: directly +0.42, through other features +1.1", for the first targets.

    In logits, by the graph's first order. Nothing for a target.
    """
    if graph.nodes.kind[row] == NodeKind.LOGIT:
        return []
    effects, names = target_effects(graph), target_texts(graph.info.targets)
    columns = range(effects.total.shape[1])[:most]
    return [
        effect_words(names[i], float(effects.direct[row, i]), float(effects.indirect[row, i]))
        for i in columns
    ]


def effect_words(target: str, direct: float, indirect: float) -> str:
    """One target's line; the two parts are signed logits.

    >>> effect_words("yellow", 0.42, 1.1)
    'raises yellow: directly +0.42, through other features +1.1'
    >>> effect_words("red", 0.0, -0.0312)
    'lowers red: through other features -0.031'
    """
    parts = [("directly", direct), ("through other features", indirect)]
    said = [f"{way} {signed_logit(value)}" for way, value in parts if value]
    if not said:
        return f"has no effect on {target}"
    verb = "raises" if direct + indirect > 0 else "lowers"
    return f"{verb} {target}: {', '.join(said)}"


def signed_logit(value: float) -> str:
    """A sign and about two figures, three decimals at most: "+0.42", "-12", "+0.031"."""
    size = abs(value)
    return f"{value:+z.{0 if size >= 9.95 else 1 if size >= 0.995 else 2 if size >= 0.1 else 3}f}"
