"""Shapes are checked while tests run, so that what they pass says something about shapes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from beartype import beartype
from jaxtyping import Float, TypeCheckError, jaxtyped
from torch import Tensor

import circuit_tracer
from circuit_tracer.attribution.features import Places
from circuit_tracer.models.norms import FrozenNorm
from tests.shapes import PACKAGES, SHAPE

NONE = torch.zeros(0, dtype=torch.long)


def test_wrong_shapes_do_not_pass() -> None:
    with pytest.raises(TypeCheckError):
        Places(NONE, NONE, NONE, torch.zeros(3))
    with pytest.raises(TypeCheckError):
        FrozenNorm.identity(torch.zeros(2, 3, 4))


def test_no_shape_is_outside_the_packages_that_are_checked() -> None:
    root = Path(circuit_tracer.__file__).parent
    with_shapes = {
        file.relative_to(root).parts[0]
        for file in root.rglob("*.py")
        if SHAPE.search(file.read_text(encoding="utf-8"))
    }
    assert with_shapes == {name.removeprefix("circuit_tracer.") for name in PACKAGES}


def test_shapes_are_checked_again_where_they_are_others() -> None:
    def head(x: Float[Tensor, "n"], n: int) -> Float[Tensor, "n"]:
        return x[:n]

    asked = jaxtyped(typechecker=beartype)(head)  # that of tests/shapes.py
    for _ in range(2):
        assert len(asked(torch.zeros(3), 3)) == 3
        with pytest.raises(TypeCheckError, match="return value"):
            asked(torch.zeros(3), 2)
        with pytest.raises(TypeCheckError, match="parameters"):
            asked(torch.zeros(3, 1), 3)
        with pytest.raises(TypeCheckError, match="parameters"):
            asked(torch.zeros(3), n="3")


def test_the_hook_has_no_module_compiled_that_is_not_its_own() -> None:
    cached = {name: vars(one).get("__cached__") for name, one in list(sys.modules.items())}
    assert {name for name, file in cached.items() if file and "opt-jaxtyping" in file} == set()
