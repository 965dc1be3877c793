"""What tests of the viewer leave on its page of the middle graph, and whether it is there again."""

from __future__ import annotations

import json

import numpy as np

from circuit_tracer.graphs.graph import NodeKind
from tests.render.builders import middle
from tests.render.conftest import Opened

STATE = "() => JSON.stringify(viewer.memory.whole())"
"""Marks and view of the page, whole."""


def features() -> list[int]:
    """The page's numbers of the features, those of most influence first."""
    pruned = middle()
    kept = pruned.kept_rows
    rows = np.flatnonzero(pruned.graph.nodes.kind[kept] == NodeKind.FEATURE)
    return [int(row) for row in rows[np.argsort(-pruned.influence[kept[rows]], kind="stable")]]


def work(opened: Opened) -> str:
    """Leave marks of every kind and a view that is not the first; gives the page's state."""
    first, second, third, *_ = features()
    opened.run(
        "([a, b, c]) => { const p = viewer.plots[0]; viewer.pinAll(p, [a, b, c, 0]);"
        " viewer.group(p, [a, b], 'colour \\u2192 \\u{1f34c}'); viewer.setThreshold(0.71);"
        " viewer.setEdges(40); viewer.setLinks('inputs'); viewer.select(p, c, true); }",
        [first, second, third],
    )
    opened.settled()
    opened.page.keyboard.press("r")
    opened.page.keyboard.type("what ripens")
    opened.page.keyboard.press("Enter")
    opened.page.keyboard.press("n")
    opened.page.keyboard.type("seen <b>twice</b>")
    opened.page.keyboard.press("Enter")
    opened.run(
        "() => { const d = viewer.diagram, p = viewer.plots[0]; d.moveTo(d.nodes[0], 90, 40);"
        " p.zoom(2.5, 300, 200); viewer.search.field.value = 'fruit'; viewer.search.update();"
        " viewer.search.hide(); viewer.showTab('pins'); d.fold(); }"
    )
    opened.settled()
    return kept(opened)


def kept(opened: Opened) -> str:
    """The page's state, once it has been saved."""
    opened.run("() => viewer.memory.save()")
    return str(opened.run(STATE))


def assert_same(state: str, expected: str) -> None:
    """Places of boxes are rounded, in a drawing of any size; all else is exact."""
    one, two = json.loads(state), json.loads(expected)
    for plots in zip(one["plots"], two["plots"], strict=True):
        places, wanted = ([place for _, *place in plot.pop("places")] for plot in plots)
        assert np.allclose(places, wanted, atol=0.2)
    assert one == two
