"""What a sweep will take, said before it starts: rows, edges, memory and time.

Time is the number of multiplications over the machine's own rate, measured for a moment. Rows that
are chosen by influence lie late in the prompt and high in the model; when all features get one they
are spread evenly, and a row sees half of the positions and half of the layers.
"""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass

import torch

from circuit_tracer.attribution.assembly import Assembler
from circuit_tracer.attribution.sources import ListedSources

USUAL_DEPTH = 1.0
"""What the influences of all rows sum to in a diffuse graph, which is where edges are dropped."""
EFFICIENCY = 0.6
"""Share of the rate of large matrix products that a sweep reaches."""


@dataclass(frozen=True)
class Expectation:
    """An estimate; `str` is what the user reads."""

    n_active: int
    n_rows: int
    n_edges: int
    megabytes: float
    """Peak of the whole process (on a GPU: of its memory)."""
    seconds: float

    def __str__(self) -> str:
        minutes = self.seconds / 60
        length = f"{self.seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} min"
        return (
            f"{self.n_active:,} active features, {self.n_rows:,} rows, up to {self.n_edges:,} "
            f"edges: about {length} and {self.megabytes:,.0f} MB in all"
        )


def estimate(assembler: Assembler, n_rows: int, batch_size: int) -> Expectation:
    """What sweeping `n_rows` rows will take."""
    n_features = len(assembler.model.features)
    n_edges = n_rows * assembler.columns.count // 2
    if assembler.edge_floor:
        n_edges = min(n_edges, int(USUAL_DEPTH / assembler.edge_floor))
    spread = n_rows / max(n_features, 1)
    extent = (1 - min(spread, 1.0) / 2) ** 2  # of positions and of layers
    seconds = n_rows * _row_flops(assembler) * extent / (EFFICIENCY * _rate(assembler))
    size = assembler.model.embeddings.element_size()
    model, rows = assembler.model, min(batch_size, n_rows)
    buffers = 5 * rows * model.n_tokens * model.embeddings.shape[1] * size
    edges = 3 * (8 + size) * n_edges  # held twice, and once more while they are written
    return Expectation(
        n_active=n_features,
        n_rows=n_rows,
        n_edges=n_edges,
        megabytes=(_memory(assembler) + buffers + edges) / 2**20,
        seconds=seconds,
    )


def _row_flops(assembler: Assembler) -> float:
    """Multiplications and additions of a row that sees all positions and layers."""
    model, sources = assembler.model, assembler.sweep.sources
    T, d = model.embeddings.shape
    attention = model.layers[0].attention
    projections = 2 * d * (attention.W_O.shape[1] + attention.W_V.shape[0])
    mixing = 2 * T * attention.W_O.shape[1]
    flops = 0.0
    for layer in range(model.n_layers):
        if isinstance(sources, ListedSources):
            read = 2 * d * sources.blocks[layer].shape[1]
        else:
            read = 2 * d * model.dictionary.layers[layer].n_features
        flops += T * (projections + mixing + read)
    return flops


def _rate(assembler: Assembler) -> float:
    """Multiplications and additions a second of a product of the sweep's kind."""
    like = assembler.sweep.model.embeddings
    a, b = like.new_ones(512, 512), like.new_ones(512, 512)
    _wait(like.device)
    start, count = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < 0.02 or count < 2:
        a @ b
        _wait(like.device)
        count += 1
    return 2 * 512**3 * count / elapsed


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _memory(assembler: Assembler) -> float:
    """Bytes at the highest so far: the model, its pass and the dictionary."""
    device = assembler.model.embeddings.device
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak) * (1 if sys.platform == "darwin" else 1024)
