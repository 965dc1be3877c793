"""What a run makes of its prompts: graphs, or what else a question asks of many of them.

Everything that survives a kill (claims, parts, state, writing) is the same for all kinds.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

import pyarrow as pa

from circuit_tracer.attribution.tracing import check_together
from circuit_tracer.batch.manifest import Entry
from circuit_tracer.batch.row_maker import RowMaker
from circuit_tracer.batch.run_file import RunInfo
from circuit_tracer.batch.schemas import GRAPH_TABLES
from circuit_tracer.batch.tables import Failed, PromptRows, Traced, part_tables
from circuit_tracer.batch.tracing import Group, Plan, Tracer, plan, prompt_length, trace_group
from circuit_tracer.graphs.edges.store import UnorderedGraph


class Made(Protocol):
    """What comes of one prompt."""

    @property
    def entry(self) -> Entry:
        """Of which it was made."""

    @property
    def n_edges(self) -> int:
        """What it holds in memory while it waits to become rows, in edges."""

    @property
    def sweeping(self) -> float:
        """Seconds of the sweep alone."""


class Rows(Protocol):
    """One prompt's rows, of all tables."""

    @property
    def key(self) -> str:
        """The prompt's id."""

    @property
    def nbytes(self) -> int:
        """What they hold in memory, about."""


class Kind(Protocol):
    """What a run makes of its prompts, and the tables that hold it."""

    tables: tuple[str, ...]
    """In the order in which they are written: a row of the last says that a prompt is done."""

    @abstractmethod
    def plan(self, entries: Sequence[Entry]) -> Plan:
        """Groups of prompts, the same in every process that has the same entries."""

    @abstractmethod
    def made(self, group: Group[Entry], wanted: set[str]) -> Iterator[Made | Failed]:
        """What comes of those members of a group whose ids are wanted."""

    @abstractmethod
    def rows(self, made: Made) -> Rows:
        """Rows of one prompt; an exception is its failure."""

    @abstractmethod
    def part(self, rows: Sequence[Rows]) -> dict[str, pa.Table]:
        """One part of each table."""

    def rows_beside(self, made: Sequence[Made]) -> list[Rows | None]:
        """Rows of many from another process, None for those that `rows` is to make."""
        return [None] * len(made)

    def open(self) -> None:
        """Start what helps, once the run is there; nothing by default."""
        return

    def close(self) -> None:
        """End it."""
        return


class Graphs(Kind):
    """A graph a prompt (tracing.py, tables.py)."""

    def __init__(self, run: RunInfo, tracer: Tracer) -> None:
        check_together(tracer.dictionary, tracer.model)
        self.run, self.tracer = run, tracer
        self.tables = tuple(name for name in GRAPH_TABLES if run.heads or name != "heads")
        self.maker: RowMaker | None = None

    def plan(self, entries: Sequence[Entry]) -> Plan:
        """Prompts of one length together: they share a forward pass."""
        return plan(entries, partial(prompt_length, self.tracer))

    def made(self, group: Group[Entry], wanted: set[str]) -> Iterator[Traced | Failed]:
        """Their graphs."""
        return trace_group(self.tracer, group, wanted)

    def rows(self, made: Made) -> PromptRows:
        """Prune and label in this process."""
        assert isinstance(made, Traced)
        if self.tracer.relabel is not None and isinstance(made.graph, UnorderedGraph):
            made = replace(made, graph=self.tracer.pruned(made.graph.ordered()))
        return made.rows(self.run)

    def rows_beside(self, made: Sequence[Made]) -> list[Rows | None]:
        """By the row maker; what relabels has the model, and is needed here."""
        if self.tracer.relabel is not None or self.maker is None:
            return [None] * len(made)
        return [*self.maker.rows([one for one in made if isinstance(one, Traced)])]

    def part(self, rows: Sequence[Rows]) -> dict[str, pa.Table]:
        """Nodes, edges, paths, heads and last the graphs."""
        graphs = [one for one in rows if isinstance(one, PromptRows)]
        return part_tables(graphs, heads=self.run.heads)

    def open(self) -> None:
        """Start the row maker."""
        self.maker = RowMaker(self.run)

    def close(self) -> None:
        """End it."""
        if self.maker is not None:
            self.maker.close()
