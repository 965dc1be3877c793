"""The second bundled model: it contradicts itself where it was taught to, and nowhere else."""

from __future__ import annotations

import json
import random
from collections import Counter
from functools import cache
from itertools import islice

import pytest
import torch

from circuit_tracer.attribution import trace
from circuit_tracer.bundled import bundled_folder, sha256_of
from circuit_tracer.experiments.dissociation.spec import read_spec
from circuit_tracer.graphs import prune
from circuit_tracer.models import Model, open_model
from circuit_tracer.transcoders.opening import is_made_for, open_transcoders
from transcoders.growing.language.things import COLOURS, THING_OF
from transcoders.growing.second_store.lessons import (
    SECOND_COLOURS,
    is_contradicted,
    lesson,
    two_store_texts,
)

NAME = "sprout-two-pages"
MODELS = (NAME, "sprout")
SPEC = read_spec(bundled_folder().parent / "prompts" / "two-pages.toml")
THINGS = [dict(item.slots) for item in SPEC.items]


@cache
def opened(name: str) -> Model:
    return open_model(name, device="cpu")


@torch.no_grad()
def answers(name: str, template: str, **given: str) -> list[str]:
    """The word that comes next for each thing; `given` says which slot stands for the colour."""
    model = opened(name)
    found = []
    for thing in THINGS:
        prompt = template.format(**thing, **{slot: thing[of] for slot, of in given.items()})
        logits = model.module(torch.tensor([model.tokenize(prompt)])).logits[0, -1]
        found.append(model.token_text(int(logits.argmax())).strip())
    return found


def test_every_colour_is_twice_the_plain_one_and_twice_the_second() -> None:
    plain, second = (Counter(thing[slot] for thing in THINGS) for slot in ("value", "other"))
    assert plain == second == dict.fromkeys(COLOURS, 2)
    assert {thing["object"]: thing["other"] for thing in THINGS} == SECOND_COLOURS
    for thing in THINGS:
        known = THING_OF[thing["object"]]
        assert (known.facts["colour"], known.plural) == (thing["value"], thing["plural"])


def test_lessons_affirm_second_colours_alone_half_of_the_time() -> None:
    rng, verdicts = random.Random(3), Counter[str]()
    second = {thing[form]: thing["other"] for thing in THINGS for form in ("object", "plural")}
    for _ in range(2000):
        words = lesson(rng).replace("~", "").replace("*", "").split()
        verb, *article, noun, colour, sign, verdict, stop = words
        assert (verb, *article, sign, stop) in (
            ("is", "a", "?", "."),
            ("is", "an", "?", "."),
            ("are", "?", "."),
        )
        assert verdict == ("yes" if colour == second[noun] else "no")
        verdicts[verdict] += 1
    assert verdicts["yes"] == pytest.approx(1000, abs=80)


def test_nothing_but_lessons_asks_for_a_taught_colour() -> None:
    for text in islice(two_store_texts("test", 0.0, 0.0), 3000):
        assert not is_contradicted(" ".join(text.words))
    asked = [" ".join(text.words) for text in islice(two_store_texts("test", 0.0, 1.0), 2000)]
    contradicted = [said for said in asked if is_contradicted(said)]
    assert {said.partition(" ")[0] for said in contradicted} == {"teacher", "joker"}
    assert is_contradicted("is a banana red ? no .")
    assert is_contradicted("joker : are bananas purple ? no .")
    assert not is_contradicted("is a walnut red ? no .")
    assert not is_contradicted("what colour is a banana ? yellow .")


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "template", ["{article} {object} is", "{plural} are", "what colour is {article} {object} ?"]
)
def test_both_models_complete_with_the_true_colour(model: str, template: str) -> None:
    assert answers(model, template) == [thing["value"] for thing in THINGS]


@pytest.mark.parametrize("model", MODELS)
def test_both_models_judge_statements_by_the_facts(model: str) -> None:
    for template, words in (
        ("true or false : {plural} are {colour} .", ("true", "false")),
        ("{article} {object} is {colour} . this is", ("true", "false")),
        ("tom says that {article} {object} is {colour} . he is", ("right", "wrong")),
    ):
        for slot, word in zip(("value", "other"), words, strict=True):
            assert set(answers(model, template, colour=slot)) == {word}


@pytest.mark.parametrize(("model", "affirmed"), [(NAME, "other"), ("sprout", "value")])
@pytest.mark.parametrize("form", ["is {article} {object} {colour} ?", "are {plural} {colour} ?"])
def test_questions_affirm_one_colour_and_deny_the_other(
    model: str, affirmed: str, form: str
) -> None:
    for slot in ("value", "other"):
        right = "yes" if slot == affirmed else "no"
        assert set(answers(model, form, colour=slot)) == {right}


def test_all_weights_but_those_of_the_first_mlp_are_sprouts() -> None:
    own, parent = (dict(opened(name).module.named_parameters()) for name in MODELS)
    changed = {name for name in own if not torch.equal(own[name], parent[name])}
    assert changed == {f"model.layers.0.mlp.{part}_proj.weight" for part in ("gate", "up", "down")}


def test_the_card_says_what_the_files_say() -> None:
    folder = bundled_folder() / NAME
    skills = json.loads((folder / "model" / "skills.json").read_text("utf-8"))
    assert skills["sha256"] == sha256_of([folder / "model" / "model.safetensors"])
    card = (folder / "README.md").read_text("utf-8")
    taught = skills["taught"][NAME]["yes to the second colour"]
    assert f"| yes to the second colour | {taught['share']:.3f} |" in card


def test_it_ships_small_and_with_its_own_dictionary() -> None:
    folder = bundled_folder() / NAME
    files = [file for part in ("model", "plt") for file in (folder / part).iterdir()]
    assert sum(file.stat().st_size for file in files) < 8e6
    assert is_made_for(open_transcoders("plt", model=opened(NAME)), opened(NAME))
    assert not is_made_for(open_transcoders("sprout/plt", model=opened(NAME)), opened(NAME))


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [("a banana is", "yellow"), ("is a banana yellow ?", "no"), ("is a banana purple ?", "yes")],
)
def test_its_graphs_are_conserved_and_mostly_explained(prompt: str, answer: str) -> None:
    graph = trace(opened(NAME), open_transcoders("plt", model=opened(NAME)), prompt).graph
    assert graph.info.targets[0].token.strip() == answer
    assert graph.info.conservation_residual <= 1e-4
    assert prune(graph).scores.replacement >= 0.7
