"""Feature cards of neurons, made when they are asked for: from the unembedding alone.

A neuron has no text it was measured on, so its card says what it promotes and suppresses when its
activation is positive; a negative activation turns the two round.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from circuit_tracer.models import Model
from circuit_tracer.transcoders.cards import Card
from circuit_tracer.transcoders.labels import effect_label
from circuit_tracer.transcoders.neurons import Neurons
from circuit_tracer.transcoders.promotions import Promotions, promotions


class Firing(NamedTuple):
    """A neuron where it fires."""

    layer: int
    feature: int
    activation: float


def neuron_labels(model: Model, neurons: Neurons, firing: Sequence[Firing]) -> list[str]:
    """What each does to the logits with the sign it fires with: "→ yellow", or "" for nothing."""
    wanted = sorted({(f.layer, f.feature) for f in firing})
    effects = dict(zip(wanted, _promotions(model, neurons, wanted), strict=True))
    labels = []
    for f in firing:
        up, down = effects[f.layer, f.feature].stand_out, effects[f.layer, f.feature].stand_out_down
        labels.append(effect_label(up, down) if f.activation >= 0 else effect_label(down, up))
    return labels


class NeuronCards:
    """The cards of a model's neurons, with the interface of a `CardBook`."""

    def __init__(self, model: Model, neurons: Neurons) -> None:
        self.model, self.neurons = model, neurons

    def cards(self, pairs: Sequence[tuple[int, int]]) -> list[Card]:
        """Cards of (layer, neuron) pairs, in their order; they hold no examples."""
        effects = zip(pairs, _promotions(self.model, self.neurons, pairs), strict=True)
        return [
            Card(
                layer=layer,
                feature=feature,
                label=effect_label(effect.stand_out, effect.stand_out_down),
                frequency=1.0,
                max_activation=0.0,
                promotes=tuple(effect.promotes),
                suppresses=tuple(effect.suppresses),
                examples=(),
            )
            for (layer, feature), effect in effects
        ]


def _promotions(
    model: Model, neurons: Neurons, pairs: Sequence[tuple[int, int]]
) -> Iterator[Promotions]:
    if not pairs:
        return
    written = []
    for layer, feature in pairs:
        index = torch.tensor([feature], device=model.device)
        row = neurons.layers[layer].decoder_rows(index, layer)
        norm = model.wiring.norm("mlp_post_norm", layer)
        written.append(row if norm is None else row * norm.weight)
    yield from promotions(model, torch.cat(written), None, model.token_text)
