"""Results as JSON and back: the dataclasses are their own schema, read by their field types."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from circuit_tracer.graphs.files.json_values import number

T = TypeVar("T")


def from_plain(kind: type[T], record: Any) -> T:
    """A value of some annotated type from its JSON form. ValueError where they do not fit."""
    built: T = _built(kind, record)
    return built


def _built(kind: Any, record: Any) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return _dataclass(kind, record)
    if origin in (Union, types.UnionType):
        return None if record is None else _built(inner[0], record)
    if origin is tuple:
        if inner[-1] is Ellipsis:
            return tuple(_built(inner[0], one) for one in record)
        return tuple(_built(one, value) for one, value in zip(inner, record, strict=True))
    if origin in (dict, Mapping):
        return {key: _built(inner[1], value) for key, value in record.items()}
    if origin is Literal:
        if record not in inner:
            raise ValueError(f"{record!r} is none of {inner}")
        return record
    if kind is float:
        return number(record)
    if not isinstance(record, kind):
        raise ValueError(f"{record!r} where {kind.__name__} is needed")
    return record


def _dataclass(kind: Any, record: Any) -> Any:
    """Fields that have a default may be missing, others of the record are ignored."""
    if not isinstance(record, Mapping):
        raise ValueError(f"no {kind.__name__}")
    hints, given = get_type_hints(kind), {}
    for one in fields(kind):
        if one.name in record:
            given[one.name] = _built(hints[one.name], record[one.name])
        elif one.default is MISSING and one.default_factory is MISSING:
            raise ValueError(f"{one.name} is missing")
    return kind(**given)
