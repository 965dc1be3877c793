"""What a QK attribution says: plain numbers and names, for reports and figures.

`attribution/qk.py` computes it. Terms are products of a source of the query with one of the key;
they sum to the score before the softmax, and before a soft-cap where the model has one
(method.md section 6).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from circuit_tracer.graphs.graph import Floats, NodeKind, source_name

KINDS = ("feature", "error", "embedding", "constant")
"""Order of the kinds of sources in tables by kind."""


class Source(NamedTuple):
    """Where a part of a query or key comes from."""

    kind: str
    """One of `KINDS`."""
    layer: int
    """-1 for embeddings and the constant."""
    position: int
    """-1 for the constant."""
    feature: int
    """Feature index; -1 for all other kinds."""

    @property
    def name(self) -> str:
        """As nodes of a graph are named: "L3/117@4", "L3/error@4", "embedding@4", "constant"."""
        if self.kind == "constant":
            return self.kind
        kind = NodeKind[self.kind.upper()]
        return source_name(kind, self.layer, self.feature, self.position)


class Term(NamedTuple):
    """The product of one source of the query with one of the key."""

    query: Source
    key: Source
    value: float


class Share(NamedTuple):
    """All terms of one source of one side: its product with the whole other side."""

    source: Source
    value: float


@dataclass(frozen=True)
class Parts:
    """A score, or a difference of two, taken apart."""

    value: float
    """What the terms sum to: the score before a soft-cap."""
    by_kind: Floats
    """(4, 4) sums of terms by the kinds of query and key, in the order of `KINDS`; exact."""
    feature_share: float
    """What features on both sides carry: |feature x feature| over the absolute sum of `by_kind`."""
    residual: float
    """|sum of the terms - value| over the same."""
    positive: tuple[Term, ...]
    """Largest terms, strongest first."""
    negative: tuple[Term, ...]
    complete: bool
    """Whether no stronger term can be among sources that were only summed (there are such only in
    very long prompts and large dictionaries)."""
    query_sources: tuple[Share, ...]
    """Sources of the query with most effect of either sign, each times the whole key."""
    key_sources: tuple[Share, ...]

    def record(self) -> dict[str, Any]:
        """The parts as JSON values."""
        return {
            "score": self.value,
            "feature_share": self.feature_share,
            "residual": self.residual,
            "by_kind": {
                query: dict(zip(KINDS, row, strict=True))
                for query, row in zip(KINDS, self.by_kind.tolist(), strict=True)
            },
            **{
                name: [
                    {"query": term.query.name, "key": term.key.name, "value": term.value}
                    for term in terms
                ]
                for name, terms in (("positive", self.positive), ("negative", self.negative))
            },
            "complete": self.complete,
            **{
                name: [{"source": one.source.name, "value": one.value} for one in shares]
                for name, shares in (
                    ("query_sources", self.query_sources),
                    ("key_sources", self.key_sources),
                )
            },
        }


class KeyScore(NamedTuple):
    """One key that the query can look at."""

    position: int
    score: float
    """The model's own, before a soft-cap and the softmax."""
    attention: float
    """After the softmax."""


class Against(NamedTuple):
    """Why a query looks at its key more, or less, than at another one."""

    key: int
    """Position of the other."""
    parts: Parts
    """Of the score minus that of the other."""


@dataclass(frozen=True)
class QkAttribution:
    """One head, one query, one key: what the score is made of."""

    layer: int
    head: int
    query: int
    """Position."""
    key: int
    """Position."""
    attention: float
    """Weight of the key in the head's pattern."""
    softcap: float | None
    """The model caps scores to +-this by tanh; scores and terms here are before that."""
    window: int | None
    """How many tokens back the head sees, the query's own counted; None for all."""
    sees: tuple[int, int]
    """First and last key position that the mask leaves the query."""
    parts: Parts
    keys: tuple[KeyScore, ...]
    """All keys with any weight in the pattern, by position."""
    against: tuple[Against, ...]
    """Competing keys, those with most attention first unless they were named."""

    def record(self) -> dict[str, Any]:
        """The attribution as JSON values."""
        names = ("layer", "head", "query", "key", "attention", "softcap", "window", "sees")
        return {
            **{name: getattr(self, name) for name in names},
            **self.parts.record(),
            "keys": [key._asdict() for key in self.keys],
            "against": [{"key": one.key, **one.parts.record()} for one in self.against],
        }
