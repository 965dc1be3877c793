"""`GraphInfo` and other results as plain JSON values and back, without NaN.

JSON has no NaN: a number that is not finite is written as null and read back as NaN.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from circuit_tracer.graphs.graph import GraphInfo, Identity, Target
from circuit_tracer.graphs.scores import Scores


def plain(value: Any) -> Any:
    """The value in JSON's own types: numpy scalars and arrays as Python's, NaN as None."""
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
    """Back from `info_to_plain`. Raises KeyError, TypeError or ValueError, with what is wrong, for
    a record of another shape."""
    _check_info(record)
    return GraphInfo(
        prompt=record["prompt"],
        tokens=tuple(record["tokens"]),
        token_ids=tuple(record["token_ids"]),
        n_layers=record["n_layers"],
        targets=tuple(_target(one) for one in record["targets"]),
        model=Identity(**record["model"]),
        dictionary=Identity(**record["dictionary"]),
        dtype=record["dtype"],
        conservation_residual=number(record["conservation_residual"]),
        conservation_tolerance=number(record["conservation_tolerance"]),
        settings=dict(record["settings"]),
        versions=dict(record["versions"]),
        logit_softcap=record.get("logit_softcap"),
    )


def _check_info(record: Any) -> None:
    """ValueError that names the first field of the wrong type or range."""
    if not isinstance(record, Mapping):
        raise ValueError("the facts of the run are missing")
    _check(record, "prompt", _is_text, "text")
    _check(record, "dtype", _is_text, "text")
    _check(record, "tokens", _all(_is_text), "texts")
    _check(record, "token_ids", _all(_is_whole), "whole numbers")
    _check(record, "n_layers", lambda n: _is_whole(n) and n >= 0, "a whole number")
    for name in ("conservation_residual", "conservation_tolerance"):
        _check(record, name, _is_number, "a number")
    for name in ("settings", "versions"):
        _check(record, name, lambda value: isinstance(value, Mapping), "an object")
    for name in ("model", "dictionary"):
        _check(record, name, _is_identity, "a name, a source and a sha256")
    if "logit_softcap" in record:  # files before schema version 2 have none
        _check(record, "logit_softcap", _is_number, "a number")
    n = len(record["tokens"])
    if len(record["token_ids"]) != n:
        raise ValueError("as many token_ids as tokens are needed")
    is_object = _all(lambda value: isinstance(value, Mapping))
    _check(record, "targets", is_object, "objects")
    for target in record["targets"]:
        _check(target, "token", _is_text, "text")
        ids = target.get("vocabulary_ids")
        _check(target, "vocabulary_ids", _all(_is_whole), "whole numbers")
        if len(ids) not in (1, 2):
            raise ValueError("vocabulary_ids needs one id, or two for a contrast")
        _check(target, "position", lambda p: _is_whole(p) and 0 <= p < n, "a place in the prompt")
        _check(target, "probability", _is_share, "a number from 0 to 1")
        _check(target, "logit", _is_number, "a number")
        _check(target, "rank", _is_whole, "a whole number")


def _check(
    record: Mapping[str, Any], name: str, is_right: Callable[[Any], bool], expected: str
) -> None:
    if name not in record:
        raise ValueError(f"{name} is missing")
    if not is_right(record[name]):
        found = json.dumps(record[name], default=str)[:40]
        raise ValueError(f"{name} is {found} where it needs {expected}")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def _is_share(value: Any) -> bool:
    return value is None or (_is_number(value) and 0 <= value <= 1)


def _is_range(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and all(map(_is_share, value))


def _is_identity(value: Any) -> bool:
    names = {"name", "source", "sha256"}
    return (
        isinstance(value, Mapping)
        and names <= set(value) <= names | {"kind", "location", "format"}
        and all(isinstance(part, str) for part in value.values())
    )


def _all(is_right: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, (list, tuple)) and all(map(is_right, value))


def scores_from_plain(record: Any) -> Scores:
    """Back from `plain(asdict(scores))`; ValueError for a record of another shape."""
    if not isinstance(record, Mapping) or not record:
        raise ValueError("the scores are missing")
    scores: dict[str, Any] = {}
    for name, value in record.items():
        if name.endswith("_range"):
            _check(record, name, _is_range, "two numbers from 0 to 1")
            scores[name] = (number(value[0]), number(value[1]))
        else:
            _check(record, name, _is_number, "a number")
            scores[name] = number(value)
    return Scores(**scores)


def number(value: float | str | None) -> float:
    """null is NaN; some writers put their numbers into quotes."""
    return math.nan if value is None else float(value)


def _target(record: Mapping[str, Any]) -> Target:
    return Target(
        token=record["token"],
        vocabulary_ids=tuple(record["vocabulary_ids"]),
        position=record["position"],
        probability=number(record["probability"]),
        logit=number(record["logit"]),
        rank=record["rank"],
    )
