"""4. The mean difference of the residual stream, on prompts and where nothing was asked.

On held-out prompts of the main form it is taken at the end, where the answer is given; true and
false claims are as many, so the answer itself cancels. A narrow tuning leaves the same trace on the
first tokens of any text (Minder et al. 2025, arXiv 2510.13900). The contrast is the base's own: the
same prompts in the context `toward` less those in `away`.

Shapes: n items or documents, L layers, d model width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from circuit_tracer.experiments.diff.study import SIDES, ByItem, Earlier, Step, Study
from circuit_tracer.experiments.kit.passes import Ask, streams_at
from circuit_tracer.experiments.kit.stages import Row
from circuit_tracer.experiments.kit.statistics import known_or_least
from circuit_tracer.experiments.kit.study import Progress
from circuit_tracer.experiments.kit.tables import Table, table_of
from circuit_tracer.graphs.bootstrap import UNKNOWN, Bootstrap, Interval
from circuit_tracer.graphs.graph import Floats
from circuit_tracer.models import Model
from circuit_tracer.models.devices import as_floats
from circuit_tracer.render.numbers import decimals

FIRST = 5
"""Tokens of a document, BOS not counted."""


@dataclass(frozen=True)
class ShiftRow:
    """The stream after one layer. Cosines are over items or documents."""

    layer: int
    size: Interval
    """Norm of the mean difference, tuned minus base, at the ends of held-out prompts, over the mean
    norm of the base's stream there."""
    with_contrast: Interval
    """Cosine of that difference with the base's contrast of two contexts; NaN without one."""
    text_size: Interval
    """As `size`, on the first five tokens of ordinary text."""
    text_with_contrast: Interval
    text_with_shift: Interval
    """Cosine of the difference on ordinary text with that on prompts."""


@dataclass(frozen=True)
class ShiftResult:
    """4. Shift."""

    rows: tuple[ShiftRow, ...]
    by_chance: float
    """Size of the cosine of two random directions, 1 / sqrt(d)."""

    @property
    def most_alike(self) -> ShiftRow:
        """The layer after which the shift is most like the contrast."""
        return max(self.rows, key=lambda one: known_or_least(one.with_contrast.value))


def measure(study: Study, earlier: Earlier, progress: Progress) -> tuple[ShiftResult, list[Row]]:
    """Streams of both models, and of the base in both contexts."""
    prompts = Difference(study, 30, *(ends(study.model(side), study) for side in SIDES))
    progress(1, 3)
    turned = contrast(study)
    progress(2, 3)
    streams = (text_streams(study.model(side), study.texts) for side in SIDES)
    text = Difference(study, 31, *streams)
    found = tuple(_row(layer, prompts, text, turned) for layer in range(study.base.n_layers))
    names = ("size", "with_contrast", "text_size", "text_with_contrast", "text_with_shift")
    rows = [
        {"name": name, "layer": one.layer, "value": getattr(one, name).value}
        for one in found
        for name in names
    ]
    return ShiftResult(found, study.base.d_model**-0.5), rows


def ends(model: Model, study: Study, context: str | None = None) -> Floats:
    """(n, L, d) the stream after each layer at the ends of held-out prompts, by item."""
    asks = study.held_out(context)
    streams = as_floats(streams_at(model, asks, ("verdict",))[:, 0, 1:])
    return ByItem(study, asks, 30).means(streams)


def contrast(study: Study) -> Floats | None:
    """(n, L, d) of the base, in the context `toward` less in `away`; None without a contrast."""
    given = study.spec.contrast
    if given is None:
        return None
    return ends(study.base, study, given.toward) - ends(study.base, study, given.away)


def text_streams(model: Model, texts: Sequence[Sequence[int]]) -> Floats:
    """(n, L, d) the stream after each layer, mean over the first tokens of each document."""
    begun = [tuple(ids[: FIRST + 1]) for ids in texts]
    roles = {str(at): at for at in range(1, FIRST + 1)}
    asks = [Ask(i, "", "", "", ids, roles, 0, 0) for i, ids in enumerate(begun)]
    return as_floats(streams_at(model, asks, tuple(roles))[:, :, 1:].mean(1))


class Difference:
    """Tuned minus base (n, L, d), on the same items or documents."""

    def __init__(self, study: Study, stream: int, base: Floats, tuned: Floats) -> None:
        self.values, self.base = tuned - base, base
        self._draws: Bootstrap = study.bootstrap(len(base), stream)

    def _mean(self, layer: int) -> Callable[[Floats], Floats]:
        """A function of counts (R, n): mean differences (R, d)."""
        return lambda counts: counts @ self.values[:, layer] / counts.sum(1, keepdims=True)

    def size(self, layer: int) -> Interval:
        """Of the mean difference, over the mean norm of the base's stream."""
        norm = float(np.linalg.norm(self.base[:, layer], axis=1).mean())
        mean = self._mean(layer)
        return self._draws.figure(lambda counts: np.linalg.norm(mean(counts), axis=1) / norm)

    def cosine(self, layer: int, others: Floats | None, *, paired: bool = False) -> Interval:
        """With the mean of other differences (n', L, d), resampled with these where paired."""
        if others is None:
            return UNKNOWN
        mean, given = self._mean(layer), others[:, layer]

        def cosines(counts: Floats) -> Floats:
            own = mean(counts)
            other = counts @ given if paired else np.broadcast_to(given.mean(0), own.shape)
            sizes = np.linalg.norm(own, axis=1) * np.linalg.norm(other, axis=1)
            found: Floats = (own * other).sum(1) / sizes
            return found

        return self._draws.figure(cosines)


def _row(layer: int, prompts: Difference, text: Difference, turned: Floats | None) -> ShiftRow:
    return ShiftRow(
        layer=layer,
        size=prompts.size(layer),
        with_contrast=prompts.cosine(layer, turned, paired=True),
        text_size=text.size(layer),
        text_with_contrast=text.cosine(layer, turned),
        text_with_shift=text.cosine(layer, prompts.values),
    )


HEADING = "4. Shift of the residual stream"


def tables(found: ShiftResult) -> Iterator[Table]:
    """A layer a row."""
    columns = ("after layer", "prompts", "with contrast", "text", "with contrast", "with prompts")
    cells = "layer size:% with_contrast:[] text_size:% text_with_contrast:[] text_with_shift:[]"
    note = (
        "Tuned minus base after each layer, as a share of the stream's norm: at the ends of "
        "held-out prompts, and on the first five tokens of ordinary text; cosines with the base's "
        "contrast of two contexts, and of text with prompts. Two random directions: "
        f"{decimals(found.by_chance)}."
    )
    yield table_of(HEADING, found.rows, columns, cells, note)


def brief(found: ShiftResult) -> Iterator[Table]:
    """The layer that is most like the contrast."""
    columns = ("after layer", "cosine with the contrast", "on the first tokens of text")
    cells = "layer with_contrast:[] text_with_contrast:[]"
    yield table_of("4. Shift", [found.most_alike], columns, cells)


STEP = Step("shift", ShiftResult, measure, tables, brief)
