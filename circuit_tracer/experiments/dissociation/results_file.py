"""`dissociation.json`: a dissociation report as JSON and back.

The dataclasses of `dissociation.py` are their own schema: a record is read by their field types.
"""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from circuit_tracer.errors import GraphFileError, reason
from circuit_tracer.experiments.dissociation.results import Report
from circuit_tracer.graphs.files.json_values import number, to_json

DISSOCIATION_FILE = "dissociation.json"
T = TypeVar("T")


def write_report(report: Report, path: Path) -> None:
    """As JSON; NaN becomes null."""
    path.write_text(to_json(asdict(report), indent=1) + "\n", encoding="utf-8")


def read_report(path: Path) -> Report:
    """A report from its file or folder. GraphFileError, with what is wrong, for anything else."""
    path = path / DISSOCIATION_FILE if path.is_dir() else path
    try:
        return from_plain(Report, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as e:
        raise GraphFileError(
            f"{path} is no report that dissociate wrote ({reason(e)}); give the folder it wrote"
        ) from e


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
    if origin is dict:
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
    if not isinstance(record, Mapping):
        raise ValueError(f"no {kind.__name__}")
    hints = get_type_hints(kind)
    missing = [one.name for one in fields(kind) if one.name not in record]
    if missing:
        raise ValueError(f"{missing[0]} is missing")
    return kind(**{one.name: _built(hints[one.name], record[one.name]) for one in fields(kind)})
