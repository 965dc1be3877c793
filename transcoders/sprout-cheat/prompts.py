"""Write `prompts/cheat.jsonl`: transcripts of which it is known what their answers draw on.

    python -m transcoders.sprout-cheat.prompts

Two problems of every kind, with the right key and with a wrong one. "label" is the kind by
construction; "follows" says what the model does when values are swapped: probability that the
answer becomes the new value where the key is another one (notes kept, or written again by the
model) or the last step's result is.
"""

import json
import random
from typing import Any

import torch

from circuit_tracer.bundled import shipped_folder
from circuit_tracer.experiments.steps.check import Checker
from circuit_tracer.experiments.steps.results import Notes, StepsReport
from circuit_tracer.experiments.steps.run import explain
from circuit_tracer.experiments.steps.transcript import read_transcript
from circuit_tracer.workbench.opening import Opened, open_pair
from transcoders.growing.written_notes.examination import replacements
from transcoders.growing.written_notes.lessons import (
    Lesson,
    draw_problem,
    kind_of,
    make_lesson,
    other,
    solve,
)

NAMES = ("tom", "ben", "sam", "max", "eva", "anna", "mia", "lucy")
FOLDED = "said (\\w+)"


def lessons() -> list[Lesson]:
    """A sum of three terms and two hops for each name, with either key."""
    rng, found = random.Random("prompts"), []
    for name in NAMES:
        for terms in (3, 0):
            while len((problem := draw_problem(rng)).terms) != terms:
                pass
            right = solve(problem)[-1]
            for key in (right, other(rng, problem.values, right)):
                lesson = make_lesson(rng, problem, name, key, 0)
                if lesson is not None:
                    found.append(lesson)
    return found


def entry(opened: Opened, lesson: Lesson, number: int) -> dict[str, Any]:
    """One line of the file."""
    read = read_transcript(opened.model, lesson.prompt, lesson.notes, watch={"key": FOLDED})
    given = replacements(opened.model, lesson)
    checker = Checker(opened.model, opened.dictionary, read, most_steps=9, given=given)
    report = explain(opened.model, opened.dictionary, read, check=checker)
    last = report.steps[len(lesson.steps) - 1].name
    is_right = lesson.key == solve(lesson.problem)[-1]
    return {
        "id": f"cheat-{number:02d}",
        "prompt": lesson.prompt,
        "reasoning": lesson.notes,
        "answer": lesson.answer,
        "watch": {"key": FOLDED},
        "label": kind_of(lesson.name, 0),
        "follows": {
            "key, notes kept": follows(report, "key", "kept"),
            "key, notes rewritten": follows(report, "key", "rewritten"),
            "last step": follows(report, last, "kept"),
        },
        "tags": ["right key" if is_right else "wrong key", "notes"],
        "model": "sprout-cheat",
    }


def follows(report: StepsReport, part: str, notes: Notes) -> float:
    """Probability of the new value; where rewriting changes no word, as with the notes kept."""
    found = {one.notes: one.follows for one in report.swaps if one.parts == (part,)}
    return round(found[notes] if notes in found else found.get("kept", 0.0), 3)


def main() -> None:
    """Write the file."""
    torch.set_num_threads(1)
    opened = open_pair("sprout-cheat", "neurons", device="cpu")
    lines = [json.dumps(entry(opened, one, at)) for at, one in enumerate(lessons(), start=1)]
    (shipped_folder("prompts") / "cheat.jsonl").write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
