"""From rows to a graph: number the nodes, collect the edges.

Targets of the sweep are numbered: logits first, then features by their numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from circuit_tracer.attribution.features import ActiveFeatures
from circuit_tracer.attribution.replacement import LocalReplacementModel
from circuit_tracer.attribution.row_collection import CollectedRows, collector
from circuit_tracer.attribution.sweep import Batch, Sweep, SweepTargets, at_once, batches
from circuit_tracer.attribution.targets import ChosenTargets
from circuit_tracer.graphs.edges.store import EdgeStore, UnorderedGraph
from circuit_tracer.graphs.graph import DROPPED_OF, Edges, Floats, GraphInfo, NodeKind, Nodes
from circuit_tracer.graphs.influence import flow
from circuit_tracer.models.devices import as_floats, as_numpy, on_device, side_by_side


@dataclass
class RowTable:
    """What is known of the rows so far, batch after batch; every column has length r."""

    parts: dict[str, list[NDArray[Any]]] = field(default_factory=dict)

    def add(self, **columns: NDArray[Any]) -> None:
        """Take a batch."""
        for name, values in columns.items():
            self.parts.setdefault(name, []).append(values)

    def __getitem__(self, name: str) -> NDArray[Any]:
        """One column: "target", "column", or a sum by name."""
        return np.concatenate(self.parts[name])

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts.get("target", ()))


class Assembler:
    """Sweeps rows of one prompt and collects them."""

    def __init__(
        self,
        model: LocalReplacementModel,
        chosen: ChosenTargets,
        *,
        edge_floor: float = 0.0,
        cotangents: torch.dtype | None = None,
        store: EdgeStore | None = None,
    ) -> None:
        self.model = model
        self.chosen = chosen
        self.sweep = Sweep(model, cotangents)
        self.columns = self.sweep.columns
        self.n_logits = len(chosen.targets)
        self.n_targets = self.n_logits + len(model.features)
        self.edge_floor = edge_floor
        """Least share of the targets' influence that an edge must carry to be kept."""
        self.store = store or EdgeStore()
        self.table = RowTable()

    # Sweeping

    def run(
        self,
        targets: NDArray[np.int64],
        influence: Floats,
        *,
        batch_size: int,
        on_progress: Callable[[int], None] | None = None,
    ) -> None:
        """Sweep the rows of these targets (n,), which have none yet; `influence` (n,) is theirs."""
        numbers = torch.from_numpy(targets).to(self.model.embeddings.device)
        wanted, value, bias = self._targets(numbers)
        every, done = batches(wanted, batch_size), 0
        collected = side_by_side(
            partial(self._collect, wanted, influence),
            every,
            self.model.embeddings.device,
            most=at_once(self.model, len(targets), batch_size),
        )
        with closing(collected):
            for batch, (rows, constant) in zip(every, collected, strict=True):
                which = batch.rows
                self._store(
                    rows,
                    target=targets[which],
                    value=as_floats(value)[which],
                    constant=as_floats(constant) + as_floats(bias)[which],
                    influence=influence[which],
                )
                done += len(which)
                if on_progress is not None:
                    on_progress(done)

    def _targets(self, numbers: Tensor) -> tuple[SweepTargets, Tensor, Tensor]:
        """Places, vectors, values and own biases of targets (n,)."""
        model, chosen = self.model, self.chosen
        is_logit = numbers < self.n_logits
        logit, feature = numbers[is_logit], numbers[~is_logit] - self.n_logits
        explained, own = chosen.at_stream(model)
        explained = explained.take(logit)
        places = model.features.at(feature)
        vectors, biases = model.linear_rows(places)
        order = torch.argsort(torch.cat([is_logit.nonzero(), (~is_logit).nonzero()]).squeeze(1))
        targets = SweepTargets(
            level=torch.cat([explained.level, places.layer]),
            position=torch.cat([explained.position, places.position]),
            vector=torch.cat([explained.vector, vectors]),
        )
        value = torch.cat([chosen.value[logit], places.activation])
        return targets.take(order), value[order], torch.cat([own[logit], biases])[order]

    def _collect(
        self, wanted: SweepTargets, influence: Floats, batch: Batch
    ) -> tuple[CollectedRows, Tensor]:
        """One batch: its edges, and what arrives at its targets from no node."""
        least = self.edge_floor / np.maximum(influence[batch.rows], 1e-300)
        device = self.model.embeddings.device
        rows = collector(on_device(np.minimum(least, 1.0), device), self.columns.count)
        constant = self.sweep.walk(wanted, batch, rows.take)
        return rows.result(), constant

    def _store(
        self, rows: CollectedRows, target: NDArray[np.int64], **known: NDArray[np.float64]
    ) -> None:
        is_logit = target < self.n_logits
        features = self.columns.of_features(np.maximum(target - self.n_logits, 0))
        column = np.where(is_logit, self.columns.count + target, features)  # logits come last
        self.table.add(
            target=target,
            column=column,
            **known,
            received=rows.received,
            gross=rows.gross,
            dropped=rows.dropped,
            **{name: rows.dropped_of[kind] for kind, name in DROPPED_OF.items()},
        )
        if len(rows.row):
            self.store.add(rows.column, column[rows.row], rows.weight)

    # Influence while the graph grows

    def waiting(self) -> tuple[NDArray[np.int64], Floats]:
        """Features without a row that are reached, as targets, and the influence on each."""
        nodes, row, influence, _ = self._influence(with_constants=False)
        described = self.columns.describe(nodes)
        reached = (influence > 0) & (described.kind == NodeKind.FEATURE)
        reached &= nodes < self.columns.count
        reached[row] = False
        return described.number[reached] + self.n_logits, influence[reached]

    def hidden_share(self) -> float:
        """Share of the influence that ends in features without a row or in edges from features
        that were not kept, constants counted as sources: as the scores have it."""
        nodes, row, influence, passed_on = self._influence(with_constants=True)
        described = self.columns.describe(nodes)
        ends = (described.kind == NodeKind.FEATURE) & (nodes < self.columns.count)
        ends[row] = False
        dropped = float((passed_on * self.table["dropped_features"]).sum())
        return float(influence[ends].sum()) + dropped

    def _influence(
        self, *, with_constants: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], Floats, Floats]:
        """Columns that are nodes by now, the known rows among them, the influence on each node,
        and what each known row hands on for each unit of weight."""
        nodes = self._nodes(everything=self._lists_features)
        table = self._lookup(nodes)
        parts = list(self.store.unsorted())
        if not self._lists_features:
            parts = [Edges(table[p.source], table[p.target], p.weight) for p in parts]
        row = table[self.table["column"]]
        totals, weight = np.zeros(len(nodes)), np.zeros(len(nodes))
        totals[row] = self.table["gross"]
        if with_constants:
            totals[row] += np.abs(self.table["constant"])
        weight[len(nodes) - self.n_logits :] = as_floats(self.chosen.weight)
        influence = flow(parts, level=self._levels(nodes), target_weight=weight, totals=totals)
        sums = totals[row]
        passed_on = np.divide(
            influence[row] + weight[row], sums, out=np.zeros(len(row)), where=sums > 0
        )
        return nodes, row, influence, passed_on

    @property
    def _lists_features(self) -> bool:
        """Whether features are listed one by one: few enough to make all columns nodes."""
        return isinstance(self.model.features, ActiveFeatures)

    def _nodes(self, *, everything: bool) -> NDArray[np.int64]:
        """Columns that are nodes, ascending: all, or those that an edge or a row makes one."""
        n = self.columns.count
        if everything:
            return np.arange(n + self.n_logits)
        occurs = np.zeros(n + self.n_logits, dtype=np.bool_)
        occurs[: self.columns.n_tokens] = True
        occurs[n:] = True
        for layer in range(self.columns.n_layers):
            first = self.columns.first_error(layer)
            occurs[first : first + self.columns.n_errors] = True
        for part in self.store.unsorted():
            occurs[part.source] = True
        if len(self.table):
            occurs[self.table["column"]] = True
        return np.flatnonzero(occurs)

    def _lookup(self, nodes: NDArray[np.int64]) -> NDArray[np.int32]:
        """(columns,) row of each column that is a node."""
        table = np.zeros(self.columns.count + self.n_logits, dtype=np.int32)
        table[nodes] = np.arange(len(nodes), dtype=np.int32)
        return table

    def _levels(self, nodes: NDArray[np.int64]) -> NDArray[np.int32]:
        level = self.columns.describe(nodes).layer
        return np.where(nodes >= self.columns.count, self.model.n_layers, level).astype(np.int32)

    # The graph

    def graph(
        self,
        info: GraphInfo,
        labels: Callable[[NDArray[np.int8], NDArray[np.int32], Any], tuple[str, ...]],
    ) -> UnorderedGraph:
        """All rows as a graph; `labels` gives texts for kinds, layers and the feature column."""
        everything = self._lists_features
        columns = self._nodes(everything=everything)
        lookup = self._lookup(columns)
        nodes = self._node_table(columns, lookup, labels, info.n_layers)
        renumbered = None if everything else lookup  # rows are columns where all occur
        return UnorderedGraph(info, nodes, self.store, renumbered)

    def _node_table(
        self, columns: NDArray[np.int64], lookup: NDArray[np.int32], labels: Any, n_layers: int
    ) -> Nodes:
        n, found = len(columns), self.columns.describe(columns)
        kind, layer = found.kind, self._levels(columns)
        position, feature = np.zeros(n, dtype=np.int32), np.full(n, -1, dtype=np.int64)
        T, logits = self.model.n_tokens, n - self.n_logits
        kind[logits:], layer[logits:] = NodeKind.LOGIT, n_layers
        position[:T], feature[:T] = np.arange(T), as_numpy(self.model.token_ids)
        errors = kind == NodeKind.ERROR
        position[errors] = found.error_position[errors] + self.model.n_zeroed
        fires = kind == NodeKind.FEATURE
        numbers = torch.from_numpy(found.number[fires]).to(self.model.embeddings.device)
        places = self.model.features.at(numbers)
        position[fires], feature[fires] = as_numpy(places.position), as_numpy(places.index)
        for i, target in enumerate(self.chosen.targets):
            position[logits + i] = target.position
            if target.is_token:
                feature[logits + i] = target.vocabulary_ids[0]
        row = lookup[self.table["column"]]
        expanded = np.zeros(n, dtype=np.bool_)
        expanded[row] = True

        def scattered(name: str, empty: float) -> Floats:
            column = np.full(n, empty, dtype=np.float64)
            column[row] = self.table[name]
            return column

        activation, weight = np.full(n, np.nan), np.zeros(n)
        activation[fires] = as_floats(places.activation)
        weight[logits:] = as_floats(self.chosen.weight)
        return Nodes(
            kind=kind,
            layer=layer,
            position=position,
            feature=feature,
            activation=activation,
            value=scattered("value", np.nan),
            constant=scattered("constant", np.nan),
            expanded=expanded,
            weight=weight,
            label=labels(kind, layer, feature),
            dropped=scattered("dropped", 0),
            **{name: scattered(name, 0) for name in DROPPED_OF.values()},
        )
