"""The columns of the attribution matrix: which number each source node has.

Topological: embeddings, then layer by layer its features and its errors. Targets of the sweep come
after them. Shapes: T tokens, L layers, n columns asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from circuit_tracer.attribution.replacement import LocalReplacementModel
from circuit_tracer.graphs.graph import NodeKind


@dataclass(frozen=True)
class SourceColumns:
    """Arithmetic between nodes and column numbers."""

    n_tokens: int
    n_errors: int
    """Errors of one layer: one at every position that is not zeroed, none for neurons."""
    layer_start: tuple[int, ...]
    """Number of each layer's first feature, and that of all features at the end."""

    @classmethod
    def of(cls, model: LocalReplacementModel) -> SourceColumns:
        """The columns of a local replacement model."""
        n_errors = model.n_tokens - model.n_zeroed if model.has_errors else 0
        return cls(model.n_tokens, n_errors, model.features.layer_start)

    @property
    def n_layers(self) -> int:
        """Number of decoder layers, L."""
        return len(self.layer_start) - 1

    @property
    def count(self) -> int:
        """Number of source columns."""
        return self.n_tokens + self.layer_start[-1] + self.n_layers * self.n_errors

    def first_feature(self, layer: int) -> int:
        """Column of a layer's first feature."""
        return self.n_tokens + self.layer_start[layer] + layer * self.n_errors

    def first_error(self, layer: int) -> int:
        """Column of a layer's first error."""
        return self.first_feature(layer) + self.layer_start[layer + 1] - self.layer_start[layer]

    def of_features(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Columns of features by their numbers."""
        layer = np.searchsorted(self.layer_start, numbers, side="right") - 1
        return self.n_tokens + numbers + layer * self.n_errors

    def describe(self, columns: NDArray[np.int64]) -> Columns:
        """Kind, layer and feature number or position of some columns."""
        starts = np.array([self.first_feature(layer) for layer in range(self.n_layers)])
        layer = np.searchsorted(starts, columns, side="right") - 1
        within = columns - starts[np.maximum(layer, 0)]
        features = np.diff(self.layer_start)[np.maximum(layer, 0)]
        is_error = (layer >= 0) & (within >= features)
        kind = np.where(is_error, NodeKind.ERROR, NodeKind.FEATURE)
        return Columns(
            kind=np.where(layer < 0, NodeKind.EMBEDDING, kind).astype(np.int8),
            layer=layer.astype(np.int32),
            number=columns - self.n_tokens - layer * self.n_errors,
            error_position=within - features,
        )


@dataclass(frozen=True)
class Columns:
    """What some columns stand for."""

    kind: NDArray[np.int8]
    """A `NodeKind`."""
    layer: NDArray[np.int32]
    """-1 for embeddings."""
    number: NDArray[np.int64]
    """Feature number; meaningless for the others."""
    error_position: NDArray[np.int64]
    """Position of an error, zeroed ones not counted; meaningless for the others."""
