"""What a node does to the targets of its graph, in words."""

from __future__ import annotations

from circuit_tracer.graphs.graph import Graph, NodeKind
from circuit_tracer.graphs.target_effects import target_effects
from circuit_tracer.graphs.token_text import target_texts


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
