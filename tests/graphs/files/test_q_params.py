"""Pins and supernodes that a viewer exported: put on a graph, or refused in words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from circuit_tracer.errors import GraphFileError
from circuit_tracer.graphs.files.exchange import exchange_id, from_exchange, to_exchange
from circuit_tracer.graphs.files.q_params import pins_in, pins_of, with_pins
from tests.render.builders import middle


def _params() -> dict[str, object]:
    ids = [exchange_id(middle().graph, int(row)) for row in middle().kept_rows]
    return {"pinnedIds": [ids[2], ids[9]], "supernodes": [["a name", ids[10], ids[9]]]}


def _written(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "pins.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_viewers_pins_go_into_the_exchange_form_and_come_back(
    wrapped: bool, tmp_path: Path
) -> None:
    given = {"qParams": _params()} if wrapped else _params()
    pruned = with_pins(middle(), _written(tmp_path, given))
    pins = pins_of(pruned)
    kept = pruned.kept_rows.tolist()
    assert pins is not None
    assert pins.rows == (kept[2], kept[9], kept[10])
    assert pins.groups == (("a name", (kept[9], kept[10])),)
    back = from_exchange(to_exchange(pruned, slug="x"))
    assert pins_of(back) is not None
    assert to_exchange(back, slug="x")["qParams"]["supernodes"] == _params()["supernodes"]
    assert pins_of(middle()) is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "cannot be read"),
        ("[1, 2]", "holds no pins"),
        ({"pinnedIds": []}, "holds no pins"),
        ({"pinnedIds": [3], "supernodes": []}, "holds no pins"),
        ({"pinnedIds": [], "supernodes": [[]]}, "holds no pins"),
        ({"pinnedIds": [], "supernodes": "abc"}, "holds no pins"),
        ({"pinnedIds": ["0_1_999"], "supernodes": []}, "0_1_999, no kept node"),
    ],
)
def test_what_is_no_pins_of_this_graph_is_refused(
    content: object, said: str, tmp_path: Path
) -> None:
    with pytest.raises(GraphFileError, match=said):
        with_pins(middle(), _written(tmp_path, content))


def test_a_node_is_in_the_first_of_two_groups() -> None:
    row = int(middle().kept_rows[9])
    name = exchange_id(middle().graph, row)
    pins = pins_in(middle(), {"pinnedIds": [], "supernodes": [["a", name], ["b", name]]})
    assert pins is not None
    assert pins.groups == (("a", (row,)),)
