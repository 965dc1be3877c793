"""What the edges of step 6 run into besides the answer: a feature of the base, the contrast."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from circuit_tracer.attribution.directions import DirectionTarget, bare, of_feature
from circuit_tracer.experiments.diff.step import Earlier
from circuit_tracer.experiments.diff.steps.features import Features, residual
from circuit_tracer.experiments.diff.steps.shift import Shifts
from circuit_tracer.experiments.diff.study import Study
from circuit_tracer.models.devices import on_device


def directions(study: Study, earlier: Earlier) -> Iterator[DirectionTarget]:
    """The feature of a residual dictionary, then the contrast after the same layer.

    Without a dictionary the contrast is read after the layer at which the shift is most like it.
    """
    feature = _feature(study, earlier)
    if feature is not None:
        yield feature
    if study.spec.contrast is not None and earlier.has(Shifts):
        shifts = earlier.of(Shifts)
        alike = max(shifts.rows, key=lambda row: row.with_contrast.value).layer
        layer = alike if feature is None else feature.layer
        vector = shifts.contrast[layer] / np.linalg.norm(shifts.contrast[layer])
        name = f"toward - away, after layer {layer}"
        yield bare(name, layer, on_device(vector, study.base.device).to(study.base.torch_dtype))


def _feature(study: Study, earlier: Earlier) -> DirectionTarget | None:
    """The feature that was first by screening."""
    dictionary = residual(study)
    if dictionary is None or not earlier.has(Features):
        return None
    screening = earlier.of(Features).screening
    if not len(screening.layer):  # nothing changed
        return None
    return of_feature(dictionary, dictionary.numbers[screening.layer[0]], int(screening.feature[0]))
