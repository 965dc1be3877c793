"""Texts written while features are clamped: against whole passes, and on the bundled model."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from circuit_tracer.errors import PromptError, UsageError
from circuit_tracer.graphs.graph import NodeKind
from circuit_tracer.interventions.generation import write_on
from circuit_tracer.interventions.spec import Change, Intervention, Strength, change_feature
from circuit_tracer.interventions.steering import (
    Feature,
    clamped,
    dose_curve,
    measured_maxima,
    steer,
    strength_of,
)
from circuit_tracer.models import Model, open_model
from circuit_tracer.transcoders.card_search import find_cards
from circuit_tracer.transcoders.cards import load_cards
from circuit_tracer.transcoders.neurons import open_neurons
from circuit_tracer.transcoders.opening import find_dictionary, open_transcoders
from tests.device import DEVICE, on_host
from tests.interventions.test_modes import mlps_edited, raw_logits
from tests.rope import ROPES, rope_model
from tests.tiny import random_dictionary, tiny_model


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "longrope", "dynamic"])
def test_every_token_is_the_choice_of_a_whole_pass_with_the_feature_clamped(family: str) -> None:
    """No cache, no batch: hooks on the module, one token at a time."""
    model = (
        rope_model(family, "llama", dtype=torch.float64)
        if family in ROPES
        else tiny_model(family, dtype=torch.float64)
    )
    dictionary = random_dictionary(model)
    ids = model.tokenize("the banana is yellow")
    places: dict[str, Any] = {"all": None, "prompt": [2, 3], "generated": [5, 6, 7, 8]}
    for positions in places.values():
        arm = clamped([Feature(1, 4)], 6.0, unit="value", positions=positions)
        (plain, steered) = write_on(model, dictionary, ids, [(), arm], max_new_tokens=5, target=3)
        expected, chances = list(ids), []
        for _ in range(5):

            def on_mlp(
                layer: int, read: Tensor, output: Tensor, positions: Any = positions
            ) -> Tensor:
                if layer != 1:
                    return output
                change = 6.0 - dictionary.layers[1].encode(read)[:, 4]
                chosen = range(1, len(read)) if positions is None else positions
                where = read.new_zeros(len(read))
                where[[p for p in chosen if p < len(read)]] = 1
                return output + (change * where)[:, None] * dictionary.layers[1].W_dec[4, 0]

            with mlps_edited(model.module, on_mlp):
                logits = raw_logits(model.module, expected)[-1]
            chances.append(float(model.probabilities(logits)[3]))
            expected.append(int(logits.argmax()))
        assert list(steered.token_ids) == expected[len(ids) :]
        assert steered.target == pytest.approx(chances, abs=1e-6)
        logits = on_host(model.module(torch.tensor([expected], device=DEVICE)).logits[0])
        losses = -logits.log_softmax(-1)[:-1].gather(1, torch.tensor(expected)[1:, None])
        assert steered.perplexity == pytest.approx(float(losses[len(ids) - 1 :].mean().exp()))
        assert plain.target != steered.target


def test_texts_end_at_an_end_token_and_at_the_context() -> None:
    model = tiny_model("llama", dtype=torch.float64)
    dictionary = random_dictionary(model)
    ids = model.tokenize("the banana is")
    (whole,) = write_on(model, dictionary, ids, [()], max_new_tokens=100)
    assert len(whole.token_ids) == model.max_length - len(ids)
    model.module.generation_config.eos_token_id = [whole.token_ids[0]]
    (cut,) = write_on(model, dictionary, ids, [()], max_new_tokens=6)
    assert cut.token_ids == ()
    assert cut.perplexity != cut.perplexity
    with pytest.raises(PromptError, match="nothing can be written"):
        write_on(model, dictionary, [0] * model.max_length, [()], max_new_tokens=6)


def test_texts_end_where_every_arm_has_enough() -> None:
    model = tiny_model("llama")
    dictionary, ids = random_dictionary(model), model.tokenize("the banana is")
    (whole,) = write_on(model, dictionary, ids, [()], max_new_tokens=6)
    more = {"max_new_tokens": 6, "until": lambda new: len(new) >= 3}
    (cut,) = write_on(model, dictionary, ids, [()], **more)
    assert cut.token_ids == whole.token_ids[:3]
    never = write_on(model, dictionary, ids, [()], max_new_tokens=6, until=lambda new: False)
    assert never[0] == whole


def test_drawn_texts_depend_on_the_seed_alone() -> None:
    model = tiny_model("llama")
    dictionary, ids = random_dictionary(model), model.tokenize("the banana is")

    def drawn(seed: int) -> list[tuple[int, ...]]:
        arms: list[Intervention] = [(), ()]
        texts = write_on(model, dictionary, ids, arms, max_new_tokens=8, temperature=1.0, seed=seed)
        return [text.token_ids for text in texts]

    assert drawn(1) == drawn(1) != drawn(2)


@cache
def sprout() -> tuple[Model, Any, Any]:
    model = open_model("sprout", device="cpu")
    book = load_cards(find_dictionary("sprout/plt").path)
    return model, open_transcoders("plt", model), book


def test_holding_a_yellow_feature_makes_the_text_yellow() -> None:
    model, dictionary, book = sprout()
    card = book.card(4, 288)
    assert "yellow" in card.label
    steering = steer(
        model,
        dictionary,
        model.tokenize("the sky is"),
        [Feature(4, 288, card.label, card.max_activation)],
        [10.0, 1.0, 20.0],
        max_new_tokens=10,
        target=model.token_id("yellow"),
    )
    assert "yellow" not in steering.before.text
    assert "yellow" in steering.at(10.0).text.text
    assert [dose.strength for dose in steering.doses] == [1.0, 10.0, 20.0]
    rising = [dose.first for dose in steering.doses]
    assert rising == sorted(rising)
    assert steering.doses[-1].text.perplexity > 10 * steering.before.perplexity


def test_cards_are_found_by_label_promotion_and_context() -> None:
    _, _, book = sprout()
    found = find_cards(book, "Banana")
    assert len(found) > 20
    assert "banana" in found[0].card.label
    assert {"label", "promotes", "context"} == {place for match in found for place in match.where}
    scores = [match.score for match in found]
    assert scores == sorted(scores, reverse=True)
    with pytest.raises(UsageError, match="empty"):
        find_cards(book, "")
    with pytest.raises(UsageError, match="unknown place"):
        find_cards(book, "yellow", where=["title"])


def test_maxima_of_neurons_are_measured_with_their_sign() -> None:
    model = tiny_model("llama")
    neurons = open_neurons(model)
    texts = [model.tokenize("the banana is yellow"), model.tokenize("a lemon is blue")]
    pairs = [(0, 3), (2, 7)]
    found = measured_maxima(model, neurons, pairs, texts)
    for (layer, index), maximum in zip(pairs, found, strict=True):
        acts = torch.cat(
            [neurons.layers[layer].encode(model.capture(ids).mlp_in[layer])[1:] for ids in texts]
        )[:, index]
        assert maximum == pytest.approx(float(acts[acts.abs().argmax()]), abs=1e-6)


def test_bad_input_is_reported() -> None:
    model = tiny_model("llama")
    dictionary, ids = random_dictionary(model), model.tokenize("the banana is")
    with pytest.raises(UsageError, match="maximum of L1/4 is not known"):
        strength_of(Feature(1, 4), 10.0, "of-max")
    error: Intervention = (Change(NodeKind.ERROR, 1, 2),)
    with pytest.raises(UsageError, match="only features"):
        write_on(model, dictionary, ids, [error], max_new_tokens=2)
    with pytest.raises(UsageError, match="features 0 to 11"):
        write_on(model, dictionary, ids, [(change_feature(1, 40),)], max_new_tokens=2)
    with pytest.raises(UsageError, match="`temperature`"):
        write_on(model, dictionary, ids, [()], max_new_tokens=2, temperature=-1.0)
    huge = replace(dictionary.layers[1], W_dec=1e30 * dictionary.layers[1].W_dec)
    dictionary = replace(dictionary, layers=(dictionary.layers[0], huge, dictionary.layers[2]))
    loud: Intervention = (change_feature(1, 4, None, Strength(1e14, is_multiple=False)),)
    with pytest.raises(UsageError, match="overflow"):
        write_on(model, dictionary, ids, [loud], max_new_tokens=2)


def test_doses_of_a_small_strength_are_not_rounded_to_none() -> None:
    assert dose_curve(2e-6) == [2e-7, 4e-7, 1e-6, 2e-6, 4e-6]
    assert dose_curve(3) == [0.3, 0.6, 1.5, 3.0, 6.0]
