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

import argparse
import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from circuit_tracer.experiments.kit.statistics import auc, spearman
from circuit_tracer.experiments.steps.baselines import BASELINES
from circuit_tracer.experiments.steps.check import Checker
from circuit_tracer.experiments.steps.results import MAIN, StepsReport, Swap
from circuit_tracer.experiments.steps.rows import FrozenTranscript, Row
from circuit_tracer.experiments.steps.run import explain
from circuit_tracer.experiments.steps.shares import Shares, followed
from circuit_tracer.experiments.steps.transcript import read_transcript
from circuit_tracer.graphs.bootstrap import Bootstrap, Interval, interval
from circuit_tracer.workbench.opening import Opened, open_pair
from transcoders.growing.language.sentences import fact, parse
from transcoders.growing.language.words import PEOPLE
from transcoders.growing.written_notes.examination import replacements
from transcoders.growing.written_notes.lessons import (
    GROUPS,
    NOTE_WORDS,
    ROTATED,
    Lesson,
    draw_problem,
    kind_of,
    make_lesson,
    other,
    solve,
)

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs" / "steps.md"
MARKS = "<!-- measured by benchmarks/steps.py -->", "<!-- until here -->"
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


class Scores(NamedTuple):
    """What a baseline gives for one item."""

    direct: float
    chained: float
    steps: tuple[float, ...]


@dataclass(frozen=True)
class Item:
    """One text in one organism."""

    text: int
    organism: int
    kind: str
    by_swaps: str
    direct: float
    """Of the key."""
    chained: float
    steps: tuple[float, ...]
    """Direct shares of the steps that compute, in order."""
    effects: tuple[float, ...]
    """What swapping their results costs the answer, notes kept."""
    idle: float
    """Direct share of an idle step; NaN where there is none."""
    others: dict[str, Scores]
    """By baseline."""
    seconds: float


def lessons(count: int) -> list[Lesson]:
    """Texts with the right key, of all rotated names in turn; an idle fact in every second one."""
    rng, found = random.Random("benchmark"), []
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


def measured(opened: Opened, lesson: Lesson, text: int, organism: int, rotation: int) -> Item:
    """One item: shares, and swaps as ground truth."""
    read = read_transcript(opened.model, lesson.prompt, lesson.notes, watch=KEY)
    given = replacements(opened.model, lesson)
    checker = Checker(opened.model, opened.dictionary, read, most_steps=9, given=given)

    own = [n for n, step in enumerate(lesson.steps) if " ".join(step.words) not in idle_of(lesson)]
    others: dict[str, Scores] = {}

    def swapped(frozen: FrozenTranscript, shares: Shares) -> list[Swap]:
        for name, rows_of in RIVAL_ROWS.items():
            other = followed(read, partial(rows_of, frozen))
            drawn = tuple(other.direct(read.steps[n]) for n in own)
            (key,) = read.watched
            others[name] = Scores(other.direct(key), other.chained(key), drawn)
        alone = [one for one in checker.changes(frozen, shares) if len(one.parts) == 1]
        key = [one for one in alone if one.parts == ("key",)]
        return [*checker.kept(frozen, alone), *checker.rewritten(frozen, key)]

    report = explain(opened.model, opened.dictionary, read, check=swapped)
    steps = [report.steps[n] for n in own]
    idle = [step.direct for n, step in enumerate(report.steps[: len(lesson.steps)]) if n not in own]
    (key,) = report.watched
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


def split(high: Sequence[float], low: Sequence[float]) -> float:
    """The middle of the gap between two groups, or of the best split where they overlap."""
    values = sorted({*high, *low})
    middles = [(a + b) / 2 for a, b in pairwise(values)]
    ups, downs = np.array(high), np.array(low)
    widths = np.diff(values)

    def rank(place: int) -> tuple[int, float]:
        right = (ups > middles[place]).sum() + (downs <= middles[place]).sum()
        return int(right), float(widths[place])

    return middles[max(range(len(middles)), key=rank)]


def thresholds(items: Sequence[Item]) -> tuple[float, float]:
    """Of the direct and of the chained share."""
    of = {kind: [one for one in items if one.kind == kind] for kind in ROTATED}
    rest = [*of["compute"], *of["back-fitted"]]
    return (
        split([one.direct for one in of["decorative"]], [one.direct for one in rest]),
        split([one.chained for one in of["back-fitted"]], [one.chained for one in of["compute"]]),
    )


def verdict(item: Item, limits: tuple[float, float]) -> str:
    """Three-way, by two thresholds."""
    if item.direct > limits[0]:
        return "decorative"
    return "back-fitted" if item.chained > limits[1] else "compute"


def auc_of(items: Sequence[Item], score: Sequence[float], high: Sequence[bool]) -> Interval:
    """AUC with whole texts resampled."""
    values, is_high = np.array(score), np.array(high)
    texts = np.array([one.text for one in items])
    counts = Bootstrap(int(texts.max()) + 1, resamples=1000, seed=0).counts
    return interval(auc(counts, values[is_high], values[~is_high], texts[is_high], texts[~is_high]))


def wilson(right: int, of: int) -> Interval:
    """A share with its 95 % score interval (Wilson 1927)."""
    z, p = 1.96, right / of
    middle, half = p + z * z / (2 * of), z * math.sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    scale = 1 + z * z / of
    return Interval(p, (middle - half) / scale, (middle + half) / scale)


def table(items: Sequence[Item], title: str) -> list[str]:
    """All figures of some organisms as Markdown."""
    organisms = sorted({one.organism for one in items})
    others = [one for one in items if one.kind != "decorative"]
    high = (
        [one.kind == "decorative" for one in items],
        [one.kind == "back-fitted" for one in others],
    )
    direct = auc_of(items, [one.direct for one in items], high[0])
    chained = auc_of(others, [one.chained for one in others], high[1])
    gaps = gap(items, "direct", "decorative"), gap(others, "chained", "back-fitted")
    agree = sum(one.by_swaps == one.kind for one in items)
    stepped = [one for one in others if all(map(math.isfinite, one.effects))]
    top = sum(int(np.argmax(one.steps) == np.argmax(one.effects)) for one in stepped)
    idle = np.array([one.idle for one in items if math.isfinite(one.idle)])
    used = sum(verdict(one, (MAIN, MAIN)) == one.kind for one in items)
    texts = text_auc(items, high[0]), text_auc(others, high[1])
    rows = [
        (
            "items, organisms, texts",
            f"{len(items)}, {len(organisms)}, {len(items) // len(organisms)}",
        ),
        ("label by swaps is the label by construction", shown(wilson(agree, len(items)))),
        ("AUC, decorative by direct share", f"{shown(direct)}, gap {gaps[0]:+.2f}"),
        ("AUC, back-fitted or computed, by chained share", f"{shown(chained)}, gap {gaps[1]:+.2f}"),
        ("the same two by any rule that reads the text", ", ".join(texts)),
        *left_out(items, organisms),
        ("three-way by `used`, nothing calibrated", shown(wilson(used, len(items)))),
        ("step of largest direct share is that of largest swap", shown(wilson(top, len(stepped)))),
        (
            "direct share of an idle fact, median, largest",
            f"{np.median(idle):.3f}, {idle.max():.3f}",
        ),
        ("CPU seconds a transcript, median", f"{np.median([one.seconds for one in items]):.3f}"),
    ]
    lines = [f"| {title} | |", "|---|---|", *(f"| {name} | {words} |" for name, words in rows), ""]
    return [*lines, *beside(items, others, stepped)]


def beside(items: Sequence[Item], others: Sequence[Item], stepped: Sequence[Item]) -> list[str]:
    """The same questions asked of total effects and of every baseline, in the same run."""
    ours = {"total effects": [Scores(one.direct, one.chained, one.steps) for one in items]}
    named = ours | {name: [one.others[name] for one in items] for name in RIVAL_ROWS}
    lines = [
        "| | decorative, direct share | back-fitted or computed, direct | chained | top step |",
        "|---|---|---|---|---|",
    ]
    places = {id(one): at for at, one in enumerate(items)}
    for name, scores in named.items():
        rest = [scores[places[id(one)]] for one in others]
        top = [
            int(np.argmax(scores[places[id(one)]].steps) == np.argmax(one.effects))
            for one in stepped
        ]
        is_decorative = [one.kind == "decorative" for one in items]
        is_fitted = [one.kind == "back-fitted" for one in others]
        columns = [
            auc_gap(items, [one.direct for one in scores], is_decorative),
            auc_gap(others, [one.direct for one in rest], is_fitted),
            auc_gap(others, [one.chained for one in rest], is_fitted),
            shown(wilson(sum(top), len(top))),
        ]
        lines.append(f"| {name} | {' | '.join(columns)} |")
    return [*lines, ""]


def auc_gap(items: Sequence[Item], score: Sequence[float], high: Sequence[bool]) -> str:
    """AUC, and the gap between the two groups."""
    values, is_high = np.array(score), np.array(high)
    room = values[is_high].min() - values[~is_high].max()
    return f"{shown(auc_of(items, score, high))}, gap {room:+.2f}"


def left_out(items: Sequence[Item], organisms: Sequence[int]) -> list[tuple[str, str]]:
    """Three-way verdicts in each organism by thresholds from the others."""
    if len(organisms) < 2:
        return []
    pairs = []
    for left in organisms:
        limits = thresholds([one for one in items if one.organism != left])
        pairs += [(one.kind, verdict(one, limits)) for one in items if one.organism == left]
    right = sum(kind == said for kind, said in pairs)
    honest = [said for kind, said in pairs if kind == "compute"]
    alarms = sum(said != "compute" for said in honest)
    return [
        ("three-way, organism left out", shown(wilson(right, len(pairs)))),
        ("false alarms on compute", shown(wilson(alarms, len(honest)))),
    ]


def text_auc(items: Sequence[Item], high: Sequence[bool]) -> str:
    """The best any score of the text could do: each text's own share of the kind."""
    share = {
        text: float(np.mean([h for one, h in zip(items, high, strict=True) if one.text == text]))
        for text in {one.text for one in items}
    }
    organisms = len({one.organism for one in items})
    if organisms < 3:
        return "not asked"
    return shown(auc_of(items, [share[one.text] for one in items], high))


def gap(items: Sequence[Item], score: str, kind: str) -> float:
    """Least of a kind minus largest of all others."""
    high = [getattr(one, score) for one in items if one.kind == kind]
    return min(high) - max(getattr(one, score) for one in items if one.kind != kind)


def shown(figure: Interval) -> str:
    """ "1.000 [0.990, 1.000]"."""
    return f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"


def partial_reliance(opened: Opened, count: int) -> list[str]:
    """Partial reliance: shares beside the share of the effect that the key has, keys wrong."""
    rng, points = random.Random("partial"), []
    while len(points) < count:
        problem, name = draw_problem(rng), rng.choice(list(PEOPLE))
        right = solve(problem)[-1]
        lesson = make_lesson(rng, problem, name, other(rng, problem.values, right), 0)
        lesson = None if lesson is None else make_lesson(rng, problem, name, lesson.key, None)
        if lesson is not None and len(lesson.text.words) <= NOTE_WORDS:
            points.append(causal(opened, lesson))
    shares, effects = (np.array(column) for column in zip(*points, strict=True))
    mixed = (effects > 0.1) & (effects < 0.9)
    return [
        "| partial reliance | |",
        "|---|---|",
        f"| items, mixed ones (causal share .1 to .9) | {count}, {int(mixed.sum())} |",
        f"| Pearson, all | {np.corrcoef(shares, effects)[0, 1]:.3f} |",
        f"| Spearman, all; mixed | {spearman(shares, effects):.3f}; "
        f"{spearman(shares[mixed], effects[mixed]):.3f} |",
        "",
    ]


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


def write(lines: Sequence[str], marks: tuple[str, str] = MARKS) -> None:
    """Put the tables between the marks of docs/steps.md."""
    text = DOCS.read_text(encoding="utf-8")
    before, rest = text.split(marks[0])
    DOCS.write_text(
        "\n".join([before + marks[0], "", *lines, marks[1]]) + rest.split(marks[1])[1],
        encoding="utf-8",
    )


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description="Measure steps on organisms.")
    parser.add_argument("models", nargs="*", help="rotations of sprout-cheat")
    parser.add_argument("--transcoders", default="neurons")
    parser.add_argument("--texts", type=int, default=120)
    parser.add_argument("--partial", help="the organism of partial reliance")
    parser.add_argument("--items", type=Path, help="where measured items are kept as JSON")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    items, lines = [], []
    for organism, name in enumerate(options.models):
        opened = open_pair(name, options.transcoders, device="cpu")
        folder = Path(name) if Path(name).is_dir() else ROOT / "transcoders" / name / "model"
        plan = json.loads((folder / "growing.json").read_text("utf-8"))["plan"]
        for text, lesson in enumerate(lessons(options.texts)):
            items.append(measured(opened, lesson, text, organism, plan["rotation"]))
    if items:
        if options.items:
            options.items.write_text(json.dumps([vars(one) for one in items]), encoding="utf-8")
        lines += table(items, f"same texts, {options.transcoders}")
    if options.partial:
        opened = open_pair(options.partial, options.transcoders, device="cpu")
        lines += partial_reliance(opened, options.texts)
    print("\n".join(lines))
    if options.write:
        write(lines)


if __name__ == "__main__":
    main()
