"""From rows to a graph: number the nodes, collect the edges, check that each target is conserved.

Conservation (method.md section 3): the incoming edges of a node plus its constant are its value,
and the value comes from the model's own forward pass, not from the sweep.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from circuit_tracer.attribution.replacement import LocalReplacementModel
from circuit_tracer.attribution.sweep import Rows, SourceColumns, SweepTargets, source_columns
from circuit_tracer.attribution.targets import ChosenTargets
from circuit_tracer.errors import ConservationError
from circuit_tracer.graphs.graph import Edges, Floats, NodeKind, Nodes

TOLERANCE = {"float64": 1e-10, "float32": 1e-4, "bfloat16": 5e-2, "float16": 1e-2}
"""Largest relative conservation residual a graph may have, by dtype."""

GROSS_FLOOR = 0.01
"""A target's residual is relative to its value, or to this share of the absolute sum of what it
receives where the value itself is smaller (it is a small difference of large parts then)."""


@dataclass
class RowTable:
    """Targets of the sweep (logits first, then all features) and what is known of their rows."""

    targets: SweepTargets
    node: NDArray[np.int64]
    """(n,) graph row of each target."""
    value: Floats
    """(n,) from the forward pass: centred logits, pre-activations."""
    bias: Floats
    """(n,) the target's own bias, part of the constant."""
    constant: Floats
    """(n,) NaN until the row is known."""
    received: Floats
    """(n,) sum of incoming edges."""
    gross: Floats
    """(n,) absolute sum of incoming edges."""


class Assembler:
    """Collects rows of one prompt into columns of edges."""

    def __init__(self, model: LocalReplacementModel, chosen: ChosenTargets) -> None:
        self.model = model
        self.chosen = chosen
        self.columns: SourceColumns = source_columns(model)
        self.n_logits = len(chosen.targets)
        self.n_nodes = self.columns.count + self.n_logits
        self.table = self._row_table()
        self._edges: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = []

    def _row_table(self) -> RowTable:
        """Logits first, then every active feature, as targets of the sweep."""
        model, chosen = self.model, self.chosen
        features, device = model.features, model.embeddings.device
        all_features = torch.arange(len(features), device=device)
        at = torch.tensor([t.position for t in chosen.targets], device=device)
        level = torch.cat([torch.full_like(at, model.n_layers), features.layer])
        logit_vectors = chosen.direction * model.final_gain[at]
        bias = model.encoder_biases()
        count = self.columns.count
        logit_nodes = torch.arange(count, count + len(at), device=device)
        return RowTable(
            targets=SweepTargets(
                level=level,
                position=torch.cat([at, features.position]),
                vector=torch.cat([logit_vectors, model.encoder_rows(all_features)]),
            ),
            node=_numpy(torch.cat([logit_nodes, self.columns.feature])).astype(np.int64),
            value=_floats(torch.cat([chosen.value, features.activation])),
            bias=_floats(torch.cat([torch.zeros_like(chosen.value), bias])),
            constant=np.full(len(level), np.nan),
            received=np.zeros(len(level)),
            gross=np.zeros(len(level)),
        )

    def add(self, rows: Rows) -> None:
        """Take a batch of rows from the sweep."""
        target = _numpy(rows.target)
        weight = rows.weight.cpu()
        wide = weight.double()
        self.table.received[target] = _numpy(wide.sum(1))
        self.table.gross[target] = _numpy(wide.abs().sum(1))
        self.table.constant[target] = _floats(rows.constant) + self.table.bias[target]
        here, column = weight.nonzero(as_tuple=True)
        nodes = self.table.node[target].astype(np.int32)
        self._edges.append(
            (
                _numpy(rows.column.cpu()[column]).astype(np.int32),
                nodes[_numpy(here)],
                _numpy(weight[here, column]),
            )
        )

    @property
    def expanded(self) -> NDArray[np.bool_]:
        """(n,) which targets have a row by now."""
        return ~np.isnan(self.table.constant)

    def residuals(self) -> Floats:
        """(n,) relative conservation residual of every known row, NaN for the others."""
        table = self.table
        gross = table.gross + np.abs(table.constant)
        scale = np.maximum(np.abs(table.value), GROSS_FLOOR * gross)
        residual = np.abs(table.received + table.constant - table.value)
        return residual / np.maximum(scale, np.finfo(np.float64).tiny)

    def check_conservation(self, dtype: str, names: list[str]) -> tuple[float, float]:
        """Largest residual and the dtype's tolerance; `names` are the targets' (n,) in words.

        Raises ConservationError naming the worst target when it lies above the tolerance.
        """
        residuals, tolerance = self.residuals(), TOLERANCE[dtype]
        known = np.flatnonzero(self.expanded)
        finite = np.nan_to_num(residuals[known], nan=np.inf)
        worst = int(known[np.argmax(finite)])
        largest = float(finite.max())
        if largest > tolerance:
            raise ConservationError(
                f"the edges into {names[worst]} and its constant miss its value by a share of "
                f"{largest:.2g}, and {dtype} allows {tolerance:.0e}; the graph is refused (a "
                "higher --dtype helps if it is rounding; otherwise the wiring of this model is "
                "wrong)"
            )
        return largest, tolerance

    def unsorted_edges(self) -> Edges:
        """All edges known so far, in the order of the sweep."""
        source, target, weight = (np.concatenate(parts) for parts in zip(*self._edges, strict=True))
        return Edges(source=source, target=target, weight=weight)

    def edges(self) -> Edges:
        """All edges known so far, sorted by target, then source."""
        edges = self.unsorted_edges()
        order = np.lexsort((edges.source, edges.target))
        return Edges(edges.source[order], edges.target[order], edges.weight[order])

    def nodes(self, labels: tuple[str, ...]) -> Nodes:
        """The node table; `labels` (n_nodes,) in its order."""
        n, columns, table = self.n_nodes, self.columns, self.table
        features = self.model.features
        kind = np.full(n, NodeKind.LOGIT, dtype=np.int8)
        layer = np.full(n, self.model.n_layers, dtype=np.int32)
        position, feature = np.zeros(n, dtype=np.int32), np.full(n, -1, dtype=np.int64)
        T = self.model.n_tokens
        kind[:T], layer[:T], position[:T] = NodeKind.EMBEDDING, -1, np.arange(T)
        feature[:T] = _numpy(self.model.token_ids)
        row = _numpy(columns.feature)
        kind[row], layer[row] = NodeKind.FEATURE, _numpy(features.layer)
        position[row], feature[row] = _numpy(features.position), _numpy(features.index)
        error = _numpy(columns.error)
        error_layer, error_position = np.nonzero(error >= 0)
        row = error[error_layer, error_position]
        kind[row], layer[row], position[row] = NodeKind.ERROR, error_layer, error_position
        for i, target in enumerate(self.chosen.targets):
            position[columns.count + i] = target.position
            if not target.is_contrast:
                feature[columns.count + i] = target.vocabulary_ids[0]
        return Nodes(
            kind=kind,
            layer=layer,
            position=position,
            feature=feature,
            activation=_scattered(n, _numpy(columns.feature), _floats(features.activation)),
            value=np.where(self._known_nodes(), _scattered(n, table.node, table.value), np.nan),
            constant=_scattered(n, table.node, table.constant),
            expanded=self._known_nodes(),
            weight=np.nan_to_num(
                _scattered(n, table.node[: self.n_logits], _floats(self.chosen.weight))
            ),
            label=labels,
        )

    def levels(self) -> NDArray[np.int32]:
        """(n_nodes,) layer of each node, for the influence of a graph still growing."""
        level = np.full(self.n_nodes, self.model.n_layers, dtype=np.int32)
        level[: self.model.n_tokens] = -1
        level[_numpy(self.columns.feature)] = _numpy(self.model.features.layer)
        error = _numpy(self.columns.error)
        error_layer, error_position = np.nonzero(error >= 0)
        level[error[error_layer, error_position]] = error_layer
        return level

    def _known_nodes(self) -> NDArray[np.bool_]:
        known = np.zeros(self.n_nodes, dtype=np.bool_)
        known[self.table.node[self.expanded]] = True
        return known


def _numpy(tensor: Tensor) -> NDArray[Any]:
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    return tensor.detach().cpu().numpy()


def _floats(tensor: Tensor) -> Floats:
    return tensor.detach().cpu().double().numpy()  # some devices have no float64


def _scattered(n: int, rows: NDArray[np.int64], values: Floats) -> Floats:
    column = np.full(n, np.nan)
    column[rows] = values
    return column
