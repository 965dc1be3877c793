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

from circuit_tracer.experiments.diff.results.shift import ShiftResult, ShiftRow
from circuit_tracer.experiments.diff.step import Earlier, Step
from circuit_tracer.experiments.diff.steps.behaviour import in_context
from circuit_tracer.experiments.diff.study import Progress, Study
from circuit_tracer.experiments.kit.measurement_table import Row
from circuit_tracer.experiments.kit.passes import Ask, streams_at
from circuit_tracer.graphs.bootstrap import UNKNOWN, Bootstrap, Interval
from circuit_tracer.graphs.graph import Floats, Ints
from circuit_tracer.models import Model
from circuit_tracer.models.devices import as_floats

FIRST = 5
"""Tokens of a document, BOS not counted."""


@dataclass(frozen=True)
class Shifts:
    """Mean differences by layer, with the figures over items and documents."""

    prompts: Floats
    """(L, d) tuned minus base after each layer, at the ends of held-out prompts."""
    text: Floats
    """(L, d) on the first tokens of ordinary text."""
    contrast: Floats
    """(L, d) of the base, `toward` less `away`; (0, d) without a contrast."""
    rows: tuple[ShiftRow, ...]


def measure(study: Study, earlier: Earlier, progress: Progress) -> Shifts:
    """Streams of both models, and of the base in both contexts."""
    asks = in_context(study, None)
    item = np.unique([ask.item for ask in asks], return_inverse=True)[1]
    base, tuned = (by_item(ends(model, asks), item) for model in (study.base, study.tuned))
    progress(1, 3)
    contrast = study.spec.contrast
    turned = None
    if contrast is not None:
        contexts = (in_context(study, one) for one in (contrast.toward, contrast.away))
        toward, away = (by_item(ends(study.base, one), item) for one in contexts)
        turned = toward - away
    progress(2, 3)
    prompts = _Side(study, base, tuned, 30)
    base, tuned = (text_streams(model, study.texts) for model in (study.base, study.tuned))
    text = _Side(study, base, tuned, 31)
    rows = tuple(_row(layer, prompts, text, turned) for layer in range(study.base.n_layers))
    return Shifts(
        prompts=prompts.difference.mean(0),
        text=text.difference.mean(0),
        contrast=np.zeros((0, study.base.d_model)) if turned is None else turned.mean(0),
        rows=rows,
    )


def ends(model: Model, asks: Sequence[Ask]) -> Floats:
    """(prompts, L, d) the stream after each layer at the ends of some prompts."""
    return as_floats(streams_at(model, asks, ("verdict",))[:, 0, 1:])


def by_item(values: Floats, item: Ints) -> Floats:
    """(n, L, d) means over the prompts of each item."""
    found = np.zeros((int(item.max()) + 1, *values.shape[1:]))
    np.add.at(found, item, values)
    means: Floats = found / np.bincount(item)[:, None, None]
    return means


def text_streams(model: Model, texts: Sequence[Sequence[int]]) -> Floats:
    """(n, L, d) the stream after each layer, mean over the first tokens of each document."""
    begun = [tuple(ids[: FIRST + 1]) for ids in texts]
    roles = {str(at): at for at in range(1, FIRST + 1)}
    asks = [Ask(i, "", "", "", ids, roles, 0, 0) for i, ids in enumerate(begun)]
    return as_floats(streams_at(model, asks, tuple(roles))[:, :, 1:].mean(1))


class _Side:
    """Streams of both models on the same items or documents."""

    def __init__(self, study: Study, base: Floats, tuned: Floats, stream: int) -> None:
        self.difference, self.base = tuned - base, base
        self.draws: Bootstrap = study.bootstrap(len(base), stream)

    def mean(self, layer: int) -> Callable[[Floats], Floats]:
        """A function of counts (R, n): mean differences (R, d)."""
        return lambda counts: counts @ self.difference[:, layer] / counts.sum(1, keepdims=True)

    def size(self, layer: int) -> Interval:
        """Of the mean difference, over the mean norm of the base's stream."""
        norm = float(np.linalg.norm(self.base[:, layer], axis=1).mean())
        mean = self.mean(layer)
        return self.draws.figure(lambda counts: np.linalg.norm(mean(counts), axis=1) / norm)

    def cosine(self, layer: int, others: Floats, *, paired: bool = False) -> Interval:
        """With the mean of other differences (n', L, d), resampled with these where paired."""
        mean = self.mean(layer)

        def cosines(counts: Floats) -> Floats:
            own, given = mean(counts), others[:, layer]
            other = counts @ given if paired else np.broadcast_to(given.mean(0), own.shape)
            sizes = np.linalg.norm(own, axis=1) * np.linalg.norm(other, axis=1)
            found: Floats = (own * other).sum(1) / sizes
            return found

        return self.draws.figure(cosines)


def _row(layer: int, prompts: _Side, text: _Side, turned: Floats | None) -> ShiftRow:
    return ShiftRow(
        layer=layer,
        size=prompts.size(layer),
        with_contrast=UNKNOWN if turned is None else prompts.cosine(layer, turned, paired=True),
        text_size=text.size(layer),
        text_with_contrast=UNKNOWN if turned is None else text.cosine(layer, turned),
        text_with_shift=text.cosine(layer, prompts.difference),
    )


def result(study: Study, found: Shifts) -> ShiftResult:
    """The figures of step 4."""
    return ShiftResult(found.rows, study.base.d_model**-0.5)


def rows(study: Study, found: Shifts) -> Iterator[Row]:
    """The cosines by layer; the differences themselves are in the stage."""
    for one in found.rows:
        for name in ("size", "with_contrast", "text_size", "text_with_contrast", "text_with_shift"):
            yield {"name": name, "layer": one.layer, "value": getattr(one, name).value}


STEP = Step("shift", Shifts, measure, result, rows)
