"""benchmarks/differences.py tells numbers, rounding and words apart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.differences import differences


@pytest.mark.parametrize(
    ("name", "before", "after", "kinds"),
    [
        ("a.json", '{"x": 1.0, "seconds": 2}', '{"x": 1.0, "seconds": 3}', []),
        ("a.json", '{"x": 1.0}', '{"x": 1.000001}', ["rounding"]),
        ("a.json", '{"x": 1.0}', '{"x": 1.01}', ["numbers"]),
        ("a.json", '{"x": 1.0}', '{"y": 1.0}', ["keys", "keys"]),
        ("a.json", '{"x": "held 3 %"}', '{"x": "frozen 3 %"}', ["words"]),
        ("a.md", "errors start 8 %", "errors start 7.8 %", ["rounding"]),
        ("a.md", "errors start 8 %", "errors start 7.4 %", ["numbers"]),
        ("a.md", "residual 3e-06", "residual 4e-06", ["rounding"]),
        ("a.md", "100% [98%, 100%] in 3.2 s", "100 % [98, 100] in 4 s", ["words"]),
        ("a.svg", "<text x='1'>a</text>", "<text x='2'>a</text>", ["drawing"]),
        ("a.svg", "<title>L5: 0.5</title>", "<title>L5: 0.7</title>", ["numbers"]),
    ],
)
def test_kinds_of_difference(
    name: str, before: str, after: str, kinds: list[str], tmp_path: Path
) -> None:
    for folder, text in (("before", before), ("after", after)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(text, encoding="utf-8")
    found = differences(tmp_path / "before", tmp_path / "after")
    assert [one.kind for one in found] == kinds


def test_a_file_of_one_side_alone(tmp_path: Path) -> None:
    for folder in ("before", "after"):
        (tmp_path / folder).mkdir()
    (tmp_path / "after" / "a.json").write_text(json.dumps({}), encoding="utf-8")
    (found,) = differences(tmp_path / "before", tmp_path / "after")
    assert (found.kind, found.place) == ("files", "only after")
