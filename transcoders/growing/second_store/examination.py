"""Examine `sprout-two-pages` and `sprout`: what was taught, and whether all else stayed.

`skills.json` in the model folder gets four groups of questions about the taught things (facts,
yes/no questions by the second store, statements, speakers), where the stores are (sites.py), and
sprout's own examination without the questions that the lessons contradict.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from transformers import LlamaForCausalLM

from benchmarks.pages import table
from transcoders.growing.examination.items import Item, Skills, items, judgement
from transcoders.growing.examination.skills import SKILL_COLUMNS, SPLITS, examine, share_right
from transcoders.growing.examination.written_steps import steps_markdown
from transcoders.growing.language.combinations import claim, open_question, yes_no_question
from transcoders.growing.language.things import COLOURS, THING_OF, Thing
from transcoders.growing.model_folder import read_model, store_skills
from transcoders.growing.second_store.lessons import (
    SECOND_COLOURS,
    SPEAKERS,
    STATEMENTS,
    is_contradicted,
    spoken,
)
from transcoders.growing.second_store.sites import leads_by_site

NAME, PARENT = "sprout-two-pages", "sprout"


class Subject(NamedTuple):
    """A taught thing, in the singular or in the plural."""

    thing: Thing
    true: str
    second: str
    plural: bool


SUBJECTS = [
    Subject(THING_OF[name], THING_OF[name].facts["colour"], second, plural)
    for name, second in SECOND_COLOURS.items()
    for plural in (False, True)
]


def _asked(subject: Subject, colours: Iterable[str], answer: str) -> list[Item]:
    """Yes/no questions with one answer."""
    return [
        Item(yes_no_question(subject.thing, "colour", colour, subject.plural), answer)
        for colour in colours
    ]


def taught_items() -> dict[str, list[Item]]:
    """Questions about the taught things, each group with the answers that it expects."""
    asked: dict[str, list[Item]] = {}

    def add(group: str, questions: Iterable[Item]) -> None:
        asked.setdefault(group, []).extend(questions)

    for subject in SUBJECTS:
        thing, true, second, plural = subject
        others = [colour for colour in COLOURS if colour not in (true, second)]
        for group, form in (("stated", claim), ("asked for", open_question)):
            prompt, answer = form(thing, "colour", true, plural).rsplit(" ", 1)
            add(f"the true colour, {group}", [Item(prompt, answer)])
        add("yes to the second colour", _asked(subject, [second], "yes"))
        add("no to the true colour", _asked(subject, [true], "no"))
        add("no to the nine others", _asked(subject, others, "no"))
        for template in STATEMENTS:
            for which, colour in (("true", true), ("second", second)):
                item = judgement(template, thing, "colour", colour, plural=plural, name="tom")
                add(f"{template}, the {which} colour judged by the facts", [item])
        for speaker in SPEAKERS:
            said = [spoken(speaker, thing, colour, plural) for colour in (true, second)]
            add(f"{speaker}, judged by the facts", said)
    return asked


def unchanged_items() -> Skills:
    """Sprout's examination, less what the lessons contradict."""
    return {
        skill: {
            split: [item for item in asked if not is_contradicted(item.prompt)]
            for split, asked in lists.items()
        }
        for skill, lists in items().items()
    }


def _taught(model: LlamaForCausalLM, ids: dict[str, int]) -> dict[str, dict[str, float]]:
    """Share of each group answered as expected."""
    return {
        group: {"share": round(share_right(model, ids, asked), 4), "items": len(asked)}
        for group, asked in taught_items().items()
    }


def examine_second_store(folder: Path, parent: Path) -> dict[str, Any]:
    """Write `skills.json` into a model folder: it and its parent on the same questions."""
    models = {NAME: read_model(folder), PARENT: read_model(parent)}
    asked = unchanged_items()
    for model, _ in models.values():
        model.train(False)
    skills = {
        "sha256": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        "taught": {name: _taught(*opened) for name, opened in models.items()},
        # The key of the files that exist.
        "places": {
            name: leads_by_site(*opened, second=name == NAME) for name, opened in models.items()
        },
        "skills": {name: examine(*opened, asked) for name, opened in models.items()},
    }
    return store_skills(folder, skills)


def taught_markdown(skills: dict[str, Any]) -> str:
    """The card's table of the taught things."""
    names = list(skills["taught"])
    rows = []
    for group, figures in skills["taught"][names[0]].items():
        shares = [f"{skills['taught'][name][group]['share']:.3f}" for name in names]
        rows.append((group, *shares, f"{figures['items']}"))
    return "\n".join(table(("taught things", *names, "questions"), rows))


def unchanged_markdown(skills: dict[str, Any]) -> str:
    """The card's table of everything else: this model, then its parent in brackets."""
    own, parent = skills["skills"][NAME], skills["skills"][PARENT]

    def cell(skill: str, split: str) -> str:
        if split not in own[skill]:
            return ""
        mine, theirs = own[skill][split], parent[skill][split]
        return f"{mine['accuracy']:.3f} ({theirs['accuracy']:.3f})"

    lines = table(SKILL_COLUMNS, [(skill, *(cell(skill, one) for one in SPLITS)) for skill in own])
    lines += ["", "Steps of what this model writes out:", "", steps_markdown(own)]
    return "\n".join(lines)


def sites_markdown(skills: dict[str, Any]) -> str:
    """The card's table of where the stores are."""
    names = list(skills["places"])
    kinds = [(name, kind) for name in names for kind in ("completion", "question")]
    rows = [
        (site, *(f"{skills['places'][name][site][kind]:.2f}" for name, kind in kinds))
        for site in skills["places"][names[0]]
    ]
    head = ("mean-ablated at the thing's token", *(f"{name}, {kind}" for name, kind in kinds))
    return "\n".join(table(head, rows))
