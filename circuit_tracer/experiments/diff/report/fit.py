"""Tables of step 3."""

from __future__ import annotations

from collections.abc import Iterator

from circuit_tracer.experiments.diff.results.fit import DictionaryFit, FitResult
from circuit_tracer.experiments.kit.tables import Table
from circuit_tracer.graphs.bootstrap import Interval
from circuit_tracer.render.numbers import number, whole_percent, with_interval

STEP = "3. Dictionary fit"


def tables(found: FitResult) -> Iterator[Table]:
    """By layer, then loss and answers with the dictionary in its place."""
    for one in found.dictionaries:
        layers = tuple(
            (str(row.layer), *map(number, (row.fvu_base, row.fvu_tuned, row.l0_base, row.l0_tuned)))
            for row in one.layers
        )
        columns = ("layer", "FVU, base", "tuned", "L0, base", "tuned")
        yield Table(STEP, columns, layers, title=f"{one.name}: error and active features")
        columns = ("model", "loss", "replaced", "right", "replaced")
        yield Table(STEP, columns, _rows(one), _note(one), f"{one.name} in place of {one.replaced}")


def _rows(one: DictionaryFit) -> tuple[tuple[str, ...], ...]:
    base = _shares(one.right_base, one.right_base_replaced)
    tuned = _shares(one.right_tuned, one.right_tuned_replaced)
    return (
        ("base", f"{one.loss_base:.3f}", f"{one.loss_base_replaced:.3f}", *base),
        ("tuned", f"{one.loss_tuned:.3f}", f"{one.loss_tuned_replaced:.3f}", *tuned),
    )


def _shares(*intervals: Interval) -> tuple[str, ...]:
    return tuple(whole_percent(one.value) for one in intervals)


def _note(one: DictionaryFit) -> str:
    return (
        f"{one.name} in place of {one.replaced} brings back "
        f"{with_interval(one.given_back, percent=True)} of the lost answers by itself: that much "
        "of the change it does not hold."
    )
