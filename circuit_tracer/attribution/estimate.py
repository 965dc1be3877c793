"""What a sweep will take, estimated before it starts: rows, edges, memory and time.

Time is the number of multiplications over the machine's own rate, measured for a moment. Which
rows are coming is guessed from the targets' own rows: the features that these name first, at their
positions and layers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from circuit_tracer.attribution.assembly import Assembler
from circuit_tracer.attribution.replacement import LocalReplacementModel
from circuit_tracer.attribution.sources import ListedSources, Sources
from circuit_tracer.attribution.sweep import Sweep, at_once, batch_bytes
from circuit_tracer.models.devices import as_numpy, peak_memory, synchronize
from circuit_tracer.models.frozen import QUERY_BLOCK
from circuit_tracer.transcoders.neurons import NeuronLayer

KEPT_AT_FLOOR = 0.25
"""Edges that a floor keeps, as a part of 1 / floor (all of the influence on one level cut into
pieces of just that size): at most so in graphs of SmolLM2, six prompts and bases, floors of 2e-7
to 2e-8."""
EFFICIENCY = 0.75
"""Share of the rate of large matrix products that a sweep reaches."""
MOMENT = 0.02
"""Seconds for which that rate is measured."""


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
        return (
            f"{self.n_active:,} active features, {self.n_rows:,} rows, up to {self.n_edges:,} "
            f"edges: {_cost(self.seconds, self.megabytes)}"
        )


@dataclass(frozen=True)
class WalkExpectation:
    """The same of walks for total effects, which make no edges."""

    n_tokens: int
    n_rows: int
    megabytes: float
    seconds: float

    def __str__(self) -> str:
        rows = f"{self.n_rows:,} row{'' if self.n_rows == 1 else 's'}"
        return f"{rows} over {self.n_tokens:,} tokens: {_cost(self.seconds, self.megabytes)}"


def _cost(seconds: float, megabytes: float) -> str:
    minutes = seconds / 60
    length = f"{seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} min"
    return f"about {length} and {megabytes:,.0f} MB in all"


def estimate_walks(
    sweep: Sweep, positions: Sequence[int], batch_size: int, *, directly: bool = False
) -> WalkExpectation:
    """What total effects on targets at these positions will take, `batch_size` of them a walk;
    with what is done to them `directly`, as `token_totals` asks for, too."""
    model, ordered = sweep.model, sorted(positions)
    batches = [ordered[at : at + batch_size] for at in range(0, len(ordered), batch_size)]
    flops = sum(walk_flops(sweep, len(some), some[-1] + 1, directly=directly) for some in batches)
    buffers = batch_bytes(model, min(batch_size, len(ordered)))
    return WalkExpectation(
        n_tokens=model.n_tokens,
        n_rows=(1 + directly) * len(ordered),
        megabytes=(peak_memory(model.embeddings.device) + buffers) / 2**20,
        seconds=_seconds(model, flops),
    )


def walk_flops(sweep: Sweep, n_rows: int, cone: int, *, directly: bool) -> float:
    """Multiplications and additions of one walk through the features, all rows in one cone."""
    model, first = sweep.model, sweep.model.dictionary.layers[0]
    projections, read = _layer_flops(model, sweep.sources)
    # A long text's queries are mixed in blocks, which leave out the keys after them: half.
    is_long = cone > 2 * QUERY_BLOCK
    mixing = (1 if is_long else 2) * model.layers[0].attention.W_O.shape[1] * cone
    is_neuron = isinstance(first, NeuronLayer)
    pulled = 2 if isinstance(first, NeuronLayer) and first.weights.up is not None else 1
    row = (projections + (1 + pulled) * read + mixing).sum()
    once = (pulled * is_neuron * read + is_long * mixing).sum()  # slopes and pattern, by all rows
    if directly:
        row += (projections + read + mixing).sum()
        once += (np.full(len(read), is_long * mixing)).sum()
    return cone * float(n_rows * row + once)


def estimate(
    assembler: Assembler, coming: NDArray[np.int64], n_rows: int, batch_size: int
) -> Expectation:
    """What sweeping `n_rows` rows will take, if they are like those of the targets `coming`."""
    n_features = len(assembler.model.features)
    n_edges = n_rows * assembler.columns.count // 2
    if assembler.edge_floor:
        n_edges = min(n_edges, int(KEPT_AT_FLOOR / assembler.edge_floor))
    model, size = assembler.model, assembler.model.embeddings.element_size()
    seconds = _seconds(assembler.sweep.model, n_rows * _row_flops(assembler, coming))
    beside = at_once(model, n_rows, batch_size)
    buffers = beside * batch_bytes(model, min(batch_size, n_rows))
    edges = 3 * (8 + size) * n_edges  # kept twice, and a third time while they are written
    return Expectation(
        n_active=n_features,
        n_rows=n_rows,
        n_edges=n_edges,
        megabytes=(peak_memory(model.embeddings.device) + buffers + edges) / 2**20,
        seconds=seconds,
    )


def _row_flops(assembler: Assembler, coming: NDArray[np.int64]) -> float:
    """Multiplications and additions of a mean row: those of its layers, in its cone."""
    model, n_logits = assembler.model, assembler.n_logits
    attention = model.layers[0].attention
    projections, read = _layer_flops(model, assembler.sweep.sources)
    below = np.concatenate([[0], np.cumsum(projections + read)])  # all layers under a level
    features = torch.from_numpy(coming[coming >= n_logits] - n_logits).to(model.embeddings.device)
    if not len(features):
        return float(below[-1]) * model.n_tokens
    places = model.features.at(features)
    level, cone = as_numpy(places.layer), as_numpy(places.position) + 1.0
    mixing = attention.W_O.shape[1] * cone  # half of the pattern, by causality
    return float((cone * (below[level] + mixing * level)).mean())


def _layer_flops(
    model: LocalReplacementModel, sources: Sources
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of one position by layer: attention's projections, and reading the features."""
    d, attention = model.embeddings.shape[1], model.layers[0].attention
    reads = [
        sources.blocks[layer].shape[1]
        if isinstance(sources, ListedSources)
        else model.dictionary.layers[layer].n_features
        for layer in range(model.n_layers)
    ]
    projections = 2.0 * d * (attention.W_O.shape[1] + attention.W_V.shape[0])
    return np.full(len(reads), projections), 2.0 * d * np.array(reads)


def _seconds(model: LocalReplacementModel, flops: float) -> float:
    """How long so many multiplications and additions take where nothing else runs."""
    return flops / (EFFICIENCY * _rate(model))


def _rate(model: LocalReplacementModel) -> float:
    """Multiplications and additions a second of a product of the sweep's kind.

    On a processor in its own time, and by the fastest: what others happen to take from this moment
    says nothing of the time to come.
    """
    like = model.embeddings
    a, b = like.new_ones(512, 512), like.new_ones(512, 512)
    n_threads = torch.get_num_threads() if like.device.type == "cpu" else 0
    _ = a @ b  # the first one lays out memory and picks a kernel
    synchronize(like.device)
    begun, fastest, count = time.perf_counter(), math.inf, 0
    while time.perf_counter() - begun < MOMENT or count < 3:
        start = clock(n_threads)
        _ = a @ b
        synchronize(like.device)
        fastest, count = min(fastest, clock(n_threads) - start), count + 1
    return 2 * 512**3 / max(fastest, 1e-9)


def clock(n_threads: int) -> float:
    """Seconds so far: of so many threads of this process, a share each; with 0 on the wall."""
    return time.process_time() / n_threads if n_threads else time.perf_counter()
