"""Neurons as a dictionary: what they write, and cards made from the unembedding."""

from __future__ import annotations

import pytest
import torch

from circuit_tracer.errors import DictionaryError
from circuit_tracer.models import Model, open_model
from circuit_tracer.transcoders.neuron_cards import Firing, NeuronCards, neuron_labels
from circuit_tracer.transcoders.neurons import open_neurons
from circuit_tracer.transcoders.opening import open_transcoders
from tests.tiny import FAMILIES, tiny_model


@pytest.mark.parametrize("family", FAMILIES)
def test_neurons_write_what_the_mlp_does(family: str) -> None:
    model = tiny_model(family, dtype=torch.float64)
    activity = model.mlp_activity(torch.tensor([[0, 3, 4, 5]]))
    for layer, neurons in enumerate(open_neurons(model).layers):
        acts = neurons.encode(activity.inputs[layer, 0])
        rows = neurons.decoder_rows(torch.arange(neurons.n_features), layer)
        written = acts @ rows + neurons.b_dec
        assert torch.allclose(written, activity.outputs[layer, 0], atol=1e-12)


def test_cards_name_the_tokens_that_the_logits_move_for() -> None:
    model = open_model("sprout", device="cpu")
    neurons = open_neurons(model)
    (card,) = NeuronCards(model, neurons).cards([(5, 140)])
    moved = logit_effect(model, neurons.layers[5].weights.down[:, 140])
    ranked = [model.token_text(i) for i in moved.argsort(descending=True).tolist()]
    assert list(card.promotes) == ranked[: len(card.promotes)]
    assert list(card.suppresses) == ranked[::-1][: len(card.suppresses)]
    assert card.examples == ()


def logit_effect(model: Model, written: torch.Tensor) -> torch.Tensor:
    norm = model.module.model.norm.weight
    return model.module.lm_head.weight @ (norm * written)


def test_a_negative_activation_turns_a_label_round() -> None:
    model = open_model("sprout", device="cpu")
    neurons = open_neurons(model)
    firing = [Firing(5, f, sign) for f in range(64) for sign in (1.0, -1.0)]
    labels = neuron_labels(model, neurons, firing)
    plain = [(up, down) for up, down in zip(labels[::2], labels[1::2], strict=True)]
    assert any(up.startswith("→ ") for up, _ in plain)
    turned = [pair for pair in plain if pair[0].startswith("→ not ")]
    assert turned
    assert all(up.removeprefix("→ not ") in down for up, down in turned)


def test_neurons_are_no_dictionary_files() -> None:
    with pytest.raises(DictionaryError, match="open_neurons"):
        open_transcoders("neurons")
