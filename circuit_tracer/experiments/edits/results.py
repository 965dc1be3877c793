"""What is found of a prompt's edits, and of families of edited prompts: `edits.json`. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from circuit_tracer.experiments.kit.results import Finding
from circuit_tracer.graphs.bootstrap import Interval
from circuit_tracer.graphs.comparing.changes import Kind as RouteKind
from circuit_tracer.graphs.graph import Identity

EDITS_FILE = "edits.json"
Kind = Literal["deleted", "replaced", "left out", "given", "added"]
"""A word gone, or another of its class in its place; a clause left out; an edit somebody asked for;
a clause added."""
VerdictKind = Literal["decided by", "conflict", "spread"]


@dataclass(frozen=True)
class Edit:
    """A prompt with one thing changed."""

    name: str
    """E1, E2, ..."""
    kind: Kind
    old: str
    """What went; "" where something was added."""
    new: str
    """What stands there instead; "" where nothing does."""
    start: int
    stop: int
    """Characters start..stop - 1 of the prompt; equal where something was added."""
    prompt: str
    """The edited one."""


@dataclass(frozen=True)
class Outcome(Edit):
    """An edit and what it did."""

    contrast: float
    """Logit of the answer minus that of its rival."""
    change: float
    """Of the contrast, edited minus original."""
    answer: str
    """What the model says then."""
    probability: float
    """Of that, 0..1."""
    flips: bool
    """Whether the model says another token; of an answer that it did not give itself, whether the
    contrast changes its sign."""


@dataclass(frozen=True)
class Word:
    """A word, or a clause, and what its edits did."""

    text: str
    start: int
    stop: int
    pull: float
    """What it adds to the contrast: the contrast minus what is left of it with others of its class
    in its place, in the mean; where it was not replaced, without it."""
    replaced: bool
    """Whether that is by others of its class."""
    flips: bool
    """Whether at least half of these flip the answer."""
    edits: tuple[str, ...]
    """Names of its edits."""


@dataclass(frozen=True)
class RouteChange:
    """An edge, or a node, that only one of two graphs keeps or whose sign changed."""

    kind: RouteKind
    source: str
    target: str
    """Of an edge; "" of a node. Positions are those of both prompts aligned."""
    source_label: str
    target_label: str
    """What they are called in words."""
    before: float | None
    after: float | None
    """Signed share of the target's input, of a node its effect on the contrast; None in a graph
    that does not keep it."""


@dataclass(frozen=True)
class Role:
    """A place of the prompt and its share of the influence on the contrast, 0..1; None where the
    prompt has no such place."""

    name: str
    before: float | None
    """Of all tokens, the influence of the one that stands there."""
    after: float | None
    features_before: float | None
    """Of all features, the influence of those that stand there."""
    features_after: float | None


@dataclass(frozen=True)
class Routes:
    """What an edit changed of the graph."""

    edit: str
    """Its name."""
    folder: str
    """Where its graph lies, in the report's folder."""
    counts: dict[str, int]
    """Edges and nodes that "appeared", "vanished", "flipped"."""
    changes: tuple[RouteChange, ...]
    """The largest of nodes, and of edges."""
    roles: tuple[Role, ...]


@dataclass(frozen=True)
class Puller:
    """A span, which way it pulls, and how."""

    text: str
    pull: float
    route: str
    """The strongest route from it in the original graph, of those that push its way, in words; ""
    where none was traced."""


@dataclass(frozen=True)
class Verdict:
    """What the rules say (verdict.py)."""

    kind: VerdictKind
    sentence: str
    pullers: tuple[Puller, ...]
    """The spans that it names, strongest first."""


@dataclass(frozen=True)
class EditsReport:
    """What decides a prompt's answer."""

    prompt: str
    answer: str
    probability: float
    against: str
    """The rival it is compared with."""
    contrast: float
    """Logit of the answer minus that of its rival."""
    words: tuple[Word, ...]
    clauses: tuple[Word, ...]
    """What was left out, where there is more than one."""
    edits: tuple[Outcome, ...]
    routes: tuple[Routes, ...]
    """Of the edits that were traced."""
    verdict: Verdict
    model: Identity
    dictionary: Identity
    seconds: float
    """CPU time of passes and graphs."""
    chat: bool = False
    """Whether the prompt was the user's turn in the model's chat template."""
    system: str | None = None
    """The system turn before it."""


@dataclass(frozen=True)
class Family:
    """A family of prompts with one edit each."""

    name: str
    example: tuple[str, str]
    """A prompt and the edited one."""
    n: int
    left_out: int
    """Items whose own prompt the model answers otherwise."""
    before: Interval
    """Mean contrast."""
    after: Interval
    change: Interval
    flips: Interval
    """Share of items whose contrast changes its sign."""
    p: float
    """Of a permutation test that swaps a prompt and its edited one at random."""
    roles: tuple[Role, ...]
    """Mean shares of the influence by slot, over the traced items."""


@dataclass(frozen=True)
class FamiliesReport:
    """What edits do to families of prompts."""

    name: str
    question: str
    families: tuple[Family, ...]
    findings: tuple[Finding, ...]
    model: Identity
    dictionary: Identity
    seed: int
    resamples: int
    seconds: float
    chat: bool = False
    """Whether every prompt was the user's turn in the model's chat template."""
    system: str | None = None
    """The system turn before each."""
