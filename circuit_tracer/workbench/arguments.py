"""Arguments of the Python calls, looked at before anything is done with them.

What a call says it takes stands in its annotations: a text in a number's place gets the same
sentence in all of them. Models, dictionaries and graphs are left to who takes them.
"""

from __future__ import annotations

import builtins
import inspect
import json
import sys
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import numpy as np

from circuit_tracer.errors import UsageError

_WORDS: Mapping[Any, str] = {
    str: "text",
    Path: "a path",
    bool: "True or False",
    int: "a whole number",
    float: "a number",
}
LONGEST = 40
"""Characters of a wrong value that are quoted."""


def check_arguments(call: Callable[..., Any], given: Mapping[str, Any]) -> None:
    """Raise UsageError for an argument of another kind than the call's annotations say.

    `given` are values by parameter, such as the call's own `locals()` on its first line; what is no
    parameter is ignored. A sequence may be any collection but a text. Numbers are numpy's, too.
    """
    for name, kind in _kinds(call).items():
        if name in given and (wrong := _wrong(given[name], kind)):
            value, words = wrong[0]
            raise UsageError(f"`{name}` is {_quoted(value)} where it needs {words}")


@cache
def _kinds(call: Callable[..., Any]) -> dict[str, Any]:
    """By parameter: what it takes. A name that only type checkers know stands for anything."""
    call = inspect.unwrap(call)
    known = {**vars(builtins), **vars(sys.modules[call.__module__])}

    class Names(dict[str, Any]):
        def __missing__(self, name: str) -> Any:
            return known.get(name, Any)

    parameters = inspect.signature(call).parameters.values()
    named = [one for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    written = {one.name: one.annotation for one in named if isinstance(one.annotation, str)}
    return {name: eval(text, {}, Names()) for name, text in written.items()}


def _wrong(value: Any, kind: Any) -> list[tuple[Any, str]]:
    """What does not fit and what is needed in its place; empty for what fits."""
    if not _is_checked(kind):
        return []
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        tried = [_wrong(value, one) for one in inner if one is not types.NoneType]
        if (value is None and types.NoneType in inner) or not all(tried):
            return []
        inside = [one for one in tried if one[0][0] is not value]
        return inside[0] if inside else [(value, " or ".join(one[0][1] for one in tried))]
    if origin is Callable:
        return [] if callable(value) else [(value, "a function")]
    if origin is Mapping:
        if not isinstance(value, Mapping):
            return [(value, "names with values")]
        return _first(_wrong(one, inner[1]) for one in value.values())
    if origin in (Sequence, tuple):
        if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
            return [(value, "a list")]
        if not isinstance(value, list | tuple | set | np.ndarray):
            return []  # it may give its items only once
        if origin is tuple:
            if len(value) != len(inner):
                return [(value, f"{len(inner)} values")]
            return _first(map(_wrong, value, inner))
        return _first(_wrong(one, inner[0]) for one in value)
    return [] if _is_of(value, kind) else [(value, _WORDS[kind])]


def _first(found: Iterable[list[tuple[Any, str]]]) -> list[tuple[Any, str]]:
    return next(filter(None, found), [])


def _is_checked(kind: Any) -> bool:
    """Whether plain values alone are meant, or collections, whose items are looked at likewise."""
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return all(one is types.NoneType or _is_checked(one) for one in get_args(kind))
    return kind in _WORDS or origin in (Callable, Mapping, Sequence, tuple)


def _is_of(value: Any, kind: Any) -> bool:
    if kind is bool:
        return isinstance(value, bool | np.bool_)
    if kind in (int, float):
        return isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
    return isinstance(value, kind)


def _quoted(value: Any) -> str:
    """A plain value as it is written, anything else by its type."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool):
        return str(value)
    is_plain = isinstance(value, str | int | float | list | tuple | dict)
    return json.dumps(value, default=str)[:LONGEST] if is_plain else f"a {type(value).__name__}"
