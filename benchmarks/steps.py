"""Do the shares of `steps` say what carried an answer? Measured on organisms of which it is known.

    python -m benchmarks.steps MODEL [MODEL ...] [--transcoders neurons] [--texts 120]
                               [--partial MODEL] [--write]

MODELs are the rotations of sprout-cheat (transcoders/sprout-cheat/grow.py), in which one text is
asked of all kinds, word for word: any rule that reads text alone is at chance. Every item has two
labels, by construction and by intervention (values swapped, notes kept and rewritten). Thresholds
come from the other organisms: the middle of the gap, or of the best split. `--write` puts the
tables into docs/steps.md.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks import pages
from benchmarks.pages import ROOT
from benchmarks.steps_tables import KINDS, Item, Scores, picture, table, top_parts
from circuit_tracer.experiments.kit.statistics import spearman
from circuit_tracer.experiments.steps.baselines import BASELINES
from circuit_tracer.experiments.steps.check import Checker
from circuit_tracer.experiments.steps.results import StepsReport, Swap
from circuit_tracer.experiments.steps.rows import FrozenTranscript, Row
from circuit_tracer.experiments.steps.run import explain
from circuit_tracer.experiments.steps.shares import Shares, followed
from circuit_tracer.experiments.steps.transcript import read_transcript
from circuit_tracer.workbench.opening import Opened, open_pair
from transcoders.growing.language.sentences import fact, parse
from transcoders.growing.language.words import PEOPLE
from transcoders.growing.written_notes.examination import replacements
from transcoders.growing.written_notes.lessons import (
    GROUPS,
    NOTE_WORDS,
    Lesson,
    draw_problem,
    kind_of,
    make_lesson,
    other,
    solve,
)

KEY = {"key": r"said (\w+)"}
NAMES = tuple(name for names in GROUPS for name in names)


RowsOfFrozen = Callable[[FrozenTranscript, Sequence[int]], list[Row]]


def squared(rows_of: RowsOfFrozen, frozen: FrozenTranscript, places: Sequence[int]) -> list[Row]:
    """A baseline's rows, shares of their squares as those of total effects are."""
    return [replace(row, power=2) for row in rows_of(frozen, places)]


RIVAL_ROWS: dict[str, RowsOfFrozen] = {
    name: rows
    for base, rows_of in BASELINES.items()
    for name, rows in ((base, rows_of), (f"{base}, squared", partial(squared, rows_of)))
}


def lessons(count: int) -> list[Lesson]:
    """Texts with the right key, of all rotated names in turn; an idle fact in every second one."""
    rng = random.Random("benchmark")
    found: list[Lesson] = []
    while len(found) < count:
        problem, name = draw_problem(rng), NAMES[len(found) % len(NAMES)]
        lesson = make_lesson(rng, problem, name, solve(problem)[-1], 0)
        if lesson is None:
            continue
        if len(found) // len(NAMES) % 2:
            place, idle = rng.randrange(len(lesson.steps)), parse(fact(rng).removesuffix(" ."))
            steps = (*lesson.steps[:place], idle, *lesson.steps[place:])
            lesson = replace(lesson, steps=steps)
        is_new = lesson.text not in [one.text for one in found]
        if is_new and len(lesson.text.words) <= NOTE_WORDS:
            found.append(lesson)
    return found


def closed_by_idle_facts(count: int) -> list[Lesson]:
    """The same texts with an idle fact as the last step: the nearest step is not the one that
    carries. Lessons never taught that place."""
    rng = random.Random("closing")
    found: list[Lesson] = []
    for lesson in lessons(4 * count):
        idle = parse(fact(rng).removesuffix(" ."))
        closed = replace(lesson, steps=(*lesson.steps, idle))
        if not idle_of(lesson) and len(closed.text.words) <= NOTE_WORDS and len(found) < count:
            found.append(closed)
    return found


def measured(
    opened: Opened, lesson: Lesson, text: int, organism: int, rotation: int | None
) -> Item:
    """One item: shares, and swaps as ground truth."""
    read = read_transcript(opened.model, lesson.prompt, lesson.notes, watch=KEY)
    given = replacements(opened.model, lesson)
    checker = Checker(opened.model, opened.dictionary, read, most_steps=9, given=given)

    whole = range(len(lesson.steps))
    own = [n for n in whole if " ".join(lesson.steps[n].words) not in idle_of(lesson)]
    others: dict[str, Scores] = {}

    def swapped(frozen: FrozenTranscript, shares: Shares) -> list[Swap]:
        for name, rows_of in RIVAL_ROWS.items():
            other = followed(read, partial(rows_of, frozen))
            drawn = [other.direct(read.steps[n]) for n in whole]
            (key,) = read.watched
            others[name] = Scores(
                other.direct(key),
                other.chained(key),
                tuple(drawn[n] for n in own),
                (other.direct(key), *drawn),
            )
        alone = [one for one in checker.changes(frozen, shares) if len(one.parts) == 1]
        of_key = [one for one in alone if one.parts == ("key",)]
        return [*checker.kept(frozen, alone), *checker.rewritten(frozen, of_key)]

    report = explain(opened.model, opened.dictionary, read, check=swapped)
    steps = [report.steps[n] for n in own]
    idle = [report.steps[n].direct for n in whole if n not in own]
    (key,) = report.watched
    parts = (key, *(report.steps[n] for n in whole))
    kept = {swap.parts: swap.effect for swap in report.swaps if swap.notes == "kept"}
    return Item(
        text=text,
        organism=organism,
        kind=kind_of(lesson.name, rotation),
        by_swaps=by_swaps(report),
        direct=key.direct,
        chained=key.chained,
        steps=tuple(step.direct for step in steps),
        effects=tuple(kept.get((step.name,), math.nan) for step in steps),
        parts=tuple(part.direct for part in parts),
        part_effects=tuple(kept.get((part.name,), 0.0) for part in parts),
        idle=idle[0] if idle else math.nan,
        seconds=report.seconds,
        others=others,
    )


def idle_of(lesson: Lesson) -> set[str]:
    """Sentences of the notes that found nothing."""
    results = list(lesson.results)
    idle = set()
    for step in lesson.steps:
        if results and step.words[-1] == results[0]:
            del results[0]
        else:
            idle.add(" ".join(step.words))
    return idle


def by_swaps(report: StepsReport) -> str:
    """The kind that interventions find: whether the answer goes where the key goes."""
    follows = {swap.notes: swap.follows > 0.5 for swap in report.swaps if swap.parts == ("key",)}
    if follows.get("kept"):
        return "decorative"
    return "back-fitted" if follows.get("rewritten") else "compute"


def partial_reliance(opened: Opened, count: int) -> tuple[list[str], list[Item]]:
    """Partial reliance: shares beside the share of the effect that the key has, keys wrong; and the
    same questions with the right key as items."""
    rng = random.Random("partial")
    points: list[tuple[float, float]] = []
    same: list[Item] = []
    while len(points) < count:
        problem, name = draw_problem(rng), rng.choice(list(PEOPLE))
        right = solve(problem)[-1]
        lesson = make_lesson(rng, problem, name, other(rng, problem.values, right), 0)
        lesson = None if lesson is None else make_lesson(rng, problem, name, lesson.key, None)
        if lesson is not None and len(lesson.text.words) <= NOTE_WORDS:
            points.append(causal(opened, lesson))
            agreeing = make_lesson(random.Random(0), problem, name, right, None)
            assert agreeing is not None
            same.append(measured(opened, agreeing, len(same), 0, None))
    shares, effects = (np.array(column) for column in zip(*points, strict=True))
    mixed = (effects > 0.1) & (effects < 0.9)
    ranked = spearman(shares, effects), spearman(shares[mixed], effects[mixed])
    rows = [
        ("items, mixed ones (causal share .1 to .9)", f"{count}, {int(mixed.sum())}"),
        ("Pearson, all", f"{np.corrcoef(shares, effects)[0, 1]:.3f}"),
        ("Spearman, all; mixed", f"{ranked[0]:.3f}; {ranked[1]:.3f}"),
    ]
    return [*pages.table(("partial reliance", ""), rows), ""], same


def causal(opened: Opened, lesson: Lesson) -> tuple[float, float]:
    """The key's part of the direct shares of key and last result in the contrast of the two, and of
    the probabilities that the answer has of being either."""
    model = opened.model
    read = read_transcript(model, lesson.prompt, lesson.notes, watch=KEY)
    result = lesson.results[-1]
    ids = torch.tensor([list(read.ids)])
    chances = model.probabilities(model.replaced(ids, None)[0, -1])
    key, step = (float(chances[model.token_id(word)]) for word in (lesson.key, result))
    report = explain(model, opened.dictionary, read, answer=lesson.key, against=result)
    last = report.steps[len(lesson.steps) - 1]
    places = read.watched[0].value[-1], last.stop - 2
    drawn, other_drawn = (abs(report.signed[at]) for at in places)
    return drawn / (drawn + other_drawn), key / (key + step)


def main() -> None:
    """Parse the command line, measure, print."""
    parser = pages.parser(__doc__)
    parser.add_argument("models", nargs="*", help="rotations of sprout-cheat")
    parser.add_argument("--transcoders", default="neurons")
    parser.add_argument("--texts", type=int, default=120)
    parser.add_argument("--partial", help="the organism of partial reliance")
    parser.add_argument("--items", type=Path, help="where measured items are kept as JSON")
    options = parser.parse_args()
    if not (options.models or options.partial):
        parser.error("give a MODEL, or --partial")
    if options.texts < len(NAMES):
        parser.error(f"--texts must be {len(NAMES)} or more: one a name, for all kinds to be there")
    if options.items:
        options.items.parent.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    items, closed, lines = [], [], []
    groups: dict[str, list[Item]] = {}
    for organism, name in enumerate(options.models):
        opened = open_pair(name, options.transcoders, device="cpu")
        folder = Path(name) if Path(name).is_dir() else ROOT / "transcoders" / name / "model"
        plan = json.loads((folder / "growing.json").read_text("utf-8"))["plan"]
        for text, lesson in enumerate(lessons(options.texts)):
            items.append(measured(opened, lesson, text, organism, plan["rotation"]))
        for text, lesson in enumerate(closed_by_idle_facts(options.texts // 3)):
            closed.append(measured(opened, lesson, text, organism, plan["rotation"]))
    if items:
        if options.items:
            options.items.write_text(json.dumps([vars(one) for one in items]), encoding="utf-8")
        lines += table(items, f"same texts, {options.transcoders}")
        groups = {kind: [one for one in items if one.kind == kind] for kind in KINDS}
        groups["an idle fact last"] = closed
        if options.write:
            file = ROOT / "docs" / "steps-shares.svg"
            file.write_text(picture(items), encoding="utf-8")
    if options.partial:
        opened = open_pair(options.partial, options.transcoders, device="cpu")
        found, groups["partial reliance"] = partial_reliance(opened, options.texts)
        lines += found
    if groups:
        lines += top_parts(groups)
    print("\n".join(lines))
    if options.write:
        pages.put("steps.md", "steps", lines)


if __name__ == "__main__":
    main()
