"""Every shipped prompt: the bundled model is right, conservation holds, the scores stand."""

from __future__ import annotations

import statistics

import pytest

from benchmarks.prompts import prompts
from tests.shipped import rows


def test_there_are_enough_prompts_of_enough_kinds() -> None:
    assert len(prompts()) >= 40
    assert len({kind for kind, _ in prompts()}) >= 6
    assert len({record["id"] for _, record in prompts()}) == len(prompts())


@pytest.mark.parametrize("transcoders", ["plt", "clt"])
def test_the_model_is_right_and_conservation_holds(transcoders: str) -> None:
    wrong = [row.prompt for row in rows(transcoders) if not row.right]
    assert wrong == []
    assert max(row.residuals[0] for row in rows(transcoders)) <= 1e-4
    assert max(row.residuals[1] for row in rows(transcoders)) <= 1e-10


def test_per_layer_graphs_are_mostly_explained() -> None:
    found = rows("plt")
    assert statistics.median(row.completeness for row in found) >= 0.93
    assert statistics.median(row.replacement for row in found) >= 0.85
