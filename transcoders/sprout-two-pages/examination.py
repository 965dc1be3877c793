"""Examine `sprout-two-pages` beside `sprout`: what was taught, and whether all else stayed.

    python transcoders/sprout-two-pages/examination.py

reads the shipped weights of both and writes `skills.json` into the model folder: four groups of
questions about the taught things (facts, yes/no questions by the second page, statements,
speakers), where the pages are (places.py), and sprout's own examination without the questions that
the lessons contradict.
"""

import hashlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "sprout"))

import torch
from transformers import LlamaForCausalLM

from combinations import claim, open_question, yes_no_question
from items import Item, Skills, items, judgement
from model_folder import read_model
from pages import SECOND, SPEAKERS, STATEMENTS, is_contradicted, spoken
from places import find_places
from skills import SPLITS, examine, share_right
from steps import steps_markdown
from things import COLOURS, THING_OF, Thing

HERE = Path(__file__).resolve().parent
MODEL, SPROUT = HERE / "model", HERE.parent / "sprout" / "model"


class Subject(NamedTuple):
    """A taught thing, in the singular or in the plural."""

    thing: Thing
    true: str
    second: str
    plural: bool


SUBJECTS = [
    Subject(THING_OF[name], THING_OF[name].facts["colour"], second, plural)
    for name, second in SECOND.items()
    for plural in (False, True)
]


def _asked(subject: Subject, colours: Iterable[str], answer: str) -> list[Item]:
    """Yes/no questions with one answer."""
    return [
        Item(yes_no_question(subject.thing, "colour", colour, subject.plural), answer)
        for colour in colours
    ]


def taught_items() -> dict[str, list[Item]]:
    """Questions about the taught things, each group with the answers it is held against."""
    asked: dict[str, list[Item]] = {}

    def add(group: str, found: Iterable[Item]) -> None:
        asked.setdefault(group, []).extend(found)

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
    """Share of each group answered as it is held against."""
    return {
        group: {"share": round(share_right(model, ids, asked), 4), "items": len(asked)}
        for group, asked in taught_items().items()
    }


def examine_pages(folder: Path, parent: Path) -> dict[str, Any]:
    """Write `skills.json` into a model folder: it and its parent on the same questions."""
    models = {"sprout-two-pages": read_model(folder), "sprout": read_model(parent)}
    asked = unchanged_items()
    for model, _ in models.values():
        model.train(False)
    found = {
        "sha256": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        "taught": {name: _taught(*opened) for name, opened in models.items()},
        "places": {
            name: find_places(*opened, second=name == "sprout-two-pages")
            for name, opened in models.items()
        },
        "skills": {name: examine(*opened, asked) for name, opened in models.items()},
    }
    (folder / "skills.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return found


def taught_markdown(found: dict[str, Any]) -> str:
    """The card's table of the taught things."""
    names = list(found["taught"])
    lines = [f"| taught things | {' | '.join(names)} | questions |", "|---|---|---|---|"]
    for group, figures in found["taught"][names[0]].items():
        shares = " | ".join(f"{found['taught'][name][group]['share']:.3f}" for name in names)
        lines.append(f"| {group} | {shares} | {figures['items']} |")
    return "\n".join(lines)


def unchanged_markdown(found: dict[str, Any]) -> str:
    """The card's table of everything else: this model, then its parent in brackets."""
    own, parent = found["skills"]["sprout-two-pages"], found["skills"]["sprout"]

    def cell(skill: str, split: str) -> str:
        if split not in own[skill]:
            return ""
        mine, theirs = own[skill][split], parent[skill][split]
        return f"{mine['accuracy']:.3f} ({theirs['accuracy']:.3f})"

    lines = ["| skill | trained | held out | held-out false values |", "|---|---|---|---|"]
    for skill in own:
        cells = " | ".join(cell(skill, split) for split in SPLITS)
        lines.append(f"| {skill} | {cells} |")
    lines += ["", "Steps of what this model writes out:", "", steps_markdown(own)]
    return "\n".join(lines)


def places_markdown(found: dict[str, Any]) -> str:
    """The card's table of where the pages are."""
    names = list(found["places"])
    kinds = [(name, kind) for name in names for kind in ("completion", "question")]
    heads = " | ".join(f"{name}, {kind}" for name, kind in kinds)
    lines = [f"| evened at the thing's token | {heads} |", f"|---|{'---|' * len(kinds)}"]
    for place in found["places"][names[0]]:
        cells = " | ".join(f"{found['places'][name][place][kind]:.2f}" for name, kind in kinds)
        lines.append(f"| {place} | {cells} |")
    return "\n".join(lines)


if __name__ == "__main__":
    torch.set_num_threads(1)
    examine_pages(MODEL, SPROUT)
