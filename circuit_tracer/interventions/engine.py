"""Carry out interventions in the model itself: many at once, in one pass over the same prompt.

What happens inside a pass is in `edits.py`; here is what a mode freezes.

direct: attention, norms and MLP outputs; an affine skip carries on, being linear. constrained: MLP
outputs up to the end layer (by default the highest changed one), attention patterns everywhere;
norms are recomputed unless they are to be frozen. free: nothing. A cross-layer feature's decoder at
a later layer stands for what that layer's MLP makes of it: where that MLP is recomputed, both
count, unless `writes` leaves the decoder out there (`spec.Writes`).
Source: method.md section 7; "Circuit Tracing" (Anthropic, March 2025), interventions.

Shapes: B rows (one intervention each), T tokens, P positions asked for, L layers, d model width,
V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit_tracer.errors import UsageError
from circuit_tracer.interventions.edits import EditedRun, check_finite
from circuit_tracer.interventions.freezing import Freezing, frozen_norms
from circuit_tracer.interventions.original import Original, run_original
from circuit_tracer.interventions.plan import Plan, check_places
from circuit_tracer.interventions.responding import RespondingFeatures
from circuit_tracer.interventions.spec import Intervention, Mode, Writes, highest_layer
from circuit_tracer.models import Model
from circuit_tracer.transcoders.decoders import memory_budget
from circuit_tracer.transcoders.neurons import AnyDictionary

MOST_ROWS = 512
"""Rows of one pass, however much memory there is."""
MOST_ENTRIES = 20_000
"""Changed features in one pass: each has a decoder row added for every layer it writes to."""
SMALL_WIDTH = 512
"""Models of less width run many passes fastest on one thread."""


@dataclass(frozen=True)
class Effects:
    """What a batch of interventions did."""

    logits: Float[Tensor, "B P V"]
    """Before a soft-cap, at `positions`."""
    baseline: Float[Tensor, "P V"]
    """The logits without any change."""
    positions: Int[Tensor, "P"]
    seen: Float[Tensor, "L B T d"] | None = None
    """What the dictionary reads; only where it was asked for."""
    baseline_seen: Float[Tensor, "L 1 T d"] | None = None
    """What it reads without any change."""


@torch.no_grad()
def intervene(
    model: Model,
    dictionary: AnyDictionary,
    token_ids: list[int],
    interventions: Sequence[Intervention],
    *,
    mode: Mode = "constrained",
    end_layer: int | None = None,
    freeze_attention: bool | None = None,
    freeze_norms: bool | None = None,
    writes: Writes = "all",
    positions: Sequence[int] | None = None,
    keep_seen: bool = False,
    n_zeroed: int | None = None,
    original: Original | None = None,
    responding: RespondingFeatures | None = None,
) -> Effects:
    """Run one prompt once for every intervention, in as few passes as memory allows.

    `end_layer` is for constrained runs: the last layer whose MLP output is frozen (-1: none), by
    default each row's highest changed layer. `freeze_attention` is for attention patterns (by
    default in all modes but free), `freeze_norms` for norm denominators (by default in direct runs
    alone). `writes` says at which layers cross-layer features are written (`spec.Writes`).
    `positions` limits the logits. `keep_seen` keeps what later features read. `original` spares
    the prompt's own pass. With `responding` it is a prediction: all MLP outputs are frozen, and
    these features respond where MLPs would. Raises UsageError for layers, features and positions
    that are not there, for options that do not go together, and where the result is not finite.
    """
    if original is None:
        original = run_original(model, dictionary, token_ids, n_zeroed=n_zeroed)
    T = original.n_tokens
    check_places(interventions, dictionary, n_tokens=T, n_zeroed=original.n_zeroed)
    attention = mode != "free" if freeze_attention is None else freeze_attention
    norms = mode == "direct" if freeze_norms is None else freeze_norms
    _check_together(mode, end_layer, model.n_layers, attention=attention, norms=norms)
    freezing = Freezing(
        attention=attention,
        norms=frozen_norms(model.wiring, original.capture) if norms else {},
        skips_carry=mode == "direct" or responding is not None,
        writes=writes,
        features=responding,
    )
    at = torch.tensor(range(T) if positions is None else positions, device=model.device)
    at = torch.where(at < 0, at + T, at)
    ends = [_end(changes, mode, end_layer, model.n_layers) for changes in interventions]
    run = partial(passes, model, original, interventions, ends, freezing)
    found = list(run(at=at, keep_seen=keep_seen))
    seen = [one.seen for one in found if one.seen is not None]
    return Effects(
        logits=torch.cat([one.logits[1:] for one in found]),
        baseline=found[0].logits[0],
        positions=at,
        seen=torch.cat([one[:, 1:] for one in seen], 1) if seen else None,
        baseline_seen=seen[0][:, :1] if seen else None,
    )


def _end(changes: Intervention, mode: Mode, end_layer: int | None, n_layers: int) -> int:
    """Last layer whose MLP output is frozen."""
    if mode == "direct":
        return n_layers - 1
    if mode == "free":
        return -1
    return highest_layer(changes) if end_layer is None else end_layer


def _check_together(
    mode: Mode, end_layer: int | None, n_layers: int, *, attention: bool, norms: bool
) -> None:
    if end_layer is not None and mode != "constrained":
        raise UsageError(f"`end_layer` is for constrained runs, not for {mode} ones; leave it out")
    if end_layer is not None and not -1 <= end_layer < n_layers:
        raise UsageError(
            f"`end_layer` {end_layer} is no layer of this model; give 0 to {n_layers - 1}, or -1 "
            "to freeze no MLP"
        )
    for part, is_frozen in (("attention", attention), ("norms", norms)):
        if mode == "direct" and not is_frozen:
            raise UsageError(
                f"a direct run freezes everything; let {part} be recomputed in another mode"
            )


class Batch(NamedTuple):
    """What came of some interventions in one pass."""

    start: int
    end: int
    """Which of the interventions."""
    logits: Float[Tensor, "B P V"]
    """Before a soft-cap. The first row is the pass with nothing changed, the others follow."""
    seen: Float[Tensor, "L B T d"] | None
    """What the dictionary reads in the same rows, where it was asked for: its encoder gives all
    features' activations."""


def passes(
    model: Model,
    original: Original,
    interventions: Sequence[Intervention],
    ends: Sequence[int],
    freezing: Freezing,
    *,
    at: Int[Tensor, "P"],
    keep_seen: bool,
) -> Iterator[Batch]:
    """Carry out interventions in as few passes as memory allows, at least one.

    `ends` gives for each the last layer whose MLP output is frozen (-1: none), or, where features
    respond in the MLPs' place, the last at which none does. Every pass has its
    own row with nothing changed, since sums of other batches round otherwise. Raises UsageError
    where the numbers overflow.
    """
    more = 0 if freezing.features is None else freezing.features.numbers_a_token
    most = rows_at_once(model, original.n_tokens, len(at), keep_seen=keep_seen, more=more)
    for start, end in _spans(interventions, most - 1):
        rows: list[Intervention] = [(), *interventions[start:end]]
        run = EditedRun(
            model,
            original.dictionary,
            Plan.of(rows, original.capture.embeddings),
            original=original,
            end=torch.tensor(
                [min(ends[start:end], default=-1), *ends[start:end]], device=model.device
            ),
            freezing=freezing,
            keep_seen=keep_seen,
            n_zeroed=original.n_zeroed,
        )
        ids = original.capture.token_ids.expand(len(rows), original.n_tokens)
        logits = model.edited(ids, run, positions=at)
        check_finite(logits, run)
        yield Batch(start, end, logits, torch.stack(run.seen) if keep_seen else None)


def _spans(interventions: Sequence[Intervention], most: int) -> list[tuple[int, int]]:
    """Batches of interventions, none with too many rows or too many changes."""
    spans, start, entries = [], 0, 0
    for i, changes in enumerate(interventions):
        if i > start and (i - start >= most or entries + len(changes) > MOST_ENTRIES):
            spans.append((start, i))
            start, entries = i, 0
        entries += len(changes)
    return [*spans, (start, len(interventions))]


def rows_at_once(
    model: Model, n_tokens: int, n_positions: int, *, keep_seen: bool, more: int = 0
) -> int:
    """How many rows a pass can carry in a quarter of the memory that decoders might take, with so
    many `more` numbers for each token."""
    wiring = model.wiring
    width = wiring.mlp_weights(0).gate.shape[0] if wiring.n_layers else wiring.d_model
    a_token = 16 * wiring.d_model + 4 * width + 3 * wiring.n_heads * n_tokens + more
    if keep_seen:
        a_token += 3 * wiring.n_layers * wiring.d_model
    numbers = n_tokens * a_token + 4 * n_positions * wiring.n_vocabulary
    size = numbers * model.torch_dtype.itemsize
    return int(max(2, min(MOST_ROWS, memory_budget(model.device) // 4 // size)))


@contextmanager
def few_threads(model: Model) -> Iterator[None]:
    """One thread for many passes of a small model: their products gain nothing from more, and where
    the cores are busy the threads wait for each other, by a factor of twenty."""
    before = torch.get_num_threads()
    if model.device.type == "cpu" and model.d_model < SMALL_WIDTH:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
