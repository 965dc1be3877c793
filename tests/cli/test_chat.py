"""`trace --chat`: the user's prompt in the graph, the whole template in its tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import circuit_tracer as ct
from circuit_tracer.cli.main import tree
from circuit_tracer.errors import UsageError
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


def test_every_command_with_a_chat_takes_a_system_turn() -> None:
    leaves = dict(_leaves("", tree()))
    chats = {name for name, options in leaves.items() if "--chat" in options}
    assert chats == {name for name, options in leaves.items() if "--system" in options}
    assert {"trace", "batch", "steer", "steps", "circuit", "edits"} <= chats


def _leaves(name: str, command: Any) -> Iterator[tuple[str, set[str]]]:
    for inner, one in getattr(command, "commands", {}).items():
        yield from _leaves(f"{name} {inner}".strip(), one)
    yield name, {flag for one in command.params for flag in one.opts}


def test_a_standing_system_turn_is_that_of_chats(
    run: Run, chatty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CIRCUIT_TRACER_SYSTEM", "be kind")
    given = ("--model", "chatty", "-t", "plt", "--device", "cpu", "--json", "--total")
    counts = [
        len(json.loads(run("trace", "hi", *given, *more).out)["tokens"])
        for more in ((), ("--chat",))
    ]
    assert counts[0] == 3 < counts[1]


@pytest.mark.parametrize("chat", [{}, {"chat": False}])
def test_python_refuses_a_system_turn_without_a_chat(chat: dict[str, bool]) -> None:
    calls: tuple[Any, ...] = (ct.trace, ct.circuit, ct.edits)
    for call in (
        *calls,
        partial(ct.steps, notes="a"),
        partial(ct.steer, "sprout", features={"L0/1": 1}),
    ):
        with pytest.raises(UsageError, match="add `chat`"):
            call(prompt="a banana is", system="be kind", **chat)


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
