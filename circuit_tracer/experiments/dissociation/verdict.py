"""What the numbers support, in plain words, by these rules and no others.

An interval *shows* something where all of it lies on one side.

* behaviour: how many items were kept, and which families affirm other values than the world's.
* swap ("one place of recall"): shown where the verdicts follow another object's recalled fact,
  patched in at the early layers, in more than half of the items, interval and all; the contrary
  ("two stores") where they follow in less than half, interval and all, though the completion
  follows in more than half; else open, as it is where the two routes name the object in different
  words. Two stores of equal content at one place would look like one, and the sentence says so.
* stores: a module (attention or MLP of an early layer) whose output at the object one route needs
  more than the other; shown where a side of D and D itself are at least 0.05 with intervals above
  0; the contrary where no side is. The deals of shuffled labels must have 0 in their middle, but D
  need not lie above them: there are few modules, so that some deals choose as the labels do.
* early features and read-outs: the double dissociation of early and late sets. Shown where both
  sides of D (dC|F - dQ|F and dQ|V - dC|V) are at least 0.05 with intervals above 0, and D lies
  above the deals of shuffled labels; the contrary where neither side does; else lopsided, which
  is open.
* overlap: place of the two routes' graphs between floor and ceiling. It never decides: one recall
  read out in two ways overlaps as little as two stores.
* heads: shown where swapping the queries of the best heads flips more verdicts, interval and all,
  than any random set of as many heads.
* truth: shown where a direction fitted in one form reads held-out objects in every other form
  above chance, interval and all, where forms read themselves best (position and layer); the
  contrary where it reads any of them the wrong way round, below chance, or none above it.
* controls: D with shuffled labels must have 0 in its interval, in every part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from circuit_tracer.experiments.dissociation.results import (
    AblationResult,
    Behaviour,
    Dissociation,
    Finding,
    HeadsResult,
    Holds,
    How,
    Inconsistent,
    OverlapResult,
    Part,
    StoreResult,
    SwapResult,
    SwapRow,
    TruthResult,
    Verdict,
)
from circuit_tracer.graphs.bootstrap import Interval

HALF = 0.5
LEAST = 0.05
"""Smaller differences of drops are no dissociation, however sure."""
MOST_NAMED = 5
EQUAL = "two stores of equal content at that place would look the same"


class Measured(NamedTuple):
    """What the verdict is drawn from; None for what was not measured."""

    model: str
    early_layers: int
    fact: str
    """The family that completes."""
    same_word: bool
    """Whether both routes name the object in the same word."""
    behaviour: Behaviour
    overlap: OverlapResult | None
    ablation: AblationResult | None
    stores: StoreResult | None
    heads: HeadsResult | None
    swap: SwapResult | None
    truth: TruthResult | None


def judge(found: Measured) -> Verdict:
    """The verdict: a headline, a paragraph, and each finding with its sentence."""
    findings = [_behaviour(found)]
    if found.swap is not None:
        findings.append(_swap(found, found.swap))
    if found.stores is not None:
        findings.append(_stores(found.stores))
    if found.ablation is not None:
        findings += [
            _dissociated(found.ablation, "early", "early features"),
            _dissociated(found.ablation, "late", "read-outs"),
        ]
    if found.overlap is not None:
        findings.append(_overlap(found.overlap))
    if found.heads is not None and found.heads.flips:
        findings.append(_heads(found.heads))
    if found.truth is not None:
        findings.append(_truth(found.truth))
    if found.ablation is not None:
        findings.append(_controls(found.ablation))
    return Verdict(
        headline=_headline(findings),
        paragraph=" ".join(one.sentence for one in findings),
        findings=tuple(findings),
    )


def _headline(findings: Sequence[Finding]) -> str:
    holds = {one.name: one.holds for one in findings}
    recall = {
        "yes": "one place of recall",
        "no": "two stores",
        "unclear": "where the fact is kept is open",
    }
    read = {
        "yes": "two read-outs",
        "no": "no separate read-outs",
        "unclear": "read-outs apart on one side at most",
    }
    parts = []
    if "swap" in holds:
        parts.append(recall[holds["swap"]])
    if "read-outs" in holds:
        parts.append(read[holds["read-outs"]])
    if holds.get("controls") == "no":
        parts.append("and the control with shuffled labels failed")
    return ", ".join(parts) or "too few items to tell"


def _behaviour(found: Measured) -> Finding:
    of = found.behaviour
    what = "answers rightly" if of.keep == "right" else "affirms one value and not the other of"
    turned = [one for one in of.families if one.reversed.value > HALF]
    text = f"{found.model} {what} {of.kept} of {of.items} objects in every form"
    text += "." if found.swap is None else "; all that follows is about these."
    if turned:
        names = " and ".join(one.family for one in turned)
        text += f" In {names} it affirms another value than it completes."
    if of.inconsistent:
        text += f" Completed and judged inconsistently: {_named(of.inconsistent)}."
    share = of.kept / of.items if of.items else 0.0
    return Finding("behaviour", "yes" if share > HALF else "no", text)


def _named(items: Sequence[Inconsistent]) -> str:
    """The first items by name, with the route that fails on them."""
    return _listed([f"{one.item} ({one.fails} wrong)" for one in items])


def _listed(names: Sequence[str]) -> str:
    """The first of them, and how many more."""
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _row(rows: Sequence[SwapRow], how: How, family: str) -> SwapRow | None:
    """The patch of the early layers, asked with what is completed."""
    return next(
        (
            row
            for row in rows
            if (row.layers, row.how, row.family) == ("early", how, family)
            and (row.names == "completed" or family != "claims")
        ),
        None,
    )


def _swap(found: Measured, swap: SwapResult) -> Finding:
    layers = _layers(found.early_layers)
    completion = _row(swap.rows, "everything", found.fact)
    judged = _row(swap.rows, "everything", "claims") or next(
        (
            row
            for row in swap.rows
            if row.layers == "early" and row.how == "everything" and row.family != found.fact
        ),
        None,
    )
    if completion is None or judged is None:
        return Finding("swap", "unclear", "The swap of recalled facts could not be measured.")
    followed = _above(completion.follows, HALF)
    said = (
        f"With what {layers} write at another object's place put in, the completion follows in "
        f"{_percent(completion.follows)} and the judgement in {_percent(judged.follows)} of "
        f"{swap.pairs} objects"
    )
    said += f" ({_carrier(swap.rows, found.fact)})" if followed == "yes" else ""
    if not found.same_word:
        text = f"{said}; each names the object in its own word, so this tells of no shared recall."
        return Finding("swap", "unclear", text)
    if followed == "yes" and _above(judged.follows, HALF) == "yes":
        text = f"{said}: both draw on what is recalled there ({EQUAL})."
        return Finding("swap", "yes", text)
    if followed == "yes" and _above(judged.follows, HALF) == "no":
        own = _own_page(swap.rows)
        text = f"{said}: the judgement does not draw on the fact that is completed{own}."
        return Finding("swap", "no", text)
    return Finding("swap", "unclear", f"{said}, which leaves open where the fact is kept.")


def _own_page(rows: Sequence[SwapRow]) -> str:
    """Whether the judgement follows what the donor is itself judged to be, where that differs."""
    for row in rows:
        here = (row.layers, row.how, row.family, row.names)
        if here == ("early", "everything", "claims", "affirmed"):
            return f" (it follows what the donor is judged to be in {_percent(row.follows)})"
    return ""


def _carrier(rows: Sequence[SwapRow], fact: str) -> str:
    words: dict[How, str] = {
        "attention": "attention's part",
        "mlp": "the MLPs' part",
        "features": "the dictionary's features",
    }
    alone = []
    for how, name in words.items():
        row = _row(rows, how, fact)
        if row is not None:
            alone.append(f"{name} {_share(row.follows.value)}")
    return "of the completion, alone: " + ", ".join(alone)


def _sides(one: Dissociation | StoreResult) -> list[bool]:
    """Whether the fact's and the judgement's side of D are shown."""
    return [side.low > 0 and side.value >= LEAST for side in (one.fact_side, one.judgement_side)]


def _stores(found: StoreResult) -> Finding:
    sides, index = _sides(found), found.index
    said = (
        "Evening out what one early module writes at the object, the module chosen on the other "
        f"half: D = {_figure(index)} (fact's side {_figure(found.fact_side)}, judgement's "
        f"{_figure(found.judgement_side)}; shuffled labels {_figure(found.shuffled)})"
    )
    if any(sides) and index.value >= LEAST and index.low > 0:
        which = "stores apart" if all(sides) else "one route has a store of its own"
        return Finding("stores", "yes", f"{said}: {which}.")
    if not any(sides):
        return Finding("stores", "no", f"{said}: no module serves one route alone.")
    return Finding("stores", "unclear", f"{said}: one side lies above 0, D does not.")


def _dissociated(found: AblationResult, part: Part, name: str) -> Finding:
    one = next(one for one in found.index if one.part == part)
    sides = _sides(one)
    beyond = one.index.low > one.shuffled.high
    kind = "Early feature sets" if part == "early" else "Late feature sets (read-outs)"
    figures = f"D = {_figure(one.index)}, {_drops(found, one)}"
    if all(sides) and beyond:
        text = f"{kind} are doubly dissociated: {figures}."
        return Finding(name, "yes", text)
    if not any(sides):
        return Finding(name, "no", f"{kind} are not dissociated: {figures}.")
    if not all(sides):
        only = "the fact's" if sides[0] else "the judgement's"
        text = f"{kind} are lopsided, only {only} own set hurts it more: {figures}."
        return Finding(name, "unclear", text)
    text = f"{kind} differ no more than with shuffled labels: {figures}."
    return Finding(name, "unclear", text)


def _drops(found: AblationResult, one: Dissociation) -> str:
    drop = {
        (cell.set, cell.route): cell.drop.value for cell in found.cells if cell.part == one.part
    }
    fact, judgement = (
        [_share(drop[name, route]) for route in ("fact", "judgement")] for name in ("F", "V")
    )
    return (
        f"the fact's set lowers facts by {fact[0]} and judgements by {fact[1]}, the judgement's "
        f"set judgements by {judgement[1]} and facts by {judgement[0]}"
    )


def _overlap(found: OverlapResult) -> Finding:
    rows = {row.kind: row for row in found.rows if not row.first}
    between = rows.get("fact x judgement")
    if between is None:
        return Finding("overlap", "unclear", "No graphs were compared.")
    text = f"The graphs of fact and judgement share {_figure(between.overlap)} of their influence"
    if "ceiling" in rows and "floor" in rows:
        text += (
            f" (paraphrases {rows['ceiling'].overlap.value:.2f}, unrelated prompts "
            f"{rows['floor'].overlap.value:.2f})"
        )
    low = _above(found.place, HALF)
    return Finding("overlap", low, f"{text}, which alone says nothing of where a fact is kept.")


def _heads(found: HeadsResult) -> Finding:
    row, first = found.flips[-1], found.ranks[0]
    said = (
        "The head whose object × value term best tells true claims from false on one half of the "
        f"objects tells them on the other with AUC {_figure(found.best)} (over both halves "
        f"L{first.layer}.H{first.head} leads); giving the best {row.heads} heads the query of the "
        f"opposite claim flips {_percent(row.chosen)} of the verdicts, random heads at most "
        f"{_share(row.random_high)}"
    )
    if row.chosen.low > row.random_high:
        return Finding("heads", "yes", f"{said}: the heads' queries carry part of the verdict.")
    if row.chosen.high <= max(row.random_high, 0.1):
        return Finding("heads", "no", f"{said}: the verdict is not made by these queries.")
    return Finding("heads", "unclear", f"{said}, which leaves their part open.")


def _truth(found: TruthResult) -> Finding:
    best = found.best_role, found.best_layer
    rows = [row for row in found.rows if (row.role, row.layer) == best]
    other = [row for row in rows if row.fitted != row.read] or rows
    values = [row.auc.value for row in other]
    text = (
        f'One direction for "this claim is true", fitted on half of the objects in one form, reads '
        f"the other half in the other forms with AUC {_range(values)} "
        f"({'at the end' if best[0] == 'verdict' else 'at the value'}, behind layer {best[1]})"
    )
    if all(row.auc.low > HALF for row in other):
        return Finding("truth", "yes", f"{text}: truth is represented alike in all of them.")
    turned = [row for row in other if row.auc.high < HALF]
    if turned:
        where = sorted({f"{row.read} (from {row.fitted})" for row in turned})
        return Finding("truth", "no", f"{text}: it reads the wrong way round in {_listed(where)}.")
    below = sorted({row.read for row in other if not row.auc.low > HALF})
    if len(below) == len({row.read for row in other}):
        return Finding("truth", "no", f"{text}: no common direction was found.")
    return Finding("truth", "unclear", f"{text}, but not above chance in {_listed(below)}.")


def _controls(found: AblationResult) -> Finding:
    holds = all(one.shuffled.low <= 0 <= one.shuffled.high for one in found.index)
    late = next(one for one in found.index if one.part == "late")
    said = f"With shuffled labels D is {_figure(late.shuffled)} (late sets)"
    if holds:
        return Finding("controls", "yes", f"{said}, as it must be.")
    return Finding(
        "controls", "no", f"{said}; in some part 0 lies outside: do not trust these figures."
    )


def _above(figure: Interval, bound: float) -> Holds:
    """Whether an interval lies above a bound, below it, or on both sides."""
    if figure.low > bound:
        return "yes"
    return "no" if figure.high < bound else "unclear"


def _layers(early: int) -> str:
    return "layer 0" if early == 1 else f"layers 0-{early - 1}"


def _figure(figure: Interval) -> str:
    if np.isnan(figure.low):
        return f"{figure.value:.2f}"
    value, low, high = (f"{x:z.2f}" for x in (figure.value, figure.low, figure.high))
    return f"{value} [{low}, {high}]"


def _percent(figure: Interval) -> str:
    if np.isnan(figure.low):
        return _share(figure.value)
    return f"{_share(figure.value)} [{_share(figure.low)}, {_share(figure.high)}]"


def _share(value: float) -> str:
    """In per cent, without the sign of a zero."""
    return f"{value:z.0%}"


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return low if low == high else f"{low}-{high}"
