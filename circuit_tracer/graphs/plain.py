"""`GraphInfo` and other results as plain JSON values and back, without NaN.

JSON has no NaN: a number that is not finite is written as null and read back as NaN.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from circuit_tracer.graphs.graph import GraphInfo, Identity, Target
from circuit_tracer.graphs.influence import Scores


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


def to_json(value: Any, *, indent: int | None = None) -> str:
    """JSON text of `plain(value)`: never NaN, never half a character."""
    return json.dumps(plain(value), allow_nan=False, ensure_ascii=False, indent=indent)


def whole_text(text: str) -> str:
    """The text with lone surrogates (no valid UTF-8) replaced by question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def info_to_plain(info: GraphInfo) -> dict[str, Any]:
    """All fields of a `GraphInfo`."""
    record: dict[str, Any] = plain(asdict(info))
    return record


def info_from_plain(record: Mapping[str, Any]) -> GraphInfo:
    """Back from `info_to_plain`. Raises KeyError or TypeError for a record of another shape."""
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
    )


def scores_from_plain(record: Mapping[str, Any]) -> Scores:
    """Back from `plain(asdict(scores))`."""
    return Scores(**{name: number(value) for name, value in record.items()})


def number(value: float | None) -> float:
    """null is NaN."""
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
