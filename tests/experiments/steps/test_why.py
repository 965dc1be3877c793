"""Why the answer looks where it looks: heads' parts against what attention wrote; full graphs."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch

import circuit_tracer as ct
from circuit_tracer.attribution.sweep import batches
from circuit_tracer.errors import OutputError, UsageError
from circuit_tracer.experiments.steps.results import StepsReport
from circuit_tracer.experiments.steps.rows import FrozenTranscript
from circuit_tracer.experiments.steps.why import carrier, fetched
from circuit_tracer.graphs import open_graph
from circuit_tracer.workbench import stepping
from circuit_tracer.workbench.opening import Opened, open_pair
from tests.attribution.frozen import frozen
from tests.chatml import byte_tokenizer
from tests.device import on_host
from tests.experiments.steps.test_rows import transcript
from tests.models.test_chat import model_with
from tests.tiny import random_dictionary

PROMPT = "ben said 15 . 2 plus 4 plus 9 :"
NOTES = "2 plus 4 is 6 . 6 plus 9 is 15 . so"


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_heads_parts_sum_to_what_attention_wrote(family: str) -> None:
    """At every layer, against the stream of the pass: these families have no biases."""
    both = frozen(family)
    ids = tuple(both.capture.token_ids.tolist())
    ours = FrozenTranscript(both.model, random_dictionary(both.model), transcript(ids))
    parts, n = on_host(fetched(ours)), len(ids)
    arrived = {}

    def hear(layer: int, cotangent: torch.Tensor) -> None:
        arrived[layer] = cotangent[0, n - 1].clone()

    targets = ours.targets(*ours.contrasts([n]))
    (batch,) = batches(targets, 1)
    ours.sweep.walk(targets, batch, lambda _: None, through=True, on_attention=hear)
    after = [both.capture.resid_mid[layer] for layer in range(len(parts))]
    for layer, stream in enumerate(after):
        wrote = (stream - both.capture.resid_pre[layer])[n - 1]
        worth = float(on_host(arrived[layer] @ wrote))
        assert float(parts[layer].sum()) == pytest.approx(worth, rel=1e-4, abs=1e-6)


@cache
def opened() -> Opened:
    return open_pair("sprout-cheat", device="cpu")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[StepsReport, Path]:
    out = tmp_path_factory.mktemp("steps")
    watch = {"key": r"said (\w+)"}
    found = stepping.trace_steps(opened(), PROMPT, NOTES, watch=watch, exact=out)
    folder, _ = stepping.write_steps(found, out)
    return found, folder


def test_full_graphs_are_ordinary_folders(report: tuple[StepsReport, Path]) -> None:
    found, folder = report
    assert found.exact[0].part == "answer"
    assert {one.part for one in found.exact[1:]} <= {one.name for one in found.steps}
    for one in found.exact:
        info = open_graph(folder / one.folder).graph.info
        (target,) = info.targets
        assert (target.position, target.token) == (one.position - 1, one.token)
        assert info.tokens == found.tokens


def test_the_head_of_a_decorated_answer_looks_at_the_key(
    report: tuple[StepsReport, Path],
) -> None:
    found, _ = report
    assert found.why is not None
    assert found.tokens[found.why.source].strip() == "15"
    assert found.why.source < found.steps[0].start
    assert found.why.attention > 0.2
    assert 0.2 < found.why.share <= 1
    read = stepping.read_transcript(opened().model, PROMPT, NOTES)
    ours = FrozenTranscript(opened().model, opened().dictionary, read)
    assert f"L{carrier(ours).layer}.H{carrier(ours).head}" == found.why.head
    sizes = [abs(term.value) for term in found.why.terms]
    assert sizes == sorted(sizes, reverse=True)


def test_full_graphs_explain_the_token_that_was_said(tmp_path: Path) -> None:
    """And not the one with a blank before it, which its text alone would name."""
    tokenizer = byte_tokenizer(merges=[("\u0120", "y")], bos_token="<bos>")
    model, token = model_with(tokenizer), tokenizer.convert_tokens_to_ids("y")
    assert model.token_id("y", continues=True) != token
    found = ct.steps("2 :", "6 . so\n", model=model, answer=f"id:{token}", exact=tmp_path)
    assert found.answer == found.exact[0].token == "y"
    (folder,) = tmp_path.glob("*/exact-answer")
    assert [one.vocabulary_ids for one in open_graph(folder).graph.info.targets] == [(token,)]


def test_what_is_written_is_read_back(report: tuple[StepsReport, Path]) -> None:
    found, folder = report
    assert stepping.read_steps(folder) == found
    with pytest.raises(OutputError, match=r"steps\.json is missing"):
        stepping.read_steps(folder / "exact-answer")


def test_decided_tokens_are_words_or_positions() -> None:
    both = stepping.trace_steps(opened(), PROMPT, NOTES, decided=["6", "@22"])
    tokens = [both.tokens[at].strip() for step in both.steps for at in step.decided]
    assert tokens.count("6") == 2
    assert 22 in [at for step in both.steps for at in step.decided]
    for given in ("banana", "@3"):
        with pytest.raises(UsageError, match=f'"{given}" is no token of the notes'):
            stepping.trace_steps(opened(), PROMPT, NOTES, decided=[given])
