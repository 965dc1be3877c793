"""The figure: valid, the same bytes every time, complete in what it says, deaf to hostile text."""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest

from circuit_tracer.graphs.graph import Direction, NodeKind, node_name
from circuit_tracer.graphs.pruning import PrunedGraph, prune
from circuit_tracer.render import palette
from circuit_tracer.render.selection import select
from circuit_tracer.render.text import printable
from circuit_tracer.workbench.drawing import View, pruned_drawing
from tests.graphs.builders import random_graph, thinned
from tests.render import builders
from tests.render.builders import svg

SVG = "{http://www.w3.org/2000/svg}"
CASES = [builders.small, builders.middle, builders.large, builders.hostile]
ALLOWED_TAGS = {"svg", "g", "title", "rect", "circle", "polygon", "path", "line", "text"}


def parsed(pruned: PrunedGraph, **options: int) -> ET.Element:
    return ET.fromstring(svg(pruned, **options).encode())


def of_class(root: ET.Element, name: str) -> list[ET.Element]:
    return [e for e in root.iter() if name in e.get("class", "").split()]


def texts(root: ET.Element) -> list[str]:
    return [e.text or "" for e in root.iter(f"{SVG}text")]


@pytest.mark.parametrize("case", CASES)
def test_every_node_and_edge_has_a_title(case) -> None:
    pruned = case()
    root, selection = parsed(pruned), select(pruned)
    nodes = of_class(root, "node")
    assert len(nodes) == len(selection.rows)
    for row, node in zip(selection.rows.tolist(), nodes, strict=True):
        title = node.find(f"{SVG}title")
        assert title is not None
        assert title.text
        if pruned.graph.nodes.kind[row] == NodeKind.FEATURE:
            assert node_name(pruned.graph, row) in title.text
            assert "influence" in title.text
            assert "activation" in title.text
    edges = of_class(root, "edges")[0].findall(f"{SVG}path")
    assert len(edges) == len(selection.edges)
    assert all("of what goes into its target" in e.findtext(f"{SVG}title", "") for e in edges)


@pytest.mark.parametrize("case", CASES)
def test_the_same_graph_gives_the_same_bytes(case) -> None:
    assert svg(case()) == svg(case())


def test_bytes_do_not_depend_on_the_hash_seed() -> None:
    program = "from tests.render.builders import middle, svg;"
    program += "import hashlib; print(hashlib.sha256(svg(middle()).encode()).hexdigest())"
    made = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(made) == 1


def test_hostile_text_stays_text() -> None:
    pruned = builders.hostile()
    document = svg(pruned)
    root = ET.fromstring(document.encode())
    assert {e.tag.removeprefix(SVG) for e in root.iter()} == ALLOWED_TAGS
    titles = " ".join(e.text or "" for e in root.iter(f"{SVG}title"))
    labels = {pruned.graph.nodes.label[row] for row in select(pruned).rows}
    assert len(labels & set(builders.HOSTILE)) > 10
    assert all(printable(label) in titles for label in labels)
    assert "\\u202eright" in " ".join(texts(root))
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e\ufffe\uffff]", document)
    assert "script>" not in re.sub(r"&lt;/?script&gt;", "", document)


def test_negative_edges_are_dashed_and_positive_ones_are_not() -> None:
    pruned = builders.small()
    root, selection = parsed(pruned), select(pruned)
    paths = of_class(root, "edges")[0].findall(f"{SVG}path")
    is_negative = pruned.graph.edges.weight[selection.edges[::-1]] < 0
    assert 0 < is_negative.sum() < len(is_negative)
    for path, negative in zip(paths, is_negative, strict=True):
        assert ("stroke-dasharray" in path.attrib) == negative
        assert path.get("stroke") == (palette.NEGATIVE if negative else palette.POSITIVE)


def test_wider_edges_have_larger_shares() -> None:
    root = parsed(builders.middle())
    shares, widths = [], []
    for path in of_class(root, "edges")[0].findall(f"{SVG}path"):
        said = re.search(r"([\d.]+) % of what", path.findtext(f"{SVG}title", ""))
        assert said
        shares.append(float(said[1]))
        widths.append(float(path.get("stroke-width", "")))
    order = np.argsort(shares, kind="stable")
    assert np.all(np.diff(np.array(widths)[order]) >= -0.07)
    assert max(widths) > 3 * min(widths)


def test_the_page_says_scores_settings_and_what_was_left_out() -> None:
    pruned = builders.large()
    words = texts(parsed(pruned, max_nodes=42))
    page = " ".join(words)
    for name in ("replacement", "completeness", "error share", "constant share", "conservation"):
        assert name in words
    assert f"{pruned.scores.replacement:.2f}" in words
    assert "sprout-plt" in words
    assert f"{int(pruned.node_kept.sum())} of {len(pruned.node_kept)}" in words
    assert "42 of 285 kept features and errors drawn: the 42 with most influence." in page
    assert {"yellow  62 %", "green  14 %"} <= set(words)
    assert pruned.graph.info.prompt in words


def test_long_labels_are_cut_on_the_page_and_whole_in_the_title() -> None:
    root = parsed(builders.large())
    whole = "things one can eat for breakfast or lunch"
    assert whole not in texts(root)
    assert any(re.fullmatch(r"L\d+/\d+ things one.*…", w) for w in texts(root))
    assert whole in " ".join(e.text or "" for e in root.iter(f"{SVG}title"))


def test_features_without_a_label_go_by_layer_and_index() -> None:
    pruned = builders.small()
    nodes = pruned.graph.nodes
    row = next(r for r in select(pruned).rows if nodes.kind[r] == 1 and not nodes.label[r])
    assert f"L{nodes.layer[row]}/{nodes.feature[row]}" in texts(parsed(pruned))


def test_errors_are_marked_as_errors() -> None:
    pruned = builders.small()
    errors = of_class(parsed(pruned), "error")
    assert len(errors) == (pruned.graph.nodes.kind[select(pruned).rows] == NodeKind.ERROR).sum() > 0
    for error in errors:
        assert error.find(f"{SVG}polygon") is not None
        assert error.findtext(f"{SVG}text") == "error"


def test_features_whose_inputs_were_not_computed_are_hollow() -> None:
    pruned = prune(random_graph(4, 6, 12, unexpanded=10), node_threshold=1.0)
    nodes = pruned.graph.nodes
    waiting = (nodes.kind == NodeKind.FEATURE) & ~nodes.expanded
    pruned = replace(pruned, node_kept=pruned.node_kept | waiting)
    root, rows = parsed(pruned), select(pruned).rows
    hollow = [
        node.find(f"{SVG}circle").get("fill") == palette.PAPER for node in of_class(root, "feature")
    ]
    features = rows[nodes.kind[rows] == NodeKind.FEATURE]
    assert hollow == (~nodes.expanded[features]).tolist()
    assert any(hollow)
    assert "feature, inputs not computed" in texts(root)


def test_a_contrast_shows_its_difference_of_logits() -> None:
    pruned = prune(builders.story(targets=(("yes - no", 0.5),), contrast=True))
    root = parsed(pruned)
    assert "yes - no  +9.00" in texts(root)
    assert "target and its difference of logits" in texts(root)
    titles = [title.text or "" for title in root.iter(f"{SVG}title")]
    assert any("difference of two logits +9.000" in one for one in titles)
    assert not any("probability" in one for one in titles)


def test_a_caption_says_what_a_direction_comes_to() -> None:
    """It has no probability."""
    pruned = builders.small()
    info = pruned.graph.info
    direction = Direction(layer=2, reads="mlp.hook_in", vector=(1.0,), constant=0.0)
    target = replace(info.targets[0], vocabulary_ids=(), probability=0.0, direction=direction)
    graph = replace(pruned.graph, info=replace(info, targets=(target, *info.targets[1:])))
    words = pruned_drawing(replace(pruned, graph=graph), View()).caption
    assert f'"{target.token}" (value {target.logit:+.2f})' in words


def test_a_token_without_a_node_is_still_named() -> None:
    pruned = builders.small()
    kept = pruned.node_kept.copy()
    kept[0] = False
    edges = pruned.edge_kept & (pruned.graph.edges.source != 0)
    root = parsed(replace(pruned, node_kept=kept, edge_kept=edges))
    assert len(of_class(root, "embedding")) == 3
    assert "[BOS]" in texts(root)


def test_text_stands_inside_the_page() -> None:
    root = parsed(builders.hostile())
    width = float(root.get("width", ""))
    assert root.get("viewBox") == f"0 0 {root.get('width')} {root.get('height')}"
    backs = [float(r.get("x", 0)) + float(r.get("width", 0)) for r in root.iter(f"{SVG}rect")]
    assert max(backs) <= width


def test_the_legend_tells_of_a_softcap_and_of_edges_too_small_to_keep() -> None:
    graph = thinned(builders.story(), mass=0.8)
    page = parsed(prune(replace(graph, info=replace(graph.info, logit_softcap=30.0))))
    words = " ".join(page.itertext())
    assert "Logits before the soft-cap of 30; probabilities after it." in words
    assert "dropped share" in words
    assert "soft-cap" not in svg(builders.small())
    assert "dropped share" not in svg(builders.small())
