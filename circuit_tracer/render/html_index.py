"""The index page of a run: one line a graph with its scores, a thumbnail and its strongest route.

Searched and sorted in the page, which draws only the lines in view. Put together as the graph's own
page is (html.py), with the same guarantees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from circuit_tracer.render.html import assembled, joined, viewer_file, with_texts
from circuit_tracer.render.text import printable

SCRIPTS = ("numbers", "data", "theme", "dom", "index")


class Dot(NamedTuple):
    """A node of a thumbnail."""

    x: int
    """0..99 from left to right."""
    y: int
    """0..99 upwards."""
    kind: int
    """A `NodeKind`."""


@dataclass(frozen=True)
class Thumbnail:
    """A small picture of a graph."""

    dots: tuple[Dot, ...]
    route: tuple[Dot, ...]
    """Where its strongest route goes."""


@dataclass(frozen=True)
class IndexRow:
    """One graph of the run."""

    href: str
    """Where its page is, relative to the index."""
    prompt: str
    answer: str
    """The first target."""
    probability: float | None
    scores: Mapping[str, float | None]
    """By name."""
    tags: Sequence[str] = ()
    route: str = ""
    """Its strongest route in words."""
    thumbnail: Thumbnail | None = None


@dataclass(frozen=True)
class IndexScore:
    """One column of scores."""

    key: str
    """As runs and traced folders store it."""
    meaning: str
    share: bool
    """Whether it is shown as a percentage."""


@dataclass(frozen=True)
class FailedRow:
    """A prompt without a graph."""

    line: int
    prompt: str
    message: str


SCORES = (
    IndexScore(
        "replacement", "of the influence that tokens and errors start, what tokens do", False
    ),
    IndexScore("completeness", "share of the nodes' input that does not come from errors", False),
    IndexScore("error_share", "influence that ends in errors", True),
)


@dataclass(frozen=True)
class Index:
    """A run's page."""

    name: str
    about: str
    rows: Sequence[IndexRow]
    """In the order of the prompt file."""
    scores: Sequence[IndexScore] = SCORES
    failures: Sequence[FailedRow] = ()


def index_page(index: Index) -> str:
    """The HTML page."""
    record = with_texts(index, printable)
    for row in record["rows"]:
        row["answer"] = row["answer"].strip()
    return assembled(
        index.name,
        style=viewer_file("page.css") + viewer_file("index.css"),
        body=viewer_file("index.html"),
        script=joined(SCRIPTS),
        data=record,
    )
