"""The merged figure: two graphs on one page, what they share and what each has alone.

Whose a node is shows by colour and by shape: a full disc is in both graphs, a disc whose left half
is filled in the first alone, one whose right half is filled in the second alone. Edges take the
colour of their graph; dashes, as in the figure of one graph, push their target down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from circuit_tracer.graphs.comparing.merging import MergedGraph, Owner
from circuit_tracer.graphs.graph import NodeKind
from circuit_tracer.graphs.head_loadings import Carrier, HeadLoadings
from circuit_tracer.graphs.influence import edge_shares
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.render import palette
from circuit_tracer.render.curves import Curve, curves
from circuit_tracer.render.describe import edge_lines, node_lines
from circuit_tracer.render.edge_labels import (
    MEANING,
    carriers_of,
    label_shape,
    labels_of,
    place_labels,
)
from circuit_tracer.render.layout import lay_out
from circuit_tracer.render.legend import LINE, SIZE, wrap
from circuit_tracer.render.markup import element, figure, text, title
from circuit_tracer.render.node_labels import LABEL_GAP, LABEL_SIZE, TOKEN_SIZE
from circuit_tracer.render.places import Layout, Placed
from circuit_tracer.render.selection import Selection, select
from circuit_tracer.render.shapes import error_mark, stroke
from circuit_tracer.render.svg import FOOTER, MARGIN, axis, document, shift, stripes
from circuit_tracer.render.text import printable, shorten_front_to_width

HEADER = 62.0
MAX_NODES = 50
COLORS = {Owner.BOTH: "#3d4148", Owner.FIRST: palette.POSITIVE, Owner.SECOND: palette.NEGATIVE}
PALE = 0.22
"""How much of its colour fills the box of a token or target."""


def merged_svg(
    merged: MergedGraph,
    first: PrunedGraph,
    second: PrunedGraph,
    *,
    overlap: str = "",
    max_nodes: int = MAX_NODES,
    heads: tuple[HeadLoadings | None, HeadLoadings | None] = (None, None),
) -> str:
    """The merged graph as an SVG document.

    `overlap` is a sentence on how much they share, for the legend. With the `heads` of a graph its
    edges say which head carries them, as far as there is room.
    """
    pruned = merged.pruned
    names = graph_names(first, second)
    selection = select(pruned, max_nodes=max_nodes)
    layout = lay_out(pruned, selection)
    carried = merged_carriers(merged, (first, second), heads)
    said = overlap if not any(carried) else f"{MEANING} {overlap}"
    key, key_height = _legend(merged, selection, names, said, layout.width)
    height = HEADER + layout.height + FOOTER + key_height
    heading = f"Two attribution graphs: {names[0]} and {names[1]}"
    parts = [
        title(heading),
        element(
            "rect", width=layout.width + 2 * MARGIN, height=height + 2 * MARGIN, fill=palette.PAPER
        ),
        shift(MARGIN, MARGIN, _header(first, second, layout.width)),
        shift(
            MARGIN,
            MARGIN + HEADER,
            stripes(layout, pruned.graph.info.n_layers),
            _edges(merged, selection, layout, carried),
            _nodes(merged, layout),
            axis(pruned, layout),
        ),
        shift(MARGIN, MARGIN + HEADER + layout.height + FOOTER, key),
    ]
    return document(layout.width, height, parts)


def _header(first: PrunedGraph, second: PrunedGraph, width: float) -> str:
    """Both prompts, each with the sign of its graph, and what computed them."""
    parts = []
    for line, (owner, one) in enumerate(((Owner.FIRST, first), (Owner.SECOND, second))):
        y = 13.0 + 20 * line
        prompt = shorten_front_to_width(printable(one.graph.info.prompt), 14.0, (width - 24) / 1.14)
        parts.append(owner_mark(7.0, y - 5, 6.0, owner))
        parts.append(text(prompt, 20, y, font_size=14, font_weight="bold", fill=COLORS[owner]))
    infos = first.graph.info, second.graph.info
    through = " and ".join(dict.fromkeys(info.dictionary.name for info in infos))
    below = f"attribution graphs of {infos[0].model.name} through {through}, merged"
    parts.append(text(below, 20, 50, font_size=10, fill=palette.QUIET))
    return "".join(parts)


def merged_carriers(
    merged: MergedGraph,
    graphs: tuple[PrunedGraph, PrunedGraph],
    heads: tuple[HeadLoadings | None, HeadLoadings | None],
) -> tuple[Mapping[int, Sequence[Carrier]], Mapping[int, Sequence[Carrier]]]:
    """For each of the two graphs: the heads that carry its part of each merged edge."""
    edges = merged.pruned.graph.edges
    pairs = list(zip(edges.source.tolist(), edges.target.tolist(), strict=True))
    found: list[dict[int, Sequence[Carrier]]] = []
    for side, (one, loadings) in enumerate(zip(graphs, heads, strict=True)):
        own = carriers_of(one.graph.edges, loadings)
        ends = one.graph.edges
        by_rows = {(int(ends.source[e]), int(ends.target[e])): ones for e, ones in own.items()}
        rows = [pair[side] for pair in merged.rows]
        of_pair = ((i, by_rows.get((rows[s], rows[t]))) for i, (s, t) in enumerate(pairs))
        found.append({i: ones for i, ones in of_pair if ones})
    return found[0], found[1]


def _edges(
    merged: MergedGraph,
    selection: Selection,
    layout: Layout,
    carried: tuple[Mapping[int, Sequence[Carrier]], Mapping[int, Sequence[Carrier]]],
) -> str:
    """Weakest first, those of one graph alone above those of both; then what is written on them."""
    graph = merged.pruned.graph
    shares = edge_shares(graph, selection.edges)
    strongest = max(selection.flow.max(initial=0.0), 1e-30)
    lines = curves(graph, selection, layout)
    drawn = zip(lines, shares, selection.flow, strict=True)
    shapes = [_edge(merged, c, float(s), float(f / strongest)) for c, s, f in drawn][::-1]
    # An edge of both says what carries it in the first graph that has heads stored.
    words = labels_of(graph, lines, {**carried[1], **carried[0]})
    shapes += [
        label_shape(label, COLORS[Owner(int(merged.edge_owner[label.edge]))])
        for label in place_labels(lines, words, layout)
    ]
    return element("g", *(f"\n{shape}" for shape in shapes), class_="edges")


def _edge(merged: MergedGraph, curve: Curve, share: float, flow: float) -> str:
    graph = merged.pruned.graph
    owner = Owner(int(merged.edge_owner[curve.edge]))
    tooltip = title(*edge_lines(graph, curve.edge, share), _whose(owner))
    negative = float(graph.edges.weight[curve.edge]) < 0
    return owner_edge(curve, owner, tooltip, negative=negative, share=share, flow=flow)


def owner_edge(
    curve: Curve, owner: Owner, tooltip: str, *, negative: bool, share: float, flow: float
) -> str:
    """A curve in the colour of its graph."""
    points = [f"{figure(x)},{figure(y)}" for x, y in curve.points]
    line = stroke(negative, share, flow)
    line["stroke"] = COLORS[owner]
    path = f"M{points[0]} C{points[1]} {points[2]} {points[3]}"
    return element("path", tooltip, d=path, **line)


def _nodes(merged: MergedGraph, layout: Layout) -> str:
    shapes = [_node(merged, placed) for placed in layout.placed.values()]
    return element("g", *(f"\n{shape}" for shape in shapes), class_="nodes")


def _node(merged: MergedGraph, placed: Placed) -> str:
    owner = Owner(int(merged.node_owner[placed.row]))
    tooltip = title(*node_lines(merged.pruned, placed.row), _whose(owner))
    kind = NodeKind(int(merged.pruned.graph.nodes.kind[placed.row]))
    return owner_node(placed, kind, owner, tooltip)


def owner_node(placed: Placed, kind: NodeKind, owner: Owner, tooltip: str) -> str:
    """A node with its label in the colour and shape of its graph."""
    if kind in (NodeKind.EMBEDDING, NodeKind.LOGIT):
        return element("g", tooltip, _box(placed, owner), class_=f"node {kind.word}")
    if kind is NodeKind.ERROR:
        mark = error_mark(placed.x, placed.y, placed.radius)
    else:
        mark = owner_mark(placed.x, placed.y, placed.radius, owner)
    backing = element(
        "rect",
        x=placed.x,
        y=placed.y - LABEL_SIZE / 2 - 1,
        width=placed.box.right - placed.x + 1,
        height=LABEL_SIZE + 2,
        rx=3,
        fill=palette.PAPER,
        fill_opacity=0.82,
    )
    label = text(
        placed.label,
        placed.mark.right + LABEL_GAP,
        placed.y + LABEL_SIZE * 0.35,
        font_size=LABEL_SIZE,
        fill=COLORS[owner],
    )
    return element("g", tooltip, backing, mark, label, class_=f"node {kind.word}")


def graph_names(first: PrunedGraph, second: PrunedGraph) -> tuple[str, str]:
    """What tells the two graphs apart: their prompts, else their dictionaries, else their order."""
    infos = first.graph.info, second.graph.info
    prompts = [f'"{printable(info.prompt).strip()}"' for info in infos]
    dictionaries = [printable(info.dictionary.name) for info in infos]
    for one, other in (prompts, dictionaries):
        if one != other:
            return one, other
    return "the first", "the second"


def owner_mark(x: float, y: float, radius: float, owner: Owner) -> str:
    """A disc in the colour of its graph; of a graph's own features one half is filled."""
    size, color = radius - 0.5, COLORS[owner]
    if owner is Owner.BOTH:
        return element("circle", cx=x, cy=y, r=size, fill=color)
    ring = element("circle", cx=x, cy=y, r=size, fill=palette.PAPER, stroke=color, stroke_width=1.2)
    sweep = 0 if owner is Owner.FIRST else 1
    arc = f"A{figure(size)},{figure(size)} 0 0 {sweep} {figure(x)},{figure(y + size)}"
    return ring + element("path", d=f"M{figure(x)},{figure(y - size)} {arc} Z", fill=color)


def _box(placed: Placed, owner: Owner) -> str:
    """A token or target, its box in the colour of its graph."""
    box = element(
        "rect",
        x=placed.mark.left,
        y=placed.mark.top,
        width=placed.mark.right - placed.mark.left,
        height=placed.mark.bottom - placed.mark.top,
        rx=4,
        fill=palette.mixed(COLORS[owner], PALE),
        stroke=COLORS[owner],
        stroke_width=1,
    )
    words = text(
        placed.label,
        placed.x,
        placed.y + TOKEN_SIZE * 0.35,
        font_size=TOKEN_SIZE,
        text_anchor="middle",
        fill=palette.INK,
    )
    return box + words


def _whose(owner: Owner) -> str:
    if owner is Owner.BOTH:
        return "in both graphs"
    return f"in the {owner.name.lower()} graph alone"


def _legend(
    merged: MergedGraph,
    selection: Selection,
    names: tuple[str, str],
    overlap: str,
    width: float,
) -> tuple[str, float]:
    """A mark with its words a line, then the sentences; markup from (0, 0) on, and its height."""
    kinds = merged.pruned.graph.nodes.kind
    kept = {
        owner: int(((merged.node_owner == owner) & (kinds == NodeKind.FEATURE)).sum())
        for owner in Owner
    }
    words = {
        Owner.BOTH: f"in both: {kept[Owner.BOTH]:,} features",
        Owner.FIRST: f"only in {names[0]}: {kept[Owner.FIRST]:,}",
        Owner.SECOND: f"only in {names[1]}: {kept[Owner.SECOND]:,}",
    }
    parts = [element("line", x1=0, y1=0, x2=width, y2=0, stroke=palette.RULE)]
    y = LINE
    for owner in Owner:
        label = shorten_front_to_width(words[owner], SIZE, width - 60)
        parts += [
            owner_mark(8.0, y - 3, 5.0, owner),
            element("line", x1=18, y1=y - 3, x2=40, y2=y - 3, **_sample(owner)),
            text(label, 46, y, font_size=SIZE, fill=COLORS[owner]),
        ]
        y += LINE
    said = (
        overlap,
        "Discs and edges take the colour of the graph that kept them; area: influence, the mean of "
        "both. Edges run upwards; dashed ones push their target down. Tokens that differ stand as "
        '"first | second".',
        *selection.sentences(),
    )
    y += 2
    for line in wrap(" ".join(one for one in said if one), SIZE, width):
        parts.append(text(line, 0, y, font_size=SIZE, fill=palette.INK))
        y += LINE - 2
    return "".join(parts), y


def _sample(owner: Owner) -> dict[str, str | float]:
    line = stroke(False, 0.3, 0.7)
    line["stroke"] = COLORS[owner]
    return line
