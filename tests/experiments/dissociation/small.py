"""A small experiment on the bundled model: eight things of four colours, three forms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from circuit_tracer.experiments.dissociation.spec import read_spec
from circuit_tracer.experiments.dissociation.steps.behaviour import Answers, answers
from circuit_tracer.experiments.dissociation.study import Settings, Study
from circuit_tracer.models import open_model
from circuit_tracer.transcoders.opening import open_transcoders

SPEC = """
name = "small"
question = "One store or two?"
unrelated = ["the capital of france is"]
representative = "banana"

[[families]]
name = "completion"
route = "fact"
template = "{article} {object} is"

[[families]]
name = "yes_no"
route = "judgement"
template = "is {article} {object} {value} ?"
words = ["yes", "no"]

[[families]]
name = "plural"
route = "fact"
template = "{plural} are"
object = "plural"
paraphrase_of = "completion"

[[families]]
name = "true_or_false"
route = "judgement"
template = "true or false : {article} {object} is {value} ."
words = ["true", "false"]
use = "direction"
"""
Thing = tuple[str, str, str, str]
THINGS: tuple[Thing, ...] = (
    ("banana", "a", "bananas", "yellow"),
    ("lemon", "a", "lemons", "yellow"),
    ("cherry", "a", "cherries", "red"),
    ("rose", "a", "roses", "red"),
    ("frog", "a", "frogs", "green"),
    ("oak", "an", "oaks", "green"),
    ("crow", "a", "crows", "black"),
    ("cat", "a", "cats", "black"),
)


def small_spec(
    folder: Path, more: str = "", *, text: str = SPEC, things: Sequence[Thing] = THINGS
) -> Path:
    """The spec as a file; `more` goes before its families."""
    items = "".join(
        f'[[items]]\nobject = "{name}"\narticle = "{article}"\nplural = "{plural}"\n'
        f'value = "{value}"\n'
        for name, article, plural, value in things
    )
    path = folder / "small.toml"
    path.write_text(more + text + items, encoding="utf-8")
    return path


BANANAS = Path(__file__).parents[3] / "prompts" / "bananas.toml"


@cache
def bananas(most: int | None = None) -> Study:
    """The shipped experiment on the bundled model, or a part of its items in three of the forms."""
    model = open_model("sprout", device="cpu")
    settings = Settings(
        most_items=most, random_sets=3, permutations=3, random_heads=2, resamples=200
    )
    spec = read_spec(BANANAS)
    if most is not None:
        few = ("completion", "yes_no", "true_or_false")
        spec = replace(spec, families=tuple(one for one in spec.families if one.name in few))
    return Study(model, open_transcoders("plt", model=model), spec, settings)


@cache
def answered(most: int | None = None) -> Answers:
    """What the bundled model answers."""
    return answers(bananas(most))
