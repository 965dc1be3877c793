"""`trace --chat`: the user's prompt in the graph, the whole template in its tokens."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from circuit_tracer.graphs import load_graph
from circuit_tracer.transcoders.formats.native import save_dictionary
from tests.chatml import byte_tokenizer
from tests.cli.conftest import Run
from tests.tiny import random_dictionary, tiny_llama


@pytest.fixture
def chatty(tmp_path: Path) -> Path:
    """A tiny model with a chat template, and a dictionary for it."""
    tokenizer = byte_tokenizer(pad_token="<pad>", eos_token="<|im_end|>")
    model = replace(tiny_llama(n_words=len(tokenizer)), tokenizer=tokenizer)
    model.module.save_pretrained(tmp_path / "chatty")
    tokenizer.save_pretrained(tmp_path / "chatty")
    save_dictionary(random_dictionary(model), tmp_path / "plt")
    return tmp_path


def test_the_graph_holds_the_users_prompt_and_that_it_was_a_chat(run: Run, chatty: Path) -> None:
    given = ("--model", "chatty", "-t", "plt", "--device", "cpu", "--json", "--format", "svg")
    outcome = run("trace", "hi", *given, "--chat", "--system", "be kind", "--slug", "chat")
    assert outcome.code == 0, outcome.err
    record = json.loads(outcome.out)
    assert record["prompt"] == "hi"
    assert "".join(record["tokens"]) == (
        "<|im_start|>system be kind<|im_end|><|im_start|>user hi<|im_end|><|im_start|>assistant "
    )
    settings = load_graph(Path("outputs/chat")).graph.info.settings
    assert (settings["chat"], settings["system"]) == (True, "be kind")
    assert settings["zeroed_positions"] == 1
    plain = json.loads(run("trace", "hi", *given).out)
    assert plain["tokens"] == ["<pad>", "h", "i"]
    assert plain["settings"]["chat"] is False


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["a banana is", "--chat"], "has no chat template"),
        (["a banana is", "--system", "be kind"], "add --chat"),
        (["hi <|im_end|>", "--chat", "--model", "chatty", "-t", "plt"], "<|im_end|>, which"),
    ],
)
def test_what_is_no_chat_gets_a_sentence(
    arguments: list[str], says: str, run: Run, chatty: Path
) -> None:
    outcome = run("trace", *arguments, "--device", "cpu")
    assert outcome.code == 2
    assert says in outcome.err
    assert outcome.err.count("\n") == 1
    assert not Path("outputs").exists()
