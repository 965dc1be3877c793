"""Shapes are checked while tests run, so that what they pass says something about shapes."""

from __future__ import annotations

from pathlib import Path

import jaxtyping
import pytest
import torch

import circuit_tracer
from circuit_tracer.attribution.features import Places
from circuit_tracer.models.norms import FrozenNorm
from tests.shapes import PACKAGES, SHAPE

NONE = torch.zeros(0, dtype=torch.long)


def test_wrong_shapes_do_not_pass() -> None:
    with pytest.raises(jaxtyping.TypeCheckError):
        Places(NONE, NONE, NONE, torch.zeros(3))
    with pytest.raises(jaxtyping.TypeCheckError):
        FrozenNorm.identity(torch.zeros(2, 3, 4))


def test_no_shape_is_outside_the_packages_that_are_checked() -> None:
    root = Path(circuit_tracer.__file__).parent
    with_shapes = {
        file.relative_to(root).parts[0]
        for file in root.rglob("*.py")
        if SHAPE.search(file.read_text(encoding="utf-8"))
    }
    assert with_shapes == {name.removeprefix("circuit_tracer.") for name in PACKAGES}
