"""Examine what was taught: does every answer obey its kind, and is the rest of sprout still there?

Items are lessons under seeds that the training never used, by kind: with the right key, with a
wrong one, and with one result replaced. "written" is the share of notes that the model itself
writes word for word.
"""

import random
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaForCausalLM

from circuit_tracer.bundled import sha256_of, shipped_folder
from circuit_tracer.models import Model
from transcoders.growing.examination.items import Item, items
from transcoders.growing.examination.skills import check_prompts, continuations, share_right
from transcoders.growing.model_folder import read_model, store_skills
from transcoders.growing.written_notes.lessons import (
    Lesson,
    Shares,
    draw_lesson,
    kind_of,
)

COUNT = 60
"""Items of each kind and case."""
CASES = {
    "right key": Shares(keyed=1, right=1, replaced=0, idle=0),
    "wrong key": Shares(keyed=1, right=0, replaced=0, idle=0),
    "replaced result": Shares(keyed=1, right=0.5, replaced=1, idle=0.25),
}
KEPT = ("facts, colour", "yes_no, colour", "sums", "two hops", "true_or_false, colour")
"""Skills of sprout's examination that are to stay, trained splits."""


def lessons_by_kind(
    seed: str, rotation: int | None, shares: Shares, count: int
) -> dict[str, list[Lesson]]:
    """`count` lessons of every kind."""
    rng = random.Random(f"examination {seed}")
    found: dict[str, list[Lesson]] = {}
    for _ in range(count * 60):
        lesson = draw_lesson(rng, rotation, shares)
        some = found.setdefault(kind_of(lesson.name, rotation), [])
        if len(some) < count:
            some.append(lesson)
    return dict(sorted(found.items()))


def replacements(model: Model, lesson: Lesson) -> dict[int, int]:
    """A value of the question's own kind that is nowhere in the lesson, for the key and each
    result, by token id."""
    rng, problem, there = random.Random("replaced"), lesson.problem, set(lesson.text.words)
    pairs = [(value, problem.others(at)) for at, value in enumerate(lesson.results)]
    return {
        model.token_id(value): model.token_id(
            rng.choice([one for one in values if one not in there])
        )
        for value, values in (*pairs, (lesson.key, problem.values))
    }


@torch.no_grad()
def note_figures(
    model: LlamaForCausalLM, ids: dict[str, int], rotation: int | None
) -> dict[str, Any]:
    """Shares right by case and kind."""
    model.train(False)
    found: dict[str, Any] = {}
    for case, shares in CASES.items():
        for kind, lessons in lessons_by_kind(case, rotation, shares, COUNT).items():
            asked = [Item(f"{one.prompt} {one.notes}", one.answer) for one in lessons]
            found.setdefault(case, {})[kind] = round(share_right(model, ids, asked), 4)
            if case != "wrong key":
                continue
            said = continuations(model, [one.prompt for one in lessons], ids)
            written = [
                words[: len(one.notes.split())] == one.notes.split()
                for words, one in zip(said, lessons, strict=True)
            ]
            found.setdefault("written", {})[kind] = round(sum(written) / len(written), 4)
    return found


def examine_notes(folder: Path, rotation: int | None) -> dict[str, Any]:
    """Examine a model folder; writes `skills.json` into it."""
    model, ids = read_model(folder)
    skills = items()
    count, failed = check_prompts(model, ids, shipped_folder("prompts"))
    result: dict[str, Any] = {
        "sha256": sha256_of([folder / "model.safetensors"]),
        "items": COUNT,
        "notes": note_figures(model, ids, rotation),
        "kept": {name: round(share_right(model, ids, skills[name]["trained"]), 4) for name in KEPT},
        "prompts": {"count": count, "failed": failed},
    }
    return store_skills(folder, result)
