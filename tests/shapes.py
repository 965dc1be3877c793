"""Shapes in annotations are checked under pytest: jaxtyping's import hook, where there are shapes.

The hook wraps every function of a module, and a call through it costs as much as ten of the small
ones: half of the suite's time went into functions that take no tensor. Those are left to mypy. Of
the others a call is checked when a function meets shapes that it has not met before: the same
shapes, types and kinds of result pass or fail alike.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
import types
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import mock

import beartype  # noqa: F401 - the checker, which cannot be imported after torch
import jaxtyping
from jaxtyping import _import_hook

PACKAGES = tuple(
    f"circuit_tracer.{name}"
    for name in ("attribution", "experiments", "interventions", "models", "transcoders")
)
"""All that import torch, and so jaxtyping."""
CHECKER = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
"""An int is good where a float is asked for."""
SHAPE = re.compile(r"\b(Bool|Float|Int)\[")


WITHOUT: set[type] = set()
"""Types that turned out to have no shape: a module looks for it in all of its tables first."""


def names_a_shape(thing: Any) -> bool:
    """Whether a function, a property or a class has a shape in its own annotations."""
    inner = getattr(thing, "fget", None) or getattr(thing, "__func__", thing)
    return any(SHAPE.search(str(one)) for one in getattr(inner, "__annotations__", {}).values())


def shapes_of(value: Any) -> Any:
    """What a check sees of a value: the shape and the dtype of an array, the types of all else."""
    kind = type(value)
    if kind in WITHOUT:
        return kind
    if kind is list or kind is tuple:
        return kind, *map(shapes_of, value)
    if kind is dict:
        return kind, *map(shapes_of, value), *map(shapes_of, value.values())
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        return kind, getattr(value, "dtype", None), shape
    WITHOUT.add(kind)
    return kind


def _returning(results: list[Any], like: Any) -> Callable[..., Any]:
    """A function with the signature of another, and the names that its annotations stand for."""
    found = lambda *_, **__: results.pop()  # noqa: E731
    made = types.FunctionType(found.__code__, like.__globals__, closure=found.__closure__)
    return functools.wraps(like)(made)


def checked(function: Callable[..., Any], check: Callable[[Any], Any]) -> Callable[..., Any]:
    """The function, whose arguments and result are checked when it meets their shapes first."""
    passed: dict[Any, set[Any]] = {}
    results: list[Any] = []
    whole = functools.cache(lambda: check(function))
    result_alone = functools.cache(lambda: check(_returning(results, function)))

    @functools.wraps(function)
    def called(*positional: Any, **named: Any) -> Any:
        given = (*map(shapes_of, positional), *named, *map(shapes_of, named.values()))
        if given not in passed:
            result = whole()(*positional, **named)
            passed[given] = {shapes_of(result)}
            return result
        result = function(*positional, **named)
        if (shapes := shapes_of(result)) not in passed[given]:
            results.append(result)
            result_alone()(*positional, **named)
            passed[given].add(shapes)
        return result

    return called


def install() -> None:
    """Check what is imported from now on."""
    whole: Callable[..., Any] = jaxtyping.jaxtyped

    def jaxtyped(**options: Any) -> Callable[[Any], Any]:
        check = whole(**options)

        def decorated(thing: Any) -> Any:
            if not names_a_shape(thing):
                return thing
            if inspect.isfunction(thing):
                return checked(thing, check)
            if dataclasses.is_dataclass(thing) and "__init__" in vars(thing):
                thing.__init__ = checked(thing.__init__, check)  # type: ignore[misc]
                return thing
            return check(thing)

        return decorated

    jaxtyping.jaxtyped = jaxtyped  # the modules that the hook rewrites look it up by this name
    _import_hook._JaxtypingLoader.exec_module = _loaded  # type: ignore[method-assign]
    jaxtyping.install_import_hook(PACKAGES, CHECKER)


def _loaded(loader: Any, module: types.ModuleType) -> None:
    """Run a module under the hook, with bytecode of its own for it alone.

    The hook's loader takes another name for bytecode until the module has run, and so for all that
    it imports: torch would be compiled again, by every process, when nothing has been tested yet.
    """
    name = partial(_import_hook._optimized_cache_from_source, loader._typechecker.get_hash())
    with mock.patch("importlib._bootstrap_external.cache_from_source", name):
        code = loader.get_code(module.__name__)
    exec(code, vars(module))
