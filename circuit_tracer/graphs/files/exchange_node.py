"""One node of an exchanged graph JSON, its fields checked, for exchange_reader.py."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from circuit_tracer.errors import GraphFileError
from circuit_tracer.graphs.files.json_values import number, whole_text
from circuit_tracer.graphs.graph import NodeKind

_KINDS = {
    "embedding": NodeKind.EMBEDDING,
    "cross layer transcoder": NodeKind.FEATURE,
    "transcoder": NodeKind.FEATURE,
    "per layer transcoder": NodeKind.FEATURE,
    "unexplored node": NodeKind.FEATURE,  # the first published graphs; the page shows a feature
    "mlp reconstruction error": NodeKind.ERROR,
    "logit": NodeKind.LOGIT,
}
QUOTED = 60
"""Characters of the file's text in a message."""
SLACK = 1e-4
"""How far rounding in another tool may take a share out of 0 to 1."""
_OUTPUT = re.compile(r'\s*Output "(?P<token>.*)" \(p=(?P<p>[^)]*)\)\s*', re.DOTALL)


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
    number: str
    """Its `feature` as the file has it."""


def parse_node(record: Mapping[str, Any]) -> ExchangedNode:
    """A node of the file. Raises GraphFileError, LookupError, TypeError, ValueError or
    OverflowError for one that is none."""
    name = node_id(record["node_id"])
    kind = _kind(name, record["feature_type"], record.get("layer"))
    layer = -1 if kind is NodeKind.EMBEDDING else _layer(kind, record["layer"])
    clerp = whole_text(str(record.get("clerp") or ""))
    output = _OUTPUT.fullmatch(clerp) if kind is NodeKind.LOGIT else None
    return ExchangedNode(
        name=name,
        kind=kind,
        layer=layer,
        position=_position(name, record),
        feature=_feature(name, kind, layer, record.get("feature")),
        label=output["token"] if output else clerp,
        activation=number(record.get("activation")) if kind is NodeKind.FEATURE else math.nan,
        probability=_probability(record.get("token_prob"), output),
        share=0.0 if kind is NodeKind.LOGIT else number(record.get("influence")),
        number=str(record.get("feature")),
    )


def node_id(given: Any) -> str:
    """The id of a node or of a link's end; some writers leave the quotes off a plain number."""
    if isinstance(given, str):
        return given
    if isinstance(given, int) and not isinstance(given, bool):
        return str(given)
    raise GraphFileError(
        f"A node_id of this graph JSON is {quoted(given)}, no text: export it again."
    )


def share_of_one(given: float, what: str) -> float:
    """A number from 0 to 1; what rounding took out of that span is put back at its end."""
    if not -SLACK <= given <= 1 + SLACK:
        raise ValueError(f"a {what} of {given:g}, which is not from 0 to 1")
    return min(max(given, 0.0), 1.0)


def _kind(name: str, word: Any, layer: Any) -> NodeKind:
    kind = _KINDS.get(word.strip().lower()) if isinstance(word, str) else None
    if kind is None:
        raise GraphFileError(
            f"Node {name[:QUOTED]} has the feature_type {quoted(word)}, which is not known here:"
            f" known are {', '.join(_KINDS)}."
        )
    # No transcoder feature lies in the embedding, whatever else the file does not say of it.
    return NodeKind.EMBEDDING if kind is NodeKind.FEATURE and layer == "E" else kind


def _layer(kind: NodeKind, given: Any) -> int:
    """A target stands above all layers, so that its own need not be a number."""
    try:
        return _whole(given, "layer")
    except (TypeError, ValueError):
        if kind is NodeKind.LOGIT:
            return -1
        raise


def _position(name: str, record: Mapping[str, Any]) -> int:
    """The position; where it is left out, the one that ends the id."""
    given = record.get("ctx_idx")
    if given is None:
        last = name.rpartition("_")[2]
        given = last if last.isdecimal() else record["ctx_idx"]
    return _whole(given, "ctx_idx")


def _whole(given: Any, what: str) -> int:
    """A whole number, as 7, 7.0 or "7"."""
    whole = int(given)
    if isinstance(given, float) and whole != given:
        raise ValueError(f"a {what} of {given:g}, which is no whole number")
    return whole


def _probability(given: Any, output: re.Match[str] | None) -> float:
    """A target's probability; where it is left out, the one in its label, else 0."""
    if given is None and output is not None:
        try:
            given = float(output["p"])
        except ValueError:
            given = None
    return share_of_one(float(given or 0.0), "token_prob")


def _feature(name: str, kind: NodeKind, layer: int, given: Any) -> int:
    """The index in the middle of the id; for a feature, else the one in its Cantor number."""
    if kind is NodeKind.ERROR:
        return -1
    parts = name.split("_")
    if len(parts) == 3 and parts[1].isdecimal():
        return int(parts[1])
    if kind is NodeKind.FEATURE and given is not None and (whole := _whole(given, "feature")) >= 0:
        its_layer, feature = inverse_cantor(whole)
        return feature if its_layer == layer else whole
    return -1


def inverse_cantor(number: int) -> tuple[int, int]:
    """(layer, feature) of the form's feature number, exact for any size."""
    diagonal = (math.isqrt(8 * number + 1) - 1) // 2
    feature = number - diagonal * (diagonal + 1) // 2
    return diagonal - feature, feature


def quoted(value: Any) -> str:
    """A value of the file, short enough for a message."""
    return repr(value)[:QUOTED]
