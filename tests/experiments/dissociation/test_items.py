"""False values, halves and roles."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from circuit_tracer.errors import UsageError
from circuit_tracer.experiments.dissociation.items import answer_id, make_ask, make_items
from circuit_tracer.experiments.dissociation.spec import FamilySpec, ItemSpec, Spec, read_spec
from circuit_tracer.models import Model
from tests.experiments.dissociation.small import bananas, small_spec
from tests.tiny import tiny_module
from tests.vocabularies import byte_level

COMPLETION = FamilySpec("completion", "fact", "a {object} is")
YES_NO = FamilySpec("yes_no", "judgement", "is a {object} {value} ?", ("yes", "no"))


def spec_of(values: str, others: str = "", seed: int = 0) -> Spec:
    """Items t0, t1, ... with these values, and with these false ones if there are any."""
    items = []
    for i, value in enumerate(values.split()):
        other = {"other": others.split()[i]} if others else {}
        items.append(ItemSpec({"object": f"t{i}", "value": value, **other}))
    return Spec("s", "?", (COMPLETION, YES_NO), tuple(items), seed=seed)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("values", ["a a b b c c d d", "a a a a b b c c", "a b c d e f g h i"])
def test_partners_are_balanced_in_either_half(values: str, seed: int) -> None:
    items = make_items(spec_of(values, seed=seed))
    assert all(item.other["value"] != item.slots["value"] for item in items)
    for half in (0, 1):
        here = [item for item in items if item.half == half]
        assert abs(2 * len(here) - len(items)) <= 1
        assert Counter(item.slots["value"] for item in here) == Counter(
            item.other["value"] for item in here
        )


def test_halves_have_every_value_alike() -> None:
    items = make_items(spec_of("a a a a b b b c c c c c"))
    for value, count in Counter(item.slots["value"] for item in items).items():
        first = sum(item.half == 0 for item in items if item.slots["value"] == value)
        assert abs(2 * first - count) <= 1


@pytest.mark.parametrize("seed", range(8))
def test_given_false_values_are_split_evenly(seed: int) -> None:
    """Every value twice true and twice false: once in either half, as bipartite cycles allow."""
    values, others = "a a b b c c d d", "b c a d d a c b"
    items = make_items(spec_of(values, others, seed))
    for half in (0, 1):
        here = [item for item in items if item.half == half]
        assert Counter(item.slots["value"] for item in here) == Counter("abcd")
        assert Counter(item.other["value"] for item in here) == Counter("abcd")


def test_a_value_of_more_than_half_cannot_be_balanced() -> None:
    with pytest.raises(UsageError, match="more than half"):
        make_items(spec_of("a a a b"))


def test_the_seed_decides() -> None:
    many = "a b c d e f g h i j k l"
    assert make_items(spec_of(many)) == make_items(spec_of(many))
    assert make_items(spec_of(many)) != make_items(spec_of(many, seed=1))


def test_a_part_has_pairs_of_one_value_and_the_representative(tmp_path: Path) -> None:
    spec = read_spec(small_spec(tmp_path))
    some = make_items(spec, most=4)
    assert [item.name for item in some] == ["banana", "lemon", "cherry", "rose"]
    assert {item.half for item in some if item.slots["value"] == "red"} == {0, 1}


def test_roles_are_at_their_tokens() -> None:
    study = bananas()
    family = next(one for one in study.spec.families if one.name == "says")
    item = next(one for one in study.items if one.name == "banana")
    ask = make_ask(study.model, family, item)
    tokens = [study.model.token_text(i).strip() for i in ask.ids]
    assert tokens[ask.roles["object"]] == "banana"
    assert tokens[ask.roles["value"]] == "yellow"
    assert ask.roles["verdict"] == len(tokens) - 1
    other = make_ask(study.model, family, item, claim="red")
    assert other.text == ask.text.replace("yellow", "red")
    assert study.model.token_text(ask.plus).strip() == "right"


@pytest.mark.parametrize(
    ("template", "words", "word", "token"),
    [
        ("the {object} is", None, "yes", " yes"),
        ("the {object} is ", None, "yes", "yes"),
        ("is {object} {value} ?", ("yes", "no"), "yes", "yes"),
        ("is {object} {value} ?", (" yes", " no"), " yes", " yes"),
    ],
)
def test_a_word_is_the_exact_token_and_a_value_goes_on_the_template(
    template: str, words: tuple[str, str] | None, word: str, token: str
) -> None:
    tokenizer = byte_level()
    model = Model.from_module(tiny_module("llama", n_words=len(tokenizer)), tokenizer)
    family = FamilySpec("one", "judgement", template, words)
    assert model.token_text(answer_id(model, family, word)) == token
