"""`sg_pos`: dragged boxes of the route diagram leave the page and come back, in others' order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from circuit_tracer.graphs.files.exchange import from_exchange, to_exchange
from circuit_tracer.graphs.files.q_params import pins_of, with_pins
from circuit_tracer.graphs.graph import NodeKind
from circuit_tracer.render.html import page
from circuit_tracer.render.html_data import Shown, record
from tests.render.builders import middle
from tests.render.conftest import Open, Opened


def _ids() -> dict[str, list[str]]:
    """Exchange ids of the kept nodes by kind, in the order of the file."""
    record = to_exchange(middle(), slug="x")
    found: dict[str, list[str]] = {}
    for node in record["nodes"]:
        found.setdefault(node["feature_type"], []).append(node["node_id"])
    return found


def _params(sg_pos: str = "") -> dict[str, object]:
    """Pins of every kind and two groups; features whose numbers have the same digits, too."""
    ids = _ids()
    features = ids["cross layer transcoder"]
    groups = [["first", features[9], features[2]], ["second", *features[20:23]]]
    pinned = [
        *features[2:14],
        *features[20:23],
        ids["embedding"][1],
        ids["mlp reconstruction error"][0],
    ]
    pinned += ids["logit"]
    return {"pinnedIds": pinned, "supernodes": groups, "sg_pos": sg_pos}


def _in_their_order(params: dict[str, object]) -> list[str]:
    """The boxes by the rules of Anthropic's page: names of groups, ids of single pins.

    Nodes are sorted by `+layer` with the embeddings' "E" (NaN) last, groups come after them; then
    d3.sort by d3.sort("feature feature ..."), arrays of characters, compared as joined texts.
    """
    nodes = to_exchange(middle(), slug="x")["nodes"]
    deepest = max(int(n["layer"]) for n in nodes if n["feature_type"] not in ("embedding", "logit"))

    def level(node: dict[str, str]) -> float:
        if node["feature_type"] == "logit":
            return deepest + 1
        return float("inf") if node["layer"] == "E" else int(node["layer"])

    feature = {node["node_id"]: str(node["feature"]) for node in nodes}
    groups = {str(name): members for name, *members in params["supernodes"]}  # type: ignore[attr-defined]
    grouped = {one for members in groups.values() for one in members}
    pinned = set(params["pinnedIds"])  # type: ignore[call-overload]
    boxes = [
        (node["node_id"], [node["node_id"]])
        for node in sorted(nodes, key=level)
        if node["node_id"] in pinned - grouped
    ]
    boxes += list(groups.items())
    boxes.sort(key=lambda box: ",".join(sorted(" ".join(feature[one] for one in box[1]))))
    return [name for name, _ in boxes]


def _corners(opened: Opened) -> dict[str, tuple[float, float]]:
    """The upper left corner of each box in pixels, by a group's name or a pin's id."""
    found = opened.run(
        "() => viewer.diagram.nodes.map(n => [n.group ? n.name :"
        " viewer.plots[0].graph.id[n.rows[0]], n.x - n.width / 2, n.y - 14, n.isEnd])"
    )
    return {str(name): (float(x), float(y)) for name, x, y, is_end in found if not is_end}


def _exported(opened: Opened) -> str:
    params = json.loads(opened.exported("pins"))["qParams"]
    return str(params["sg_pos"])


def _opened(open_page: Open, tmp_path: Path, sg_pos: str = "") -> Opened:
    """A page of the graph with the pins put on it by `view --pins`."""
    (tmp_path / "pins.json").write_text(json.dumps({"qParams": _params(sg_pos)}))
    pruned = with_pins(middle(), tmp_path / "pins.json")
    pins = pins_of(pruned)
    assert pins is not None
    shown = Shown(pruned, "x", supernodes=pins.groups, pins=pins.rows, positions=pins.positions)
    return open_page(page(record(shown)))


def test_boxes_come_back_where_they_were_dragged(open_page: Open, tmp_path: Path) -> None:
    opened = _opened(open_page, tmp_path)
    assert _exported(opened) == ""  # nothing was moved: any viewer may lay them out
    box = opened.locator("#diagram .box.grouped").first
    box.scroll_into_view_if_needed()
    place = box.bounding_box()
    x, y = place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
    opened.page.mouse.move(x, y)
    opened.page.mouse.down()
    opened.page.mouse.move(x - 90, y + 11, steps=3)
    opened.page.mouse.up()
    before = _corners(opened)
    text = _exported(opened)
    figures = [int(one) for one in text.split(" ")]
    room = opened.run("() => [viewer.diagram.room.width, viewer.diagram.room.height]")
    expected = [
        round(1000 * corner / side)
        for name in _in_their_order(_params())
        for corner, side in zip(before[name], room, strict=True)
    ]
    assert figures == pytest.approx(expected, abs=1)  # halves are rounded either way
    again = _corners(_opened(open_page, tmp_path, text))
    assert again.keys() == before.keys()
    for name, corner in again.items():
        assert corner == pytest.approx(before[name], abs=0.001 * max(room))


def test_a_finger_drags_a_box(open_page: Open, tmp_path: Path) -> None:
    opened = _opened(lambda html: open_page(html, width=390, height=844, touch=True), tmp_path)
    box = opened.locator("#diagram .box.grouped").first
    box.scroll_into_view_if_needed()
    place = box.bounding_box()
    x, y = place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
    before, scrolled = _corners(opened), opened.run("scrollY")
    opened.fingers([(x, y)], [(x - 10, y + 10)], [(x - 30, y + 22)])
    after = _corners(opened)
    name = opened.run("() => viewer.diagram.nodes[0].name")
    assert {one for one in after if after[one] != pytest.approx(before[one])} == {name}
    left, top = before[name]
    scale = opened.run("() => viewer.diagram.scale")
    assert after[name] == pytest.approx((left - 30 / scale, top + 22 / scale), abs=1)
    assert opened.run("scrollY") == scrolled


def test_positions_from_elsewhere_are_scaled_and_loaded(open_page: Open, tmp_path: Path) -> None:
    order = _in_their_order(_params())
    text = " ".join(f"{20 * i} {10 * i + 5}" for i in range(len(order)))
    opened = _opened(open_page, tmp_path)
    (tmp_path / "elsewhere.json").write_text(json.dumps({"qParams": _params(text)}))
    opened.locator("#load").set_input_files(tmp_path / "elsewhere.json")
    opened.until("viewer.diagram.movedOf(viewer.plots[0]).size > 0")
    width, height = opened.run("() => [viewer.diagram.room.width, viewer.diagram.room.height]")
    corners = _corners(opened)
    for i, name in enumerate(order):
        assert corners[name] == pytest.approx((0.02 * i * width, (0.01 * i + 0.005) * height))
    assert _exported(opened) == text


@pytest.mark.parametrize("text", ["1 2 3", "a b", "1e9 " * 32, "<b>", "NaN " * 32])
def test_positions_that_fit_no_diagram_are_left_aside(
    open_page: Open, tmp_path: Path, text: str
) -> None:
    opened = _opened(open_page, tmp_path, text)
    assert opened.run("() => viewer.diagram.movedOf(viewer.plots[0]).size") == 0
    assert opened.errors == []


def test_the_exchange_form_keeps_positions_with_their_boxes(tmp_path: Path) -> None:
    text = " ".join("7" for _ in range(2 * len(_in_their_order(_params()))))
    (tmp_path / "pins.json").write_text(json.dumps(_params(text)))
    pruned = with_pins(middle(), tmp_path / "pins.json")
    exported = to_exchange(pruned, slug="x")
    assert exported["qParams"]["sg_pos"] == text
    pins = pins_of(from_exchange(exported))
    assert pins is not None
    assert pins.positions == text
    kept = pruned.kept_rows
    features = kept[pruned.graph.nodes.kind[kept] == NodeKind.FEATURE]
    others = to_exchange(pruned, slug="x", supernodes=[("other", features[:2].tolist())])
    assert others["qParams"]["sg_pos"] == ""  # other boxes


def test_shift_and_arrows_move_the_box_in_focus(open_page: Open, tmp_path: Path) -> None:
    opened = _opened(open_page, tmp_path)
    before = _corners(opened)
    opened.locator("#diagram .box").nth(1).focus()
    name = opened.run("() => viewer.diagram.nodes[1].name")
    for _ in range(2):  # it stays in focus
        opened.page.keyboard.press("Shift+ArrowDown")
    after = _corners(opened)
    moved = {one for one in after if after[one] != pytest.approx(before[one])}
    assert moved == {name}
    assert after[name] == pytest.approx((before[name][0], before[name][1] + 20))
