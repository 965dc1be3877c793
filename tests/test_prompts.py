"""Every shipped prompt: the bundled model is right, conservation holds, the scores stand."""

from __future__ import annotations

import statistics
from functools import cache

import pytest

from benchmarks.prompts import DTYPES, Row, measure, prompts
from circuit_tracer.models import open_model


@cache
def rows(transcoders: str) -> list[Row]:
    """One row a prompt, traced once for all tests."""
    models = {dtype: open_model("sprout", dtype=dtype, device="cpu") for dtype in DTYPES}
    return measure(models, transcoders)


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
