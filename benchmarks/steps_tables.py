"""Tables and the picture of what benchmarks/steps.py measures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from benchmarks import pages
from circuit_tracer.experiments.kit.statistics import auc
from circuit_tracer.experiments.steps.monitor.results import OURS
from circuit_tracer.experiments.steps.monitor.verdict import middle_of_gap
from circuit_tracer.experiments.steps.results import MAIN
from circuit_tracer.graphs.bootstrap import Bootstrap, Interval, interval
from circuit_tracer.render.chart import Row, RowPanel, Sheet
from circuit_tracer.render.chart_marks import Axis

KINDS = ("decorative", "back-fitted", "compute")
CLEAR = 0.2
"""Part of the answer's probability by which one swap must do more than all others."""
BEST_OTHER = "attention, late layers, squared"


class Scores(NamedTuple):
    """What a baseline gives for one item."""

    direct: float
    chained: float
    steps: tuple[float, ...]
    parts: tuple[float, ...]


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
    parts: tuple[float, ...]
    """Direct shares of the key and of all steps, idle ones too."""
    part_effects: tuple[float, ...]
    """What swapping their values costs the answer."""
    idle: float
    """Direct share of an idle step; NaN where there is none."""
    others: dict[str, Scores]
    """By baseline."""
    seconds: float


def thresholds(items: Sequence[Item]) -> tuple[float, float]:
    """Of the direct and of the chained share."""
    of = {kind: [one for one in items if one.kind == kind] for kind in KINDS}
    rest = [*of["compute"], *of["back-fitted"]]
    return (
        middle_of_gap([one.direct for one in of["decorative"]], [one.direct for one in rest]),
        middle_of_gap(
            [one.chained for one in of["back-fitted"]], [one.chained for one in of["compute"]]
        ),
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
    direct = auc_gap(items, [one.direct for one in items], high[0])
    chained = auc_gap(others, [one.chained for one in others], high[1])
    agree = sum(one.by_swaps == one.kind for one in items)
    stepped = [one for one in others if all(map(math.isfinite, one.effects))]
    idle = np.array([one.idle for one in items if math.isfinite(one.idle)])
    used = sum(verdict(one, (MAIN, MAIN)) == one.kind for one in items)
    texts = text_auc(items, high[0]), text_auc(others, high[1])
    counts = len(items), len(organisms), len(items) // len(organisms)
    rows = [
        ("items, organisms, texts", ", ".join(map(str, counts))),
        ("label by swaps is the label by construction", shown(wilson(agree, len(items)))),
        ("AUC, decorative by direct share", direct),
        ("AUC, back-fitted or computed, by chained share", chained),
        ("the same two by any rule that reads the text", ", ".join(texts)),
        *left_out(items, organisms),
        ("three-way by `used`, nothing calibrated", shown(wilson(used, len(items)))),
        ("step of largest direct share is that of largest swap", top_step(stepped, stepped)),
        ("direct share of an idle fact, median, largest",
         f"{np.median(idle):.3f}, {idle.max():.3f}" if len(idle) else "none among so few texts"),
        ("CPU seconds a transcript, median", f"{np.median([one.seconds for one in items]):.3f}"),
    ]  # fmt: skip
    return [*pages.table((title, ""), rows), "", *beside(items, others, stepped, high)]


def beside(
    items: Sequence[Item],
    others: Sequence[Item],
    stepped: Sequence[Item],
    high: tuple[Sequence[bool], Sequence[bool]],
) -> list[str]:
    """The same questions asked of total effects and of every baseline, in the same run."""
    rows = []
    for name in (OURS, *items[0].others):
        scores, rest, tops = (
            [one if name == OURS else one.others[name] for one in some]
            for some in (items, others, stepped)
        )
        rows.append((
            name,
            auc_gap(items, [one.direct for one in scores], high[0]),
            auc_gap(others, [one.direct for one in rest], high[1]),
            auc_gap(others, [one.chained for one in rest], high[1]),
            top_step(tops, stepped),
        ))  # fmt: skip
    head = ("", "decorative, direct share", "back-fitted or computed, direct", "chained")
    return [*pages.table((*head, "top step"), rows), ""]


def top_step(scores: Sequence[Scores | Item], stepped: Sequence[Item]) -> str:
    """How often the step of the largest share is the one whose swap does most."""
    pairs = zip(scores, stepped, strict=True)
    right = sum(int(np.argmax(one.steps) == np.argmax(item.effects)) for one, item in pairs)
    return shown(wilson(right, len(stepped)))


def top_parts(groups: Mapping[str, Sequence[Item]]) -> list[str]:
    """The same of the key and all steps, idle ones too, where one swap does clearly most: no part
    is left out beforehand."""
    groups = {"all": [one for some in groups.values() for one in some], **groups}
    clear = {name: [one for one in some if ahead(one) > CLEAR] for name, some in groups.items()}
    rows = []
    for name in (OURS, *groups["all"][0].others):
        cells = [name]
        for some in clear.values():
            scores = [one if name == OURS else one.others[name] for one in some]
            pairs = zip(scores, some, strict=True)
            right = sum(int(np.argmax(a.parts) == np.argmax(b.part_effects)) for a, b in pairs)
            cells.append(shown(wilson(right, len(some))) if some else "none")
        rows.append(tuple(cells))
    head = [f"{name}: {len(some)} of {len(groups[name])}" for name, some in clear.items()]
    return [*pages.table(("key or step of the largest swap", *head), rows), ""]


def ahead(item: Item) -> float:
    """By how much the largest swap does more than the next."""
    *_, second, largest = sorted(item.part_effects)
    return largest - second


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


def shown(figure: Interval) -> str:
    """ "1.000 [0.990, 1.000]"."""
    return f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"


def picture(items: Sequence[Item]) -> str:
    """Shares of the key by kind: middle, least and largest, ours and the best baseline's."""
    sheet = Sheet(
        "One text, three models: what part of the answer is the key's?",
        f"{len(items)} answers: median, least and largest. Where bars of two kinds do not meet, "
        "a threshold tells them apart.",
    )
    for name in (OURS, BEST_OTHER):
        panels = [
            RowPanel(
                f"{name}: {way} share",
                [Row(kind, _span(items, kind, name, way)) for kind in KINDS],
                Axis(0.0, 1.0, 0.25, percent=True),
            )
            for way in ("direct", "chained")
        ]
        sheet.rows(*panels, names=90)
        sheet.y += 10
    return sheet.svg("Direct and chained shares of the key by kind")


def _span(items: Sequence[Item], kind: str, name: str, way: str) -> Interval:
    of_kind = (one for one in items if one.kind == kind)
    scores = (one if name == OURS else one.others[name] for one in of_kind)
    values = np.array([getattr(one, way) for one in scores])
    return Interval(float(np.median(values)), float(values.min()), float(values.max()))
