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
  0; the contrary where no side is. The permutations of the labels must have 0 in their middle, but
  D need not lie above them: there are few modules, so that some permutations choose as the labels
  do.
* early features and read-outs: the double dissociation of early and late sets. Shown where both
  sides of D (dC|F - dQ|F and dQ|V - dC|V) are at least 0.05 with intervals above 0, and D lies
  above the permutations of the labels; the contrary where neither side does; else lopsided, which
  is open.
* overlap: place of the two routes' graphs between floor and ceiling. It never decides: one recall
  read out in two ways overlaps as little as two stores.
* heads: shown where swapping the queries of the best heads flips more verdicts, interval and all,
  than any random set of as many heads.
* truth: shown where a direction fitted in one form reads held-out objects in every other form
  above chance, interval and all, where forms read themselves best (position and layer); the
  contrary where it reads any of them reversed, below chance, or none above it.
* controls: D with shuffled labels must have 0 in its interval, in every part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from circuit_tracer.experiments.dissociation.results import (
    AblationResult,
    Behaviour,
    Dissociation,
    Finding,
    HeadsResult,
    Holds,
    How,
    OverlapResult,
    Part,
    StoreResult,
    SwapResult,
    SwapRow,
    TruthResult,
    Verdict,
)
from circuit_tracer.graphs.bootstrap import Interval
from circuit_tracer.render.numbers import minus, whole_percent, with_interval

HALF = 0.5
LEAST = 0.05
"""Smaller differences of drops are no dissociation, however sure."""
MOST_NAMED = 5
EQUAL = "two stores of equal content at that place would look the same"
RECALL: dict[Holds, str] = {
    "yes": "one place of recall",
    "no": "two stores",
    "unclear": "where the fact is kept is open",
}
READ: dict[Holds, str] = {
    "yes": "two read-outs",
    "no": "no separate read-outs",
    "unclear": "read-outs apart on one side at most",
}
CARRIERS: dict[How, str] = {
    "attention": "attention's part",
    "mlp": "the MLPs' part",
    "features": "the dictionary's features",
}
_Rule = tuple[bool, Holds, str]
"""A condition, what holds under it, and the end of the sentence."""


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
        findings.append(_dissociated(found.ablation, "early", "early features"))
        findings.append(_dissociated(found.ablation, "late", "read-outs"))
    if found.overlap is not None:
        findings.append(_overlap(found.overlap))
    if found.heads is not None and found.heads.flips:
        findings.append(_heads(found.heads))
    if found.truth is not None:
        findings.append(_truth(found.truth))
    if found.ablation is not None:
        findings.append(_controls(found.ablation))
    paragraph = " ".join(one.sentence for one in findings)
    return Verdict(_headline(findings), paragraph, tuple(findings))


def _headline(findings: Sequence[Finding]) -> str:
    holds = {one.name: one.holds for one in findings}
    parts = [RECALL[holds["swap"]]] if "swap" in holds else []
    parts += [READ[holds["read-outs"]]] if "read-outs" in holds else []
    if holds.get("controls") == "no":
        parts.append("and the control with shuffled labels failed")
    return ", ".join(parts) or "too few items to tell"


def _finding(name: str, said: str, *rules: _Rule) -> Finding:
    """By the first rule whose condition is met."""
    holds, end = next((holds, end) for is_met, holds, end in rules if is_met)
    return Finding(name, holds, said + end)


def _behaviour(found: Measured) -> Finding:
    of = found.behaviour
    what = "answers rightly" if of.keep == "right" else "affirms one value and not the other of"
    text = f"{found.model} {what} {of.kept} of {of.items} objects in every form"
    text += "." if found.swap is None else "; all that follows is about these."
    reversed_ = [one.family for one in of.families if one.reversed.value > HALF]
    if reversed_:
        text += f" In {' and '.join(reversed_)} it affirms another value than it completes."
    if of.inconsistent:
        names = [f"{one.item} ({one.fails} wrong)" for one in of.inconsistent]
        text += f" Completed and judged inconsistently: {_listed(names)}."
    share = of.kept / of.items if of.items else 0.0
    return Finding("behaviour", "yes" if share > HALF else "no", text)


def _swap(found: Measured, swap: SwapResult) -> Finding:
    """Patches of all that the early layers write, asked with what is completed."""
    whole = [row for row in swap.rows if (row.layers, row.how) == ("early", "everything")]
    completion = _first(whole, found.fact)
    judged = _first(whole, "claims") or next(
        (row for row in whole if row.family != found.fact), None
    )
    if completion is None or judged is None:
        return Finding("swap", "unclear", "The swap of recalled facts could not be measured.")
    last = found.early_layers - 1
    completes, judges = _above(completion.follows, HALF), _above(judged.follows, HALF)
    said = (
        f"With what {f'layers 0-{last}' if last else 'layer 0'} write at another object's place "
        f"put in, the completion follows in {_percent(completion.follows)} and the judgement in "
        f"{_percent(judged.follows)} of {swap.pairs} objects"
    )
    said += f" ({_carriers(swap.rows, found.fact)})" if completes == "yes" else ""
    shared = f": both draw on what is recalled there ({EQUAL})."
    apart = f": the judgement does not draw on the fact that is completed{_own_store(whole)}."
    other_word = "; each names the object in its own word, so this shows no shared recall."
    return _finding(
        "swap",
        said,
        (not found.same_word, "unclear", other_word),
        ((completes, judges) == ("yes", "yes"), "yes", shared),
        ((completes, judges) == ("yes", "no"), "no", apart),
        (True, "unclear", ", which leaves open where the fact is kept."),
    )


def _first(rows: Sequence[SwapRow], family: str) -> SwapRow | None:
    """A family's row; of all claims together the one asked with what is completed."""
    of = (row for row in rows if row.family == family)
    return next((row for row in of if row.names == "completed" or family != "claims"), None)


def _own_store(whole: Sequence[SwapRow]) -> str:
    """Whether the judgement follows what the donor is itself judged to be, where that differs."""
    rows = [row for row in whole if (row.family, row.names) == ("claims", "affirmed")]
    if not rows:
        return ""
    return f" (it follows what the donor is judged to be in {_percent(rows[0].follows)})"


def _carriers(rows: Sequence[SwapRow], fact: str) -> str:
    """What part of what the early layers write the completion follows."""
    alone = []
    for how, name in CARRIERS.items():
        row = _first([row for row in rows if (row.layers, row.how) == ("early", how)], fact)
        alone += [] if row is None else [f"{name} {_share(row.follows.value)}"]
    return "of the completion, alone: " + ", ".join(alone)


def _sides(one: Dissociation | StoreResult) -> list[bool]:
    """Whether the fact's and the judgement's side of D are shown."""
    return [side.low > 0 and side.value >= LEAST for side in (one.fact_side, one.judgement_side)]


def _stores(found: StoreResult) -> Finding:
    sides, index = _sides(found), found.index
    said = (
        "Mean-ablating what one early module writes at the object, the module chosen on the other "
        f"half: D = {with_interval(index)} (fact's side {with_interval(found.fact_side)}, "
        f"judgement's {with_interval(found.judgement_side)}; shuffled labels "
        f"{with_interval(found.shuffled)})"
    )
    which = "stores apart" if all(sides) else "one route has a store of its own"
    return _finding(
        "stores",
        said,
        (any(sides) and index.value >= LEAST and index.low > 0, "yes", f": {which}."),
        (not any(sides), "no", ": no module serves one route alone."),
        (True, "unclear", ": one side lies above 0, D does not."),
    )


def _dissociated(found: AblationResult, part: Part, name: str) -> Finding:
    one = next(one for one in found.index if one.part == part)
    sides = _sides(one)
    kind = "Early feature sets" if part == "early" else "Late feature sets (read-outs)"
    figures = f": D = {with_interval(one.index)}, {_drops(found, one)}."
    only = "the fact's" if sides[0] else "the judgement's"
    return _finding(
        name,
        kind,
        (not any(sides), "no", f" are not dissociated{figures}"),
        (not all(sides), "unclear", f" are lopsided, only {only} own set hurts it more{figures}"),
        (one.index.low > one.shuffled.high, "yes", f" are doubly dissociated{figures}"),
        (True, "unclear", f" differ no more than with shuffled labels{figures}"),
    )


def _drops(found: AblationResult, one: Dissociation) -> str:
    drop = {
        (cell.set, cell.route): _share(cell.drop.value)
        for cell in found.cells
        if cell.part == one.part
    }
    return (
        f"the fact's set lowers facts by {drop['F', 'fact']} and judgements by "
        f"{drop['F', 'judgement']}, the judgement's set judgements by {drop['V', 'judgement']} "
        f"and facts by {drop['V', 'fact']}"
    )


def _overlap(found: OverlapResult) -> Finding:
    rows = {row.kind: row.overlap for row in found.rows if not row.first}
    if "fact x judgement" not in rows:
        return Finding("overlap", "unclear", "No graphs were compared.")
    between = with_interval(rows["fact x judgement"])
    text = f"The graphs of fact and judgement share {between} of their influence"
    if "ceiling" in rows and "floor" in rows:
        text += (
            f" (paraphrases {rows['ceiling'].value:.2f}, unrelated prompts "
            f"{rows['floor'].value:.2f})"
        )
    end = ", which alone says nothing of where a fact is kept."
    return Finding("overlap", _above(found.place, HALF), text + end)


def _heads(found: HeadsResult) -> Finding:
    row, first = found.flips[-1], found.ranks[0]
    said = (
        "The head whose object × value term best tells true claims from false on one half of the "
        f"objects tells them on the other with AUC {with_interval(found.best)} (over both halves "
        f"L{first.layer}.H{first.head} leads); giving the best {row.heads} heads the query of the "
        f"opposite claim flips {_percent(row.chosen)} of the verdicts, random heads at most "
        f"{_share(row.random_high)}"
    )
    lost = row.chosen.high <= max(row.random_high, 0.1)
    return _finding(
        "heads",
        said,
        (
            row.chosen.low > row.random_high,
            "yes",
            ": the heads' queries carry part of the verdict.",
        ),
        (lost, "no", ": the verdict is not made by these queries."),
        (True, "unclear", ", which leaves their part open."),
    )


def _truth(found: TruthResult) -> Finding:
    best = found.best_role, found.best_layer
    rows = [row for row in found.rows if (row.role, row.layer) == best]
    other = [row for row in rows if row.fitted != row.read] or rows
    low, high = (f"{end(row.auc.value for row in other):.2f}" for end in (min, max))
    said = (
        'One direction for "this claim is true", fitted on half of the objects in one form, reads '
        f"the other half in the other forms with AUC {low if low == high else f'{low}-{high}'} "
        f"({'at the end' if best[0] == 'verdict' else 'at the value'}, after layer {best[1]})"
    )
    reversed_ = sorted({f"{r.read} (from {r.fitted})" for r in other if r.auc.high < HALF})
    below = sorted({row.read for row in other if not row.auc.low > HALF})
    nowhere = len(below) == len({row.read for row in other})
    return _finding(
        "truth",
        said,
        (not below, "yes", ": truth is represented alike in all of them."),
        (bool(reversed_), "no", f": it is reversed in {_listed(reversed_)}."),
        (nowhere, "no", ": no common direction was found."),
        (True, "unclear", f", but not above chance in {_listed(below)}."),
    )


def _controls(found: AblationResult) -> Finding:
    late = next(one for one in found.index if one.part == "late")
    return _finding(
        "controls",
        f"With shuffled labels D is {with_interval(late.shuffled)} (late sets)",
        (
            all(one.shuffled.low <= 0 <= one.shuffled.high for one in found.index),
            "yes",
            ", as it must be.",
        ),
        (True, "no", "; in some part 0 lies outside: do not trust these figures."),
    )


def _above(figure: Interval, bound: float) -> Holds:
    """Whether an interval lies above a bound, below it, or on both sides."""
    if figure.low > bound:
        return "yes"
    return "no" if figure.high < bound else "unclear"


def _listed(names: Sequence[str]) -> str:
    """The first of them, and how many more."""
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _percent(figure: Interval) -> str:
    return with_interval(figure, percent=True)


def _share(value: float) -> str:
    """In per cent, without the sign of a zero."""
    return minus(whole_percent(value))
