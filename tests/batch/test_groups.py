"""Groups of equal length: whole, small enough, and the same whatever follows."""

from __future__ import annotations

import random

from circuit_tracer.batch.tracing import MOST_PROMPTS, MOST_TOKENS, grouped


def _prompts(count: int) -> list[tuple[str, int, int]]:
    generator = random.Random(0)
    return [(f"id{i}", generator.choice((3, 5, 8, 400, 5000)), i) for i in range(count)]


def test_every_prompt_is_in_one_group_of_its_length() -> None:
    prompts = _prompts(200)
    groups = grouped(prompts)
    assert sorted(i for group in groups for i in group.members) == list(range(200))
    for group in groups:
        lengths = {prompts[i][1] for i in group.members}
        assert len(lengths) == 1
        assert len(group.members) <= MOST_PROMPTS
        assert len(group.members) == 1 or lengths.pop() * len(group.members) <= MOST_TOKENS
    assert max(len(group.members) for group in groups) == MOST_PROMPTS


def test_full_groups_do_not_depend_on_what_is_added_to_the_file() -> None:
    short, long = grouped(_prompts(200)), grouped(_prompts(300))
    full = [group for group in short if len(group.members) == MOST_PROMPTS]
    assert len(full) > 3
    assert {group.key for group in full} <= {group.key for group in long}
