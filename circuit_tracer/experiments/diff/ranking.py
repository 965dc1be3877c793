"""What every feature of a residual dictionary does in both models, by which features are ranked.

Activations are those at the ends of selection prompts of the main form. A feature's slope is the
gradient of right minus wrong by a constant edit along its decoder, in the tuned model: change times
slope is what its change does to the answer, to first order (after Wang et al. 2025, arXiv
2506.19823, and OpenAI's attribution of latents, December 2025).

Shapes: P prompts, K tokens of text, S layers of the dictionary, F features of a layer, d model
width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from circuit_tracer.experiments.diff.directions import first_token
from circuit_tracer.experiments.diff.study import Study
from circuit_tracer.experiments.kit.passes import (
    Ask,
    equally_long,
    leads,
    spans,
    streams_at,
    token_ids,
)
from circuit_tracer.graphs.graph import Floats, Ints
from circuit_tracer.models import Model
from circuit_tracer.models.capture import Place
from circuit_tracer.models.devices import as_floats
from circuit_tracer.models.parts import RESIDUAL
from circuit_tracer.transcoders.dictionary import Dictionary

EXTREMES = (0.01, 0.99)
"""Quantiles between which a feature ranges in the base."""


@dataclass(frozen=True)
class Streams:
    """The residual stream after a dictionary's layers."""

    base: Float[Tensor, "P S d"]
    """At the ends of selection prompts."""
    tuned: Float[Tensor, "P S d"]
    toward: Float[Tensor, "P S d"] | None
    """The base's, in the contrast's contexts."""
    away: Float[Tensor, "P S d"] | None
    gradient: Float[Tensor, "P S d"]
    """Of right minus wrong in the tuned model, by a vector added at all positions."""
    text_base: Float[Tensor, "K S d"]
    """On ordinary text, the first token of a document left out."""
    text_tuned: Float[Tensor, "K S d"]

    @property
    def shift(self) -> Float[Tensor, "S d"]:
        """The mean difference, tuned minus base."""
        return (self.tuned - self.base).mean(0)


@dataclass(frozen=True)
class Ranking:
    """Every feature's figures, (S, F) each, in the order of the dictionary's layers."""

    base: Floats
    """Mean activation at the ends of selection prompts."""
    tuned: Floats
    toward: Floats
    """The base's in the contrast's contexts; NaN without one."""
    away: Floats
    slope: Floats
    """Gradient of right minus wrong by the activation, at all positions at once."""
    base_range: Floats
    """Between the extremes of the base's activations in all contexts and on ordinary text."""
    tells: Floats
    """How surely it tells which model it is in, over contexts and ordinary text: 1 for a feature
    that is constant in each."""
    shift: Floats = field(repr=False)
    """(S, d)"""
    contrast: Floats = field(repr=False)
    """(S, d) toward less away in the base; NaN without."""

    @property
    def change(self) -> Floats:
        """Tuned minus base."""
        return self.tuned - self.base

    @property
    def predicted(self) -> Floats:
        """What undoing the change does to right minus wrong, by its gradient."""
        return -self.change * self.slope

    @property
    def scale(self) -> float:
        """Size of the shift over all layers."""
        return float(np.linalg.norm(self.shift))


def streams(study: Study, layers: tuple[int, ...]) -> Streams:
    """Of both models, and of the base in both contexts."""
    at, contrast = list(layers), study.spec.contrast

    def ends(model: Model, context: str | None = None) -> Tensor:
        asks = study.some_asks("selection", context=context)
        return streams_at(model, asks, ("verdict",))[:, 0, 1:][:, at]

    asks = study.some_asks("selection")
    return Streams(
        base=ends(study.base),
        tuned=ends(study.tuned),
        toward=None if contrast is None else ends(study.base, contrast.toward),
        away=None if contrast is None else ends(study.base, contrast.away),
        gradient=gradients(study.tuned, asks, layers),
        text_base=_text(study.base, study.texts, layers),
        text_tuned=_text(study.tuned, study.texts, layers),
    )


@dataclass
class _Leaf:
    """Lets the stream after some layers be differentiated by."""

    layers: tuple[int, ...]
    kept: list[Tensor] = field(default_factory=list)

    def wants(self, place: Place, layer: int) -> bool:
        """The streams after these layers."""
        return place == "layer" and layer in self.layers

    def edit(self, place: Place, layer: int, seen: Tensor, given: Tensor) -> Tensor:
        """The stream, from here on a function of itself."""
        if not self.kept:
            given = given.detach().requires_grad_()
        self.kept.append(given)
        return given


def gradients(model: Model, asks: Sequence[Ask], layers: tuple[int, ...]) -> Float[Tensor, "P S d"]:
    """Of right minus wrong at each prompt's end, by a vector added after a layer everywhere."""
    found = model.unembedding.new_zeros(len(asks), len(layers), model.d_model)
    for rows in spans(model, asks):
        leaf, ids = _Leaf(layers), token_ids(model, asks, rows)
        last = torch.tensor([ids.shape[1] - 1], device=model.device)
        logits = model.edited(ids, leaf, positions=last, gradients=True)[:, 0]
        given = torch.autograd.grad(leads(asks, rows, logits).sum(), leaf.kept)
        found[rows] = torch.stack([one[:, first_token(model) :].sum(1) for one in given], 1)
    return found


def _text(
    model: Model, texts: Sequence[Sequence[int]], layers: tuple[int, ...]
) -> Float[Tensor, "K S d"]:
    parts = []
    for rows in equally_long(model, texts):
        ids = torch.tensor([texts[row] for row in rows], device=model.device)
        read = model.mlp_activity(ids, RESIDUAL, RESIDUAL, layers).inputs
        parts.append(read[:, :, first_token(model) :].flatten(1, 2).transpose(0, 1))
    return torch.cat(parts)


def rank(dictionary: Dictionary, given: Streams) -> Ranking:
    """Every feature's figures."""
    contexts = () if given.toward is None or given.away is None else (given.toward, given.away)
    of_layer = [_of_layer(dictionary, i, given, contexts) for i in range(len(dictionary.numbers))]
    stacked = [as_floats(torch.stack(parts)) for parts in zip(*of_layer, strict=True)]
    shift = as_floats(given.shift)
    turned = np.full_like(shift, np.nan)
    if contexts:
        turned = as_floats((contexts[0] - contexts[1]).mean(0))
    figures = [*stacked, shift, turned]
    return Ranking(*figures)


def _of_layer(
    dictionary: Dictionary, i: int, given: Streams, contexts: Sequence[Tensor]
) -> Iterator[Tensor]:
    """Of one layer's features, (F,) each, in the order of the fields of `Ranking`."""
    layer = dictionary.layers[dictionary.numbers[i]]
    base, tuned = layer.encode(given.base[:, i]), layer.encode(given.tuned[:, i])
    turned = [layer.encode(one[:, i]) for one in contexts]
    texts = [layer.encode(one[:, i]) for one in (given.text_base, given.text_tuned)]
    low, high = base.mean(0), tuned.mean(0)
    unknown = torch.full_like(low, torch.nan)
    yield low
    yield high
    yield from ([one.mean(0) for one in turned] if turned else [unknown, unknown])
    every = torch.arange(layer.n_features, device=low.device)
    yield layer.decoder_rows(every, layer.layer) @ given.gradient[:, i].mean(0)
    in_base = [base, texts[0], *turned]
    ends = torch.tensor(EXTREMES, dtype=low.dtype, device=low.device)
    ranges = torch.stack([torch.quantile(one, ends, dim=0) for one in in_base])
    yield ranges[:, 1].amax(0) - ranges[:, 0].amin(0)
    yield _telling(low, high, in_base, [tuned, texts[1]])


def _telling(
    low: Float[Tensor, "F"],
    high: Float[Tensor, "F"],
    base: Sequence[Float[Tensor, "_n F"]],
    tuned: Sequence[Float[Tensor, "_n F"]],
) -> Float[Tensor, "F"]:
    """Share of places on their model's side of the middle, contexts alike and models alike."""
    sign, middle = (high - low).sign(), (high + low) / 2
    below = torch.stack([((one - middle) * sign < 0).double().mean(0) for one in base]).mean(0)
    above = torch.stack([((one - middle) * sign > 0).double().mean(0) for one in tuned]).mean(0)
    return ((below + above) / 2).to(low)


class Ranked(NamedTuple):
    """The residual dictionary with what it was ranked by."""

    dictionary: Dictionary
    streams: Streams
    ranking: Ranking


def of_residual(study: Study) -> Ranked:
    """The features of the residual dictionary, which the study must have."""
    dictionary = study.residual
    assert dictionary is not None
    given = streams(study, dictionary.numbers)
    return Ranked(dictionary, given, rank(dictionary, given))


def decoders(dictionary: Dictionary, layer: Ints, feature: Ints) -> Float[np.ndarray, "n S d"]:
    """What features write per unit, each to its own layer's stream.

    `layer` counts the dictionary's layers, not the model's.
    """
    found = np.zeros((len(layer), len(dictionary.numbers), dictionary.shape[1]))
    for i, number in enumerate(dictionary.numbers):
        here = layer == i
        one = dictionary.layers[number]
        index = torch.as_tensor(feature[here], device=one.b_dec.device)
        found[here, i] = as_floats(one.decoder_rows(index, number))
    return found
