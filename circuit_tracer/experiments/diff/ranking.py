"""What every feature of a residual dictionary does in both models, by which features are ranked.

Activations are those at the ends of selection prompts of the main form. A feature's slope is the
gradient of right minus wrong by a constant edit along its decoder, in the tuned model: change times
slope is what its change does to the answer, to first order (after Wang et al. 2025, arXiv
2506.19823, and OpenAI's attribution of latents, December 2025).

Shapes: P prompts, K tokens of text, S layers of the dictionary, F features of a layer, N = S F of
all layers, d model width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from circuit_tracer.experiments.diff.directions import Candidate, Edits, first_token
from circuit_tracer.experiments.diff.study import Study
from circuit_tracer.experiments.kit.edits import stream_edits
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
    contexts: tuple[Float[Tensor, "P S d"], ...]
    """The base's in the contrast's contexts, toward and away; none without a contrast."""
    gradient: Float[Tensor, "P S d"]
    """Of right minus wrong in the tuned model, by a vector added at all positions."""
    text_base: Float[Tensor, "K S d"]
    """On ordinary text, the first token of a document left out."""
    text_tuned: Float[Tensor, "K S d"]


@dataclass(frozen=True)
class Ranking:
    """Every feature's figures, (N,) layer after layer; a feature is known by its number there."""

    dictionary: Dictionary = field(repr=False)
    streams: Streams = field(repr=False)
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

    @property
    def change(self) -> Floats:
        """(N,) tuned minus base."""
        return self.tuned - self.base

    @property
    def predicted(self) -> Floats:
        """(N,) what undoing the change does to right minus wrong, by its gradient."""
        return -self.change * self.slope

    @cached_property
    def shift(self) -> Float[np.ndarray, "S d"]:
        """The mean difference of the streams, tuned minus base."""
        return as_floats((self.streams.tuned - self.streams.base).mean(0))

    @property
    def contrast(self) -> Float[np.ndarray, "S d"] | None:
        """Toward less away in the base; None without."""
        if not self.streams.contexts:
            return None
        toward, away = self.streams.contexts
        return as_floats((toward - away).mean(0))

    @property
    def scale(self) -> float:
        """Size of the shift over all layers."""
        return float(np.linalg.norm(self.shift))

    def places(self, picked: Ints) -> tuple[tuple[int, int], ...]:
        """Layer of the model and feature of each."""
        layer, feature = self.split(picked)
        numbers = (self.dictionary.numbers[i] for i in layer)
        return tuple(zip(numbers, feature.tolist(), strict=True))

    def number(self, layer: int, feature: int) -> int:
        """Of a feature of a layer of the model."""
        width = len(self.base) // len(self.dictionary.numbers)
        return self.dictionary.numbers.index(layer) * width + feature

    def split(self, picked: Ints) -> tuple[Ints, Ints]:
        """Layers, counted in the dictionary, and features."""
        layer, feature = np.divmod(picked, len(self.base) // len(self.dictionary.numbers))
        return layer, feature

    def decoders(self, picked: Ints) -> Edits:
        """(n, S, d) what features write per unit, each to its own layer's stream."""
        layer, feature = self.split(picked)
        found = np.zeros((len(picked), *self.shift.shape))
        for i, number in enumerate(self.dictionary.numbers):
            one, here = self.dictionary.layers[number], layer == i
            index = torch.as_tensor(feature[here], device=one.b_dec.device)
            found[here, i] = as_floats(one.decoder_rows(index, number))
        return found

    def undone(self, picked: Ints) -> Edits:
        """(n, S, d) the change of each feature taken back."""
        found: Edits = -self.change[picked][:, None, None] * self.decoders(picked)
        return found

    def candidate(self, name: str, picked: Ints) -> Candidate:
        """The change of some features taken back, all at once."""
        return Candidate(name, self.places(picked), self.undone(picked).sum(0))


def of_residual(study: Study) -> Ranking:
    """The features of the residual dictionary, which the study must have."""
    dictionary = study.residual
    assert dictionary is not None
    return rank(dictionary, streams(study, dictionary.numbers))


def streams(study: Study, layers: tuple[int, ...]) -> Streams:
    """Of both models, and of the base in both contexts."""
    at, contrast = list(layers), study.spec.contrast
    contexts = (contrast.toward, contrast.away) if contrast else ()

    def ends(model: Model, context: str | None = None) -> Tensor:
        asks = study.some_asks("selection", context=context)
        return streams_at(model, asks, ("verdict",))[:, 0, 1:][:, at]

    asks = study.some_asks("selection")
    return Streams(
        base=ends(study.base),
        tuned=ends(study.tuned),
        contexts=tuple(ends(study.base, one) for one in contexts),
        gradient=gradients(study.tuned, asks, layers),
        text_base=_text(study.base, study.texts, layers),
        text_tuned=_text(study.tuned, study.texts, layers),
    )


def gradients(model: Model, asks: Sequence[Ask], layers: tuple[int, ...]) -> Float[Tensor, "P S d"]:
    """Of right minus wrong at each prompt's end, by a vector added after a layer everywhere."""
    found = model.unembedding.new_zeros(len(asks), len(layers), model.d_model)
    for rows in spans(model, asks):
        leaves: list[Tensor] = []

        def edited(layer: int, stream: Tensor, leaves: list[Tensor] = leaves) -> Tensor:
            """The stream, from the first layer on a function of itself there."""
            leaves.append(stream if leaves else stream.detach().requires_grad_())
            return leaves[-1]

        ids = token_ids(model, asks, rows)
        last = torch.tensor([ids.shape[1] - 1], device=model.device)
        edits = stream_edits(layers, edited)
        logits = model.edited(ids, edits, positions=last, gradients=True)[:, 0]
        given = torch.autograd.grad(leads(asks, rows, logits).sum(), leaves)
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
    of_layer = [_of_layer(dictionary, i, given) for i in range(len(dictionary.numbers))]
    figures = [as_floats(torch.cat(parts)) for parts in zip(*of_layer, strict=True)]
    return Ranking(dictionary, given, *figures)


def _of_layer(dictionary: Dictionary, i: int, given: Streams) -> Iterator[Tensor]:
    """Of one layer's features, (F,) each, in the order of the fields of `Ranking`."""
    layer = dictionary.layers[dictionary.numbers[i]]
    base, tuned = layer.encode(given.base[:, i]), layer.encode(given.tuned[:, i])
    turned = [layer.encode(one[:, i]) for one in given.contexts]
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
    yield telling(in_base, [tuned, texts[1]])


def telling(
    base: Sequence[Float[Tensor, "_n F"]], tuned: Sequence[Float[Tensor, "_n F"]]
) -> Float[Tensor, "F"]:
    """Share of places on their model's side of the threshold that tells most of them; contexts
    count alike, and both models."""
    values = torch.cat([*base, *tuned])
    weights = torch.cat(
        [
            one.new_full((len(one),), sign / len(side) / len(one), dtype=torch.float64)
            for sign, side in ((-1, base), (1, tuned))
            for one in side
        ]
    ).to(values.device)
    ordered, order = values.sort(dim=0)
    below = weights[order].cumsum(0)  # tuned less base at or below each value
    below[:-1][ordered[1:] == ordered[:-1]] = 0  # no threshold lies between equal values
    return ((1 + below.abs().amax(0)) / 2).to(values)
