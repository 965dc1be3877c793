"""Which tokens and targets of a graph a user means."""

from __future__ import annotations

from dataclasses import replace

import pytest

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.graph import GraphInfo, Target
from circuit_tracer.graphs.named_tokens import (
    named_position,
    named_positions,
    named_targets,
)
from circuit_tracer.graphs.token_text import prompt_texts, shown, target_texts
from tests.graphs.builders import make_info

TOKENS = ("<s>", "yes", " yes", " 4", "\n", " <0xF0><0x9F>", "<0x8D>", "<0x8C>", "9", " a", " a")
TARGETS = ((" yes", (2,)), ("yes", (1,)), ("id:7", (7,)), ("␣yes - 4", (2, 3)))


@pytest.fixture
def info() -> GraphInfo:
    last = len(TOKENS) - 1
    targets = tuple(Target(text, ids, last, 0.1, 1.0, 0) for text, ids in TARGETS)
    made = make_info(TOKENS, 2, targets)
    return replace(made, token_ids=tuple(range(100, 100 + len(TOKENS))))


@pytest.mark.parametrize(
    ("text", "positions"),
    [
        ("yes", [1]),
        (" yes", [2]),
        ("␣yes", [2]),
        ("4", [3]),
        ("@4", [4]),
        ("@-1", [10]),
        ("\n", [4]),
        ("↵", [4]),
        ("id:103", [3]),
        ("🍌", [5, 6, 7]),
        (" 🍌", [5, 6, 7]),
        ("<0x8D>", [6]),
        ("9", [8]),
        ("a", [9, 10]),
        ("a@10", [10]),
        ("embedding@4", [4]),
    ],
)
def test_a_token_is_found_by_every_name_of_it(
    info: GraphInfo, text: str, positions: list[int]
) -> None:
    assert named_positions(info, text, "--from") == positions


def test_whatever_is_printed_of_a_prompt_and_its_targets_is_accepted_back(info: GraphInfo) -> None:
    for at, (token, text) in enumerate(zip(info.tokens, prompt_texts(info.tokens), strict=True)):
        for name in (token, text, shown(token), f"{text}@{at}"):
            assert at in named_positions(info, name, "--from")
    for at, (target, text) in enumerate(zip(info.targets, target_texts(info.targets), strict=True)):
        assert named_targets(info, target.token, "--to") == [at]
        assert named_targets(info, text, "--to") == [at]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("2", r'"2" is no token of the prompt; for the position write @2'),
        ("-2", "write @-2"),
        ("77", "give a position from @0 to @10, or one of <s>, yes"),
        ("@11", r"@11 is outside what was traced \(@0 to @10"),
        ("", "is no token of the prompt"),
        ("yes@5", "is no token of the prompt"),
    ],
)
def test_what_is_no_token_gets_a_sentence(info: GraphInfo, text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        named_positions(info, text, "--from")


@pytest.mark.parametrize(("text", "places"), [("a", "@9, @10"), ("🍌", "@5, @6, @7")])
def test_one_position_is_asked_for_where_there_are_several(
    info: GraphInfo, text: str, places: str
) -> None:
    with pytest.raises(UsageError, match=f"stands at positions {places}; give one"):
        named_position(info, text, "--key")


@pytest.mark.parametrize(("text", "number"), [("id:2", 0), ("id:1", 1), ("␣yes - 4", 3)])
def test_targets_are_found_by_id_and_as_contrasts(info: GraphInfo, text: str, number: int) -> None:
    assert named_targets(info, text, "--to") == [number]


def test_what_is_no_target_gets_a_sentence(info: GraphInfo) -> None:
    with pytest.raises(UsageError, match=r'--to "purple" is no target .*␣yes, yes, id:7, ␣yes - 4'):
        named_targets(info, "purple", "--to")
