"""Specs of `diff`: what is read, and one sentence for everything that cannot be asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from circuit_tracer.bundled import shipped_prompts
from circuit_tracer.errors import UsageError
from circuit_tracer.experiments.diff.spec import Spec, read_spec
from tests.experiments.diff.small import small_spec


def test_a_small_spec_is_read(tmp_path: Path) -> None:
    spec = read_spec(small_spec(tmp_path))
    assert spec.main.is_claim
    assert not spec.families[1].is_claim
    assert spec.topics == {"first": "trained", "second": "selection", "third": "test"}
    assert [item.topic for item in spec.items].count("first") == 4
    assert all(item.slots["other"] != item.slots["value"] for item in spec.items)
    assert spec.collateral[0].answer == "yellow"


def test_false_values_are_drawn_by_the_seed_and_as_common_as_true_ones(tmp_path: Path) -> None:
    def others(spec: Spec) -> list[str]:
        return [item.slots["other"] for item in spec.items]

    first = read_spec(small_spec(tmp_path))
    assert others(read_spec(small_spec(tmp_path))) == others(first)
    seeds = [("question =", f"seed = {seed}\nquestion =") for seed in range(8)]
    drawn = [read_spec(small_spec(tmp_path, one)) for one in seeds]
    assert len({tuple(others(one)) for one in drawn}) > 1
    assert {value for one in drawn for value in others(one)} == {"yellow", "blue", "red"}


def test_the_bundled_spec_tests_on_topics_that_it_does_not_choose_on() -> None:
    spec = read_spec(shipped_prompts(".toml")["bent"])
    assert [topic for topic, role in spec.topics.items() if role == "trained"] == ["fruit"]
    count = {role: sum(spec.topics[one.topic] == role for one in spec.items) for role in
             ("trained", "selection", "test")}  # fmt: skip
    assert count["trained"] >= 20
    assert min(count["selection"], count["test"]) >= 60
    assert len({one.slots["thing"] for one in spec.items}) == len(spec.items)
    assert {one.name for one in spec.collateral} == {"facts", "sums"}
    assert spec.contrast is not None


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "small"', 'name = "a/b"', "names a folder"),
        (
            'first = "trained"',
            'first = "train"',
            'first in "topics" in small.toml is "train" where it',
        ),
        ('first = "trained"', 'first = "test"', "has no item of a trained topic"),
        ('second = "selection"', 'second = "test"', "0 items of selection topics"),
        ('third = "test"', "", 'is of the topic "third"'),
        ('"is the {thing} {value}"', '"is the {thing}"', "a claim needs both"),
        ('"the {thing} is"', '"the {value} is"', "a claim needs both"),
        ('"the {thing} is"', '"the {thing!r} is"', "no plain name"),
        ('"the {thing} is"', '"the {brick} is"', 'has no "brick"'),
        ('["yes", "no"]', '["yes", "yes"]', "must be two words"),
        ('name = "completion"', 'name = "claim"', "two families"),
        ('"lemon {prompt}"', '"lemon"', "must have one slot, {prompt}"),
        ("toward =", "towards =", 'did you mean "toward"?'),
        ('text = ["the sky', 'text = []\nwords = ["the sky', '"words", which means nothing'),
        ('name = "small"', 'name = "small"\nloss_limit = 0.0', "must be above 0"),
        ('name = "small"', 'name = "small"\nitems = "no.csv"', "cannot be read"),
        ('topic = "second"\n', 'topic = "second"\nother = "red"\n', '"other" equal to "value"'),
        ('topic = "second"\n', "", 'has no "topic"'),
        ('thing = "w24"\n', 'thing = "w23"\nother = "yellow"\n', "9 and 10 of small.toml both ask"),
        ('thing = "w23"\n', 'thing = "w19"\nother = "blue"\n', "items 5 and 9 of small"),
    ],
)
def test_bad_specs_get_one_sentence(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        read_spec(small_spec(tmp_path, (old, new)))
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_items_text_and_collateral_may_be_files_beside_the_spec(tmp_path: Path) -> None:
    (tmp_path / "kept.csv").write_text("name,prompt,answer\nfacts,the sky is,blue\n")
    text = "\n".join(["the sky is blue yes no"] * 8)
    (tmp_path / "text.txt").write_text(f"\ufeff{text}", "utf-8")  # as some editors save it
    whole = small_spec(tmp_path).read_text()
    head, _, rest = whole.partition("text = [")
    spec_text = f'{head}text = "text.txt"\ncollateral = "kept.csv"\n{rest.partition("]")[2]}'
    path = tmp_path / "other.toml"
    path.write_text(spec_text.partition("[[collateral]]")[0])
    spec = read_spec(path)
    assert (len(spec.text), spec.collateral[0].prompt) == (8, "the sky is")
    assert spec.text[0] == "the sky is blue yes no"
    (tmp_path / "kept.csv").write_text("name,prompt\nfacts,the sky is\n")
    with pytest.raises(UsageError, match=r'"answer" in line 2 of kept\.csv is missing'):
        read_spec(path)
