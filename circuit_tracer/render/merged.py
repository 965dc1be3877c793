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
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.render import palette
from circuit_tracer.render.describe import edge_lines, node_lines
from circuit_tracer.render.drawing import Look, axis, draw, stripes
from circuit_tracer.render.edge_labels import MEANING, carriers_of, labels_of
from circuit_tracer.render.legend import LINE
from circuit_tracer.render.markup import element, figure, text, title
from circuit_tracer.render.places import Placed
from circuit_tracer.render.selection import Selection
from circuit_tracer.render.shapes import error_mark, labelled_mark, node_group, stroke, text_box
from circuit_tracer.render.svg import FOOTER, laid_out
from circuit_tracer.render.svg_page import (
    BOLD,
    SMALL,
    Block,
    bold,
    document,
    line,
    paper,
    paragraph,
    quiet,
    shift,
)
from circuit_tracer.render.text import printable, shorten_front_to_width, shorten_to_width

HEADER = 62.0
MAX_NODES = 50
COLORS = {Owner.BOTH: "#3d4148", Owner.FIRST: palette.POSITIVE, Owner.SECOND: palette.NEGATIVE}
FLIPPED = "#8a5a00"
"""Of edges that both graphs keep with opposite signs."""
PALE = 0.22
"""How much of its colour fills the box of a token or target."""
Carriers = Mapping[int, Sequence[Carrier]]


def merged_svg(
    merged: MergedGraph,
    first: PrunedGraph,
    second: PrunedGraph,
    *,
    overlap: str = "",
    max_nodes: int = MAX_NODES,
    heads: tuple[HeadLoadings | None, HeadLoadings | None] = (None, None),
    width_mm: float | None = None,
) -> str:
    """The merged graph as an SVG document.

    `overlap` is a sentence on how much they share, for the legend. With the `heads` of a graph its
    edges say which head carries them, as far as there is room. With `width_mm` the page is laid out
    for that width on paper.
    """
    pruned, graph = merged.pruned, merged.pruned.graph
    names = graph_names(first, second)
    selection, layout, margin = laid_out(pruned, width_mm, max_nodes)
    carried = merged_carriers(merged, (first, second), heads)
    # An edge of both says what carries it in the first graph that has heads stored.
    either = {**carried[1], **carried[0]}

    def flipped(edge: int) -> bool:
        return bool(merged.edge_flipped[edge])

    look = Look(
        color=lambda edge: (
            FLIPPED if flipped(edge) else COLORS[Owner(int(merged.edge_owner[edge]))]
        ),
        tooltip=lambda edge, share: title(
            *edge_lines(graph, edge, share),
            _whose(int(merged.edge_owner[edge])) + ", with opposite signs" * flipped(edge),
        ),
        node=lambda placed: _node(merged, placed),
    )
    remarks = f"{MEANING} {overlap}" if either else overlap
    key = _legend(merged, selection, names, remarks, layout.width)
    below = HEADER + layout.height + FOOTER
    parts = [
        title(f"Two attribution graphs: {names[0]} and {names[1]}"),
        paper(layout.width, below + key.height, margin=margin),
        shift(margin, margin, _header(first, second, layout.width)),
        shift(
            margin,
            margin + HEADER,
            stripes(layout, graph.info.n_layers),
            draw(graph, selection, layout, look, lambda lines: labels_of(graph, lines, either)),
            axis(graph, layout),
        ),
        shift(margin, margin + below, key.markup),
    ]
    return document(layout.width, below + key.height, parts, margin=margin)


def _header(first: PrunedGraph, second: PrunedGraph, width: float) -> str:
    """Both prompts, each with the mark of its graph, and what computed them."""
    parts = []
    infos = first.graph.info, second.graph.info
    for y, owner, info in zip((13.0, 33.0), (Owner.FIRST, Owner.SECOND), infos, strict=True):
        which = f" ({info.model.name})" if infos[0].model.name != infos[1].model.name else ""
        room = (width - 24) / BOLD
        prompt = shorten_front_to_width(printable(f"{info.prompt}{which}"), 14.0, room)
        parts.append(owner_mark(7.0, y - 5, 6.0, owner))
        parts.append(bold(prompt, 20, y, 14, COLORS[owner]))
    through = " and ".join(dict.fromkeys(info.dictionary.name for info in infos))
    models = " and ".join(dict.fromkeys(info.model.name for info in infos))
    below = f"attribution graphs of {models} through {through}, merged"
    below = shorten_to_width(printable(below), 10.0, width - 20)
    return "".join([*parts, quiet(below, 20, 50, font_size=10)])


def merged_carriers(
    merged: MergedGraph,
    graphs: tuple[PrunedGraph, PrunedGraph],
    heads: tuple[HeadLoadings | None, HeadLoadings | None],
) -> tuple[Carriers, Carriers]:
    """For each of the two graphs: the heads that carry its part of each merged edge."""
    edges = merged.pruned.graph.edges
    pairs = list(zip(edges.source.tolist(), edges.target.tolist(), strict=True))
    by_side: list[Carriers] = []
    for side, (pruned, loadings) in enumerate(zip(graphs, heads, strict=True)):
        ends = pruned.graph.edges
        own = carriers_of(ends, loadings)
        by_rows = {(int(ends.source[e]), int(ends.target[e])): heads for e, heads in own.items()}
        rows = [pair[side] for pair in merged.rows]
        of_pair = ((i, by_rows.get((rows[s], rows[t]))) for i, (s, t) in enumerate(pairs))
        by_side.append({i: carriers for i, carriers in of_pair if carriers})
    return by_side[0], by_side[1]


def _node(merged: MergedGraph, placed: Placed) -> str:
    owner = Owner(int(merged.node_owner[placed.row]))
    tooltip = title(*node_lines(merged.pruned, placed.row), _whose(owner))
    kind = NodeKind(int(merged.pruned.graph.nodes.kind[placed.row]))
    if kind in (NodeKind.EMBEDDING, NodeKind.LOGIT):
        box = text_box(placed, palette.mixed(COLORS[owner], PALE), COLORS[owner])
        return node_group(kind, tooltip, box)
    return owner_node(placed, kind, owner, tooltip)


def owner_node(placed: Placed, kind: NodeKind, owner: Owner, tooltip: str) -> str:
    """A feature or error with its label in the colour and shape of its graph."""
    place = placed.x, placed.y, placed.radius
    mark = error_mark(*place) if kind is NodeKind.ERROR else owner_mark(*place, owner)
    return labelled_mark(placed, mark, tooltip, kind, COLORS[owner])


def graph_names(first: PrunedGraph, second: PrunedGraph) -> tuple[str, str]:
    """What sets the two graphs apart: their prompts, models, dictionaries, else their order."""
    infos = first.graph.info, second.graph.info
    prompts = [f'"{printable(info.prompt).strip()}"' for info in infos]
    models = [printable(info.model.name) for info in infos]
    dictionaries = [printable(info.dictionary.name) for info in infos]
    for one, other in (prompts, models, dictionaries):
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


def _whose(owner: int) -> str:
    if owner == Owner.BOTH:
        return "in both graphs"
    return f"in the {Owner(owner).name.lower()} graph alone"


def _legend(
    merged: MergedGraph,
    selection: Selection,
    names: tuple[str, str],
    overlap: str,
    width: float,
) -> Block:
    """A mark with its words a line, then the sentences."""
    kinds = merged.pruned.graph.nodes.kind
    shown: list[tuple[Owner | None, str, str]] = []
    for owner, where, noun in (
        (Owner.BOTH, "in both", " features"),
        (Owner.FIRST, f"only in {names[0]}", ""),
        (Owner.SECOND, f"only in {names[1]}", ""),
    ):
        kept = int(((merged.node_owner == owner) & (kinds == NodeKind.FEATURE)).sum())
        label = shorten_front_to_width(f"{where}: {kept:,}{noun}", SMALL, width - 60)
        shown.append((owner, COLORS[owner], label))
    if count := int(merged.edge_flipped.sum()):
        shown.append((None, FLIPPED, f"edges of both with opposite signs: {count:,}"))
    parts, y = [line((0, 0), (width, 0), palette.RULE)], LINE
    for mark, color, label in shown:
        sample = stroke(False, 0.3, 0.7, color)
        parts += [] if mark is None else [owner_mark(8.0, y - 3, 5.0, mark)]
        parts.append(element("line", x1=18, y1=y - 3, x2=40, y2=y - 3, **sample))
        parts.append(text(label, 46, y, font_size=SMALL, fill=color))
        y += LINE
    sentences = (
        overlap,
        "Discs and edges take the colour of the graph that kept them; area: influence, the mean of "
        "both. Edges run upwards; dashed ones push their target down. Tokens that differ stand as "
        '"first | second".',
        *selection.sentences(),
    )
    below, y = paragraph(" ".join(filter(None, sentences)), 0, y + 2, width)
    return Block("".join([*parts, below]), y)
