"""Shapes in annotations are checked under pytest: jaxtyping's import hook, where there are shapes.

The hook wraps every function of a module, and a call through it costs as much as ten of the small
ones: half of the suite's time went into functions that take no tensor. Those are left to mypy.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jaxtyping

PACKAGES = tuple(
    f"circuit_tracer.{name}"
    for name in ("attribution", "experiments", "interventions", "models", "transcoders")
)
"""All that import torch, and so jaxtyping."""
CHECKER = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
"""An int is good where a float is asked for."""
SHAPE = re.compile(r"\b(Bool|Float|Int)\[")


def names_a_shape(thing: Any) -> bool:
    """Whether a function, a property or a class has a shape in its own annotations."""
    inner = getattr(thing, "fget", None) or getattr(thing, "__func__", thing)
    return any(SHAPE.search(str(one)) for one in getattr(inner, "__annotations__", {}).values())


def install() -> None:
    """Check what is imported from now on."""
    whole: Callable[..., Any] = jaxtyping.jaxtyped

    def jaxtyped(**options: Any) -> Callable[[Any], Any]:
        check = whole(**options)
        return lambda thing: check(thing) if names_a_shape(thing) else thing

    jaxtyping.jaxtyped = jaxtyped  # the modules that the hook rewrites look it up by this name
    jaxtyping.install_import_hook(PACKAGES, CHECKER)
