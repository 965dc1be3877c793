"""Rows of written tokens: against autograd through the frozen model, and their sums."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from circuit_tracer.errors import PromptError
from circuit_tracer.experiments.steps.rows import RIVALS, FrozenTranscript
from circuit_tracer.experiments.steps.shares import followed
from circuit_tracer.experiments.steps.transcript import Span, Transcript
from tests.attribution.frozen import PROMPT, frozen, off
from tests.device import on_host
from tests.oracle_replaced import ReplacedNetwork
from tests.tiny import random_dictionary


def transcript(ids: tuple[int, ...], first: int = 4) -> Transcript:
    """Steps of two tokens."""
    steps = [
        Span(f"S{n + 1}", "", start, min(start + 2, len(ids)))
        for n, start in enumerate(range(first, len(ids), 2))
    ]
    return Transcript(PROMPT, "", ids, first, tuple(steps), ())


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_rows_equal_autograd_on_the_frozen_model(family: str) -> None:
    both = frozen(family)
    ids = tuple(both.capture.token_ids.tolist())
    with torch.no_grad():
        ours = FrozenTranscript(both.model, random_dictionary(both.model), transcript(ids))
    places = [5, 7, len(ids)]
    rows = ours.rows(places)
    network = ReplacedNetwork(both.network)
    for row, place in zip(rows, places, strict=True):
        logits, said = on_host(both.capture.logits[place - 1]), ours.ids[place]
        order = [i for i in logits.argsort(descending=True).tolist() if i != said]
        tokens = torch.tensor([said, *order[:RIVALS]])
        totals = network.logit_totals(torch.full_like(tokens, place - 1), tokens)
        oracle = totals[0] - totals[1:].mean(0)
        found = torch.from_numpy(row.tokens)
        assert off(found[:place], oracle[:place]) < 1e-9
        assert not row.tokens[place:].any()
        assert row.value == pytest.approx(float(logits[said] - logits[order[:RIVALS]].mean()))


def test_an_answer_is_the_models_own_or_a_given_token() -> None:
    both = frozen()
    ids = tuple(both.capture.token_ids.tolist())
    dictionary = random_dictionary(both.model)
    own = FrozenTranscript(both.model, dictionary, transcript(ids))
    assert own.answer == int(both.capture.logits[-1].argmax())
    assert 0 < own.probability <= 1
    given = FrozenTranscript(both.model, dictionary, transcript(ids), "lemon")
    assert both.model.token_text(given.answer).strip() == "lemon"
    with pytest.raises(PromptError, match="not one token"):
        FrozenTranscript(both.model, dictionary, transcript(ids), "no such token at all")


def test_an_answer_is_compared_with_a_token_in_place_of_its_rivals() -> None:
    both = frozen()
    ids = tuple(both.capture.token_ids.tolist())
    dictionary, n = random_dictionary(both.model), len(ids)
    ours = FrozenTranscript(both.model, dictionary, transcript(ids), "lemon", "blue")
    lemon, blue = ours.answer, ours.against
    assert blue is not None
    middle, last = ours.rows([5, n])
    tokens = torch.tensor([lemon, blue])
    totals = ReplacedNetwork(both.network).logit_totals(torch.full_like(tokens, n - 1), tokens)
    assert off(torch.from_numpy(last.tokens), (totals[0] - totals[1])[:n]) < 1e-9
    logits = both.capture.logits[-1]
    assert last.value == pytest.approx(float(logits[lemon] - logits[blue]))
    alone = FrozenTranscript(both.model, dictionary, transcript(ids)).rows([5])[0]
    np.testing.assert_allclose(middle.tokens, alone.tokens)


def test_tokens_errors_and_constants_sum_to_the_value() -> None:
    both = frozen("llama", dtype=torch.float64)
    ids = tuple(both.capture.token_ids.tolist())
    ours = FrozenTranscript(both.model, random_dictionary(both.model), transcript(ids))
    read = transcript(ids)
    shares = followed(read, ours.rows)
    assert shares.chain.ends.sum() == pytest.approx(1)
    assert {at for at in shares.decided if at < read.first_note} == set()
    assert shares.answer.shares.sum() == pytest.approx(1)
    for step in read.steps:
        assert shares.heads(step), "every step has a token that was followed back"
    rounds = followed(read, lambda places: ours.rows(list(places)), given=[5, 8])
    assert sorted(rounds.decided) == [5, 8]
    np.testing.assert_allclose(rounds.answer.tokens, shares.answer.tokens)
