"""Specs: every mistake is one sentence that names it; the shipped ones are what they say."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from circuit_tracer.errors import UsageError
from circuit_tracer.experiments.dissociation.items import make_items
from circuit_tracer.experiments.dissociation.spec import read_spec
from circuit_tracer.experiments.kit.spec_reader import fingerprint, slots_of
from tests.experiments.dissociation.small import SPEC, small_spec
from transcoders.growing.language import combinations, things

PROMPTS = Path(__file__).parents[3] / "prompts"


def test_a_spec_is_read(tmp_path: Path) -> None:
    spec = read_spec(small_spec(tmp_path))
    assert [family.name for family in spec.measured] == ["completion", "yes_no"]
    assert [family.name for family in spec.asked] == ["completion", "yes_no", "true_or_false"]
    assert spec.of_route("judgement")[0].words == ("yes", "no")
    assert len(spec.items) == 8
    other = read_spec(small_spec(tmp_path, "seed = 1\n"))
    assert fingerprint(other) != fingerprint(spec)


@pytest.mark.parametrize("words", [("yes,", "no"), (" ", "no")])
def test_words_are_any_two_tokens(tmp_path: Path, words: tuple[str, str]) -> None:
    path = small_spec(tmp_path)
    text = path.read_text(encoding="utf-8").replace('["yes", "no"]', str(list(words)))
    path.write_text(f"\ufeff{text}", encoding="utf-8")  # as some editors save it
    assert read_spec(path).of_route("judgement")[0].words == words


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "small"', "name = 3", '"name" in small.toml is 3 where it needs text'),
        ('name = "small"', 'name = "a b"', "names a folder"),
        ('question = "One', 'quest = "One', '"quest", which means nothing'),
        ('route = "fact"', 'route = "truth"', '"route" in the family'),
        ("{article} {object} is", "{article} is", 'lacks its object, "{object}"'),
        ("{article} {object} is", "{object} is {value}", "gives its own answer away"),
        ("{article} {object} is", "{object!r} is", "no plain name"),
        ("{article} {object} is", "{object is", "cannot be read"),
        ("is {article} {object} {value} ?", "is {article} {object} ?", 'no "{value}"'),
        ('["yes", "no"]', '["yes"]', "needs a list of 2"),
        ('["yes", "no"]', '["yes", ""]', "must be two words"),
        ('paraphrase_of = "completion"', 'paraphrase_of = "x"', "no family of its own"),
        ('paraphrase_of = "completion"', 'paraphrase_of = "yes_no"', "of two routes"),
        ('representative = "banana"', 'representative = "brick"', 'the representative "brick"'),
        ("unrelated = [", "unrelated = [3, ", '"unrelated" in small.toml is 3 where it needs text'),
        ('name = "plural"', 'name = "yes_no"', "have one name"),
        ("{plural} are", "{many} are", "lacks its object"),
        ('template = "is {article}', 'template = "is {that} {article}', 'has no "that"'),
        ('question = "One', "[trace]\ncoverage = nan\n[x", "cannot be read"),
        ("unrelated = [", "trace = {coverage = nan}\nunrelated = [", "above 0 and at most at 1"),
        ("unrelated = [", "trace = {max_feature_nodes = 0}\nunrelated = [", "at least 1; it is 0"),
        ("unrelated = [", "a" * 999 + " = 1\nunrelated = [", "a…"),
        ("unrelated = [", '"\\u001b[31mred" = 1\nunrelated = [', 'sets " [31mred"'),
        ("unrelated = [", "x = " + "[" * 5000, "cannot be read"),
        ("unrelated = [", "seed = " + "9" * 5000 + "\nunrelated = [", "cannot be read"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in SPEC
    with pytest.raises(UsageError) as raised:
        read_spec(small_spec(tmp_path, text=SPEC.replace(old, new)))
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_items_may_stand_in_a_csv_file(tmp_path: Path) -> None:
    (tmp_path / "things.csv").write_text(
        "object,article,plural,value,held_out\n"
        "banana,a,bananas,yellow,true\nlime,a,limes,green,false\n"
        "rose,a,roses,red,\ncat,a,cats,black,no\n"
    )
    path = tmp_path / "csv.toml"
    path.write_text('items = "things.csv"\n' + SPEC)
    items = read_spec(path).items
    assert [item.held_out for item in items] == [True, False, False, False]
    assert items[1].slots == {
        "object": "lime", "article": "a", "plural": "limes", "value": "green",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("lime,a,limes", "line 3 of things.csv has fewer fields"),
        ("lime,a,limes,green,,more", "line 3 of things.csv has more fields"),
        ("lime,a,limes,green,perhaps", '"held_out" in line 3 of things.csv must be true or false'),
    ],
)
def test_a_bad_line_of_items_is_named(tmp_path: Path, line: str, said: str) -> None:
    head = "\ufeffobject,article,plural,value,held_out\nbanana,a,bananas,yellow,true\n"
    (tmp_path / "things.csv").write_text(f"{head}{line}\n", encoding="utf-8")
    path = tmp_path / "csv.toml"
    path.write_text('items = "things.csv"\n' + SPEC)
    with pytest.raises(UsageError, match=said):
        read_spec(path)
    (tmp_path / "things.csv").unlink()
    with pytest.raises(UsageError, match=r"things\.csv is missing"):
        read_spec(path)


def test_what_is_no_toml_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("name = ")
    with pytest.raises(UsageError, match="cannot be read"):
        read_spec(tmp_path / "bad.toml")
    with pytest.raises(UsageError, match="is missing"):
        read_spec(tmp_path / "none.toml")


def test_slots_are_found_in_order() -> None:
    assert slots_of("is {article} {object} {value} ?") == ("article", "object", "value")


def test_the_bananas_are_balanced_and_marked() -> None:
    spec = read_spec(PROMPTS / "bananas.toml")
    assert len(spec.items) >= 50
    items = make_items(spec)
    assert len(set(Counter(item.slots["value"] for item in items).values())) == 1
    assert Counter(item.slots["value"] for item in items) == Counter(
        item.other["value"] for item in items
    )
    for item in items:
        thing = things.THING_OF[item.name]
        assert thing.facts["colour"] == item.slots["value"]
        assert thing.plural == item.slots["plural"]
        assert item.held_out == combinations.pair_is_held_out(thing, "colour")


@pytest.mark.parametrize("name", ["capitals", "opposites"])
def test_the_other_shipped_specs_are_read(name: str) -> None:
    spec = read_spec(PROMPTS / f"{name}.toml")
    assert spec.of_route("fact")
    assert spec.of_route("judgement")
    assert len(make_items(spec)) >= 30
