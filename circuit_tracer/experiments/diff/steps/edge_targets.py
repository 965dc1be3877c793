"""What the edges of step 6 run into besides the answer: a feature of the base, the contrast."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from circuit_tracer.attribution.directions import DirectionTarget, bare, of_feature
from circuit_tracer.experiments.diff.step import Earlier
from circuit_tracer.experiments.diff.steps.shift import Shifts, ends
from circuit_tracer.experiments.diff.study import Study
from circuit_tracer.models.devices import on_device
from circuit_tracer.transcoders.dictionary import Dictionary


def directions(study: Study, earlier: Earlier) -> Iterator[DirectionTarget]:
    """The feature of a residual dictionary, then the contrast after the same layer.

    Without a dictionary the contrast is read after the layer at which the shift is most like it.
    """
    feature = _feature(study)
    if feature is not None:
        yield feature
    if study.spec.contrast is not None and earlier.has(Shifts):
        shifts = earlier.of(Shifts)
        alike = max(shifts.rows, key=lambda row: row.with_contrast.value).layer
        layer = alike if feature is None else feature.layer
        vector = shifts.contrast[layer] / np.linalg.norm(shifts.contrast[layer])
        name = f"toward - away, after layer {layer}"
        yield bare(name, layer, on_device(vector, study.base.device).to(study.base.torch_dtype))


def residual(study: Study) -> Dictionary | None:
    """The sparse autoencoder of the residual stream; the first, where several were given."""
    given = (one for one in study.dictionaries if isinstance(one, Dictionary))
    return next((one for one in given if one.kind == "sae"), None)


@torch.no_grad()
def _feature(study: Study) -> DirectionTarget | None:
    """The feature that rises most from base to tuned at the ends of selection prompts, where
    features of several layers are measured by what they add as a share of the stream's norm."""
    dictionary = residual(study)
    if dictionary is None:
        return None
    asks = study.some_asks("selection", most=study.settings.most_located)
    model = study.base
    streams = [
        on_device(ends(one, asks), model.device).to(model.torch_dtype)
        for one in (study.base, study.tuned)
    ]
    best = (-np.inf, 0, 0)
    for layer in dictionary.numbers:
        one = dictionary.layers[layer]
        base, tuned = (stream[:, layer] for stream in streams)
        rise = (one.encode(tuned) - one.encode(base)).mean(0)
        index = torch.arange(one.n_features, device=rise.device)
        added = rise * one.decoder_rows(index, layer).norm(dim=1) / base.norm(dim=1).mean()
        best = max(best, (float(added.max()), layer, int(added.argmax())))
    return of_feature(dictionary, best[1], best[2])
