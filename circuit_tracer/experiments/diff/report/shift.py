"""Tables of step 4."""

from __future__ import annotations

from collections.abc import Iterator

from circuit_tracer.experiments.diff.results.shift import ShiftResult
from circuit_tracer.experiments.kit.tables import Table
from circuit_tracer.render.numbers import decimals, percent, with_interval

STEP = "4. Shift of the residual stream"


def tables(found: ShiftResult) -> Iterator[Table]:
    """A layer a row."""
    rows = tuple(
        (
            str(one.layer),
            percent(one.size.value),
            with_interval(one.with_contrast),
            percent(one.text_size.value),
            with_interval(one.text_with_contrast),
            with_interval(one.text_with_shift),
        )
        for one in found.rows
    )
    note = (
        "Tuned minus base after each layer, as a share of the stream's norm: at the ends of "
        "held-out prompts, and on the first five tokens of ordinary text; cosines with the base's "
        "contrast of two contexts, and of text with prompts. Two random directions: "
        f"{decimals(found.by_chance)}."
    )
    columns = ("after layer", "prompts", "with contrast", "text", "with contrast", "with prompts")
    yield Table(STEP, columns, rows, note)
