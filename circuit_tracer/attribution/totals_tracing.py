"""The way of a prompt to its token totals: tokens -> capture -> replacement model -> one walk."""

from __future__ import annotations

from typing import NamedTuple

from circuit_tracer.attribution.directions import DirectionTarget
from circuit_tracer.attribution.estimate import estimate_walks
from circuit_tracer.attribution.resources import memory_remedy, products, timed
from circuit_tracer.attribution.settings import TraceSettings
from circuit_tracer.attribution.sweep import Sweep
from circuit_tracer.attribution.totals import token_totals
from circuit_tracer.attribution.tracing import OnProgress, Progress, dtype_name, freeze, run_info
from circuit_tracer.graphs.graph import GraphInfo
from circuit_tracer.models import Model
from circuit_tracer.transcoders.neurons import AnyDictionary


class TracedTotals(NamedTuple):
    """What the tokens do to the targets, without a graph."""

    info: GraphInfo
    """As a graph of the prompt has it, with the `totals`; the residual is theirs."""
    seconds: dict[str, float]
    """Wall time of "forward", "encode" and "sweep"."""


def trace_totals(
    model: Model,
    dictionary: AnyDictionary,
    prompt: str,
    settings: TraceSettings | None = None,
    *,
    direction: DirectionTarget | None = None,
    on_progress: OnProgress | None = None,
) -> TracedTotals:
    """What every token does to the targets: one walk through the MLPs, and no graph.

    Parameters and errors as those of `trace`; cotangents are always in the model's own dtype.
    """
    frozen = freeze(model, dictionary, prompt, settings or TraceSettings(), direction, on_progress)
    dtype, batch_size = dtype_name(model), frozen.prepared.settings.batch_size
    seconds, last = frozen.prepared.seconds, frozen.model.n_tokens - 1
    with memory_remedy(), products(), timed(seconds, "sweep"):
        sweep = Sweep(frozen.model)
        if on_progress is not None:
            ends = [last] * len(frozen.chosen.targets)
            expected = estimate_walks(sweep, ends, batch_size, directly=True)
            on_progress(Progress("sweep", 0, 0, str(expected), expected.seconds))
        totals, residual, tolerance = token_totals(
            frozen.model, frozen.chosen, dtype=dtype, batch_size=batch_size, sweep=sweep
        )
    return TracedTotals(run_info(model, frozen, totals, residual, tolerance, dtype), seconds)
