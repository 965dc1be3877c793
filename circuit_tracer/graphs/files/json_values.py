"""Results as plain JSON values and back: dataclasses are their own schema, read by field types.

JSON has no NaN: a number that is not finite is written as null and read back as NaN. A field that
files know by another name, or whose values they spell otherwise, says so in its metadata:
`field(metadata=stored_as("name"))`.
"""

from __future__ import annotations

import json
import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, asdict, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from circuit_tracer.graphs.graph import GraphInfo
from circuit_tracer.graphs.scores import Scores

T = TypeVar("T")
_STORED_AS, _SPELLINGS = "stored_as", "spellings"


def stored_as(name: str, spellings: Mapping[str, str] | None = None) -> Mapping[str, Any]:
    """Metadata of a dataclass's field whose key in files is not its name; `spellings` are what
    files have in the place of its values, where that differs."""
    return {_STORED_AS: name, _SPELLINGS: spellings or {}}


def key_of(field: Field[Any]) -> str:
    """The key of a dataclass's field in files."""
    key: str = field.metadata.get(_STORED_AS, field.name)
    return key


def _stored(field: Field[Any], value: Any) -> Any:
    spellings = field.metadata.get(_SPELLINGS)
    return spellings.get(value, value) if spellings else value


def _unstored(field: Field[Any], value: Any) -> Any:
    spellings: Mapping[str, str] = field.metadata.get(_SPELLINGS, {})
    return next((own for own, stored in spellings.items() if stored == value), value)


def plain(value: Any) -> Any:
    """The value in JSON's own types: dataclasses as objects, numpy scalars and arrays as Python's,
    NaN as None."""
    if is_dataclass(value):
        return {
            key_of(field): plain(_stored(field, getattr(value, field.name)))
            for field in fields(value)
        }
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return whole_text(value)
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [plain(one) for one in value]
    if value is None or isinstance(value, (bool, int)):
        return value
    return str(value)


def to_json(value: Any, *, indent: int | None = None, ascii_only: bool = False) -> str:
    """JSON text of `plain(value)`: never NaN, never half a character."""
    return json.dumps(plain(value), allow_nan=False, ensure_ascii=ascii_only, indent=indent)


def whole_text(text: str) -> str:
    """The text with lone surrogates (no valid UTF-8) replaced by question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def info_to_plain(info: GraphInfo, *, with_places: bool = True) -> dict[str, Any]:
    """All fields of a `GraphInfo`; without the paths of this machine, if it is to be handed on."""
    record = asdict(info)
    for name, identity in (("model", info.model), ("dictionary", info.dictionary)):
        kept = identity if with_places else replace(identity, location="")
        record[name] = kept.as_plain()
    result: dict[str, Any] = plain(record)
    return result


def info_from_plain(record: Any) -> GraphInfo:
    """Back from `info_to_plain`. ValueError, with what is wrong, for a record of another shape."""
    if not isinstance(record, Mapping):
        raise ValueError("the facts of the run are missing")
    info = from_plain(GraphInfo, record)
    n = len(info.tokens)
    _expect(info.n_layers >= 0, "n_layers", info.n_layers, "a whole number")
    if len(info.token_ids) != n:
        raise ValueError("as many token_ids as tokens are needed")
    for target in info.targets:
        if len(target.vocabulary_ids) not in ((1, 2) if target.direction is None else (0,)):
            raise ValueError(
                "vocabulary_ids needs one id, two for a contrast, none for a direction"
            )
        _expect(0 <= target.position < n, "position", target.position, "a place in the prompt")
        _expect_share("probability", target.probability)
    if len(info.totals) not in (0, len(info.targets)):
        raise ValueError("totals need one entry for each target, or none")
    for totals in info.totals:
        _expect(len(totals.total) <= n, "total", len(totals.total), "a number for a token")
        if len(totals.total) != len(totals.direct):
            raise ValueError("as many direct effects as total ones are needed")
    return info


def scores_from_plain(record: Any) -> Scores:
    """Back from `plain(asdict(scores))`; ValueError for a record of another shape."""
    if not isinstance(record, Mapping) or not record:
        raise ValueError("the scores are missing")
    scores = from_plain(Scores, record)
    for name in ("replacement_range", "completeness_range"):
        for end in getattr(scores, name):
            _expect_share(name, end)
    return scores


def from_plain(kind: type[T], record: Any, *, where: str = "", **given: Any) -> T:
    """A dataclass (or a tuple of them) from its JSON form. ValueError, naming what does not fit.

    Fields that have a default may be missing; what a record has besides is ignored. `where` is what
    a message calls the place of the fields; `given` are fields that the caller has read.
    """
    name = kind.__name__
    of_class = is_dataclass(kind)
    built: T = (
        _dataclass(kind, record, name, where, given) if of_class else _built(kind, record, name)
    )
    return built


def _built(kind: Any, value: Any, name: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return _dataclass(kind, value, name)
    if origin in (Union, types.UnionType):
        return None if value is None else _built(inner[0], value, name)
    if origin is tuple:
        _expect(isinstance(value, (list, tuple)), name, value, "a list")
        kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
        _expect(len(kinds) == len(value), name, value, f"a list of {len(kinds)}")
        return tuple(_built(one, part, name) for one, part in zip(kinds, value, strict=True))
    if origin is np.ndarray:
        _expect(isinstance(value, list), name, value, "a list")
        (number_type,) = get_args(inner[1])
        return np.array(value, dtype=np.float64).astype(number_type)  # null is NaN
    if origin in (dict, Mapping):
        _expect(isinstance(value, Mapping), name, value, "an object")
        return {key: _built(inner[1], part, f"{key} in {name}") for key, part in value.items()}
    if origin is Literal:
        _expect(value in inner, name, value, " or ".join(map(str, inner)))
    elif kind is float:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        _expect(value is None or is_number, name, value, "a number")
        return number(value)
    elif kind is Path:
        _expect(isinstance(value, (str, Path)), name, value, "a path")
        return Path(value)
    elif kind is not Any:
        is_right = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
        _expect(is_right, name, value, _EXPECTED[kind])
    return value


_EXPECTED = {str: "text", int: "a whole number", bool: "true or false"}


def _dataclass(
    kind: Any, record: Any, name: str, where: str = "", given: Mapping[str, Any] | None = None
) -> Any:
    _expect(isinstance(record, Mapping), name, record, "an object")
    hints, values = _hints(kind), dict(given or {})
    for field in fields(kind):
        key = key_of(field)
        shown = f'"{key}" in {where}' if where else key
        if field.name in values:
            continue
        if key in record:
            values[field.name] = _built(hints[field.name], _unstored(field, record[key]), shown)
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{shown} is missing")
    return kind(**values)


_hints = cache(get_type_hints)


def _expect(is_right: bool, name: str, value: Any, expected: str) -> None:
    if not is_right:
        given = json.dumps(value, default=str)[:40]
        raise ValueError(f"{name} is {given} where it needs {expected}")


def _expect_share(name: str, value: float) -> None:
    _expect(math.isnan(value) or 0 <= value <= 1, name, value, "a number from 0 to 1")


def number(value: float | str | None) -> float:
    """null is NaN; some writers put their numbers into quotes."""
    return math.nan if value is None else float(value)
