"""One node of an exchanged graph JSON, its fields checked; imports.py makes a graph of them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from circuit_tracer.errors import GraphFileError
from circuit_tracer.graphs.graph import NodeKind
from circuit_tracer.graphs.plain import number, whole_text

_KINDS = {
    "embedding": NodeKind.EMBEDDING,
    "cross layer transcoder": NodeKind.FEATURE,
    "transcoder": NodeKind.FEATURE,
    "per layer transcoder": NodeKind.FEATURE,
    "mlp reconstruction error": NodeKind.ERROR,
    "logit": NodeKind.LOGIT,
}
QUOTED = 60
"""Characters of the file's text in a message."""
_OUTPUT = re.compile(r'\s*Output "(?P<token>.*)" \(p=[^)]*\)\s*', re.DOTALL)


class ExchangedNode(NamedTuple):
    """What the form says of a node."""

    name: str
    kind: NodeKind
    layer: int
    """-1 for embeddings; as written in the file for targets."""
    position: int
    feature: int
    label: str
    activation: float
    probability: float
    share: float
    """Cumulative share of influence; NaN where the file does not say."""


def parse_node(record: Mapping[str, Any]) -> ExchangedNode:
    """A node of the file. Raises GraphFileError, LookupError, TypeError, ValueError or
    OverflowError for one that is none."""
    name, word = record["node_id"], record["feature_type"]
    if not isinstance(name, str):
        raise GraphFileError(
            f"A node_id of this graph JSON is {quoted(name)}, no text: export it again."
        )
    if word not in _KINDS:
        raise GraphFileError(
            f"Node {name[:QUOTED]} has the feature_type {quoted(word)}, which is not known here:"
            f" known are {', '.join(_KINDS)}."
        )
    kind = _KINDS[word]
    layer = -1 if kind is NodeKind.EMBEDDING else int(record["layer"])
    clerp = whole_text(str(record.get("clerp") or ""))
    output = _OUTPUT.fullmatch(clerp) if kind is NodeKind.LOGIT else None
    activation = record.get("activation")
    return ExchangedNode(
        name=name,
        kind=kind,
        layer=layer,
        position=int(record["ctx_idx"]),
        feature=_feature(name, kind, layer, record.get("feature")),
        label=output["token"] if output else clerp,
        activation=number(activation) if kind is NodeKind.FEATURE else math.nan,
        probability=float(record.get("token_prob") or 0.0),
        share=0.0 if kind is NodeKind.LOGIT else number(record.get("influence")),
    )


def _feature(name: str, kind: NodeKind, layer: int, given: Any) -> int:
    """The index in the middle of the id; for a feature, else the one in its Cantor number."""
    if kind is NodeKind.ERROR:
        return -1
    parts = name.split("_")
    if len(parts) == 3 and parts[1].isdecimal():
        return int(parts[1])
    if kind is NodeKind.FEATURE and isinstance(given, int) and given >= 0:
        its_layer, feature = inverse_cantor(given)
        return feature if its_layer == layer else given
    return -1


def inverse_cantor(number: int) -> tuple[int, int]:
    """(layer, feature) of the form's feature number, exact for any size."""
    diagonal = (math.isqrt(8 * number + 1) - 1) // 2
    feature = number - diagonal * (diagonal + 1) // 2
    return diagonal - feature, feature


def quoted(value: Any) -> str:
    """A value of the file, short enough for a message."""
    return repr(value)[:QUOTED]
