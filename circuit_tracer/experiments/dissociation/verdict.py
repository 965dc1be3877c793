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

from circuit_tracer.experiments.dissociation.results import Behaviour, Report, Verdict
from circuit_tracer.experiments.dissociation.step_results import (
    CLAIMS,
    AblationResult,
    HeadsResult,
    How,
    Index,
    OverlapResult,
    Part,
    StoreResult,
    SwapResult,
    SwapRow,
    TruthResult,
)
from circuit_tracer.experiments.kit.results import Finding, Holds
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


def judge(report: Report, *, same_word: bool) -> Verdict:
    """The verdict: a headline, a paragraph, and each finding with its sentence.

    `same_word`: whether both routes name the object in the same word.
    """
    findings = [_behaviour(report, report.behaviour)]
    if report.swap is not None:
        findings.append(_swap(report, report.swap, same_word))
    if report.stores is not None:
        findings.append(_stores(report.stores))
    if report.ablation is not None:
        findings.append(_dissociated(report.ablation, "early", "early features"))
        findings.append(_dissociated(report.ablation, "late", "read-outs"))
    if report.overlap is not None:
        findings.append(_overlap(report.overlap))
    if report.heads is not None and report.heads.flips:
        findings.append(_heads(report.heads))
    if report.truth is not None:
        findings.append(_truth(report.truth))
    if report.ablation is not None:
        findings.append(_controls(report.ablation))
    paragraph = " ".join(one.sentence for one in findings)
    return Verdict(_headline(findings), tuple(findings), paragraph)


def _headline(findings: Sequence[Finding]) -> str:
    holds = {one.name: one.holds for one in findings}
    parts = [RECALL[holds["swap"]]] if "swap" in holds else []
    parts += [READ[holds["read-outs"]]] if "read-outs" in holds else []
    if holds.get("controls") == "no":
        parts.append("and the control with shuffled labels failed")
    return ", ".join(parts) or "too few items to tell"


def _finding(name: str, start: str, *rules: _Rule) -> Finding:
    """By the first rule whose condition is met."""
    holds, end = next((holds, end) for is_met, holds, end in rules if is_met)
    return Finding(name, holds, start + end)


def _behaviour(report: Report, of: Behaviour) -> Finding:
    what = "answers rightly" if of.keep == "right" else "affirms one value and not the other of"
    text = f"{report.model.name} {what} {of.kept} of {of.items} objects in every form"
    text += "." if report.swap is None else "; all that follows is about these."
    reversed_ = [one.family for one in of.families if one.reversed.value > HALF]
    if reversed_:
        text += f" In {' and '.join(reversed_)} it affirms another value than it completes."
    if of.inconsistent:
        names = [f"{one.item} ({one.fails} wrong)" for one in of.inconsistent]
        text += f" Completed and judged inconsistently: {_listed(names)}."
    share = of.kept / of.items if of.items else 0.0
    return Finding("behaviour", "yes" if share > HALF else "no", text)


def _swap(report: Report, swap: SwapResult, same_word: bool) -> Finding:
    """Patches of all that the early layers write, asked with what is completed."""
    facts = [one for one in report.families if one.route == "fact" and one.paraphrase_of is None]
    fact = facts[0].name
    completion = _first(swap.early, fact)
    judged = _first(swap.early, CLAIMS) or next(
        (row for row in swap.early if row.family != fact), None
    )
    if completion is None or judged is None:
        return Finding("swap", "unclear", "The swap of recalled facts could not be measured.")
    last = report.early_layers - 1
    completes, judges = _above(completion.follows, HALF), _above(judged.follows, HALF)
    start = (
        f"With what {f'layers 0-{last}' if last else 'layer 0'} write at another object's place "
        f"put in, the completion follows in {_percent(completion.follows)} and the judgement in "
        f"{_percent(judged.follows)} of {swap.pairs} objects"
    )
    start += f" ({_carriers(swap, fact)})" if completes == "yes" else ""
    shared = f": both draw on what is recalled there ({EQUAL})."
    apart = f": the judgement does not draw on the fact that is completed{_own_store(swap)}."
    other_word = "; each names the object in its own word, so this shows no shared recall."
    return _finding(
        "swap",
        start,
        (not same_word, "unclear", other_word),
        ((completes, judges) == ("yes", "yes"), "yes", shared),
        ((completes, judges) == ("yes", "no"), "no", apart),
        (True, "unclear", ", which leaves open where the fact is kept."),
    )


def _first(rows: Sequence[SwapRow], family: str) -> SwapRow | None:
    """A family's row; of all claims together the one asked with what is completed."""
    of = (row for row in rows if row.family == family)
    return next((row for row in of if row.names == "completed" or family != CLAIMS), None)


def _own_store(swap: SwapResult) -> str:
    """Whether the judgement follows what the donor is itself judged to be, where that differs."""
    rows = [row for row in swap.early if (row.family, row.names) == (CLAIMS, "affirmed")]
    if not rows:
        return ""
    return f" (it follows what the donor is judged to be in {_percent(rows[0].follows)})"


def _carriers(swap: SwapResult, fact: str) -> str:
    """What part of what the early layers write the completion follows."""
    rows = [row for row in swap.rows if row.layers == "early"]
    found = {how: _first([row for row in rows if row.how == how], fact) for how in CARRIERS}
    alone = [f"{CARRIERS[how]} {_share(row.follows.value)}" for how, row in found.items() if row]
    return "of the completion, alone: " + ", ".join(alone)


def _sides(one: Index) -> list[bool]:
    """Whether the fact's and the judgement's side of D are shown."""
    return [side.low > 0 and side.value >= LEAST for side in (one.fact_side, one.judgement_side)]


def _stores(found: StoreResult) -> Finding:
    sides, index = _sides(found), found.index
    start = (
        "Mean-ablating what one early module writes at the object, the module chosen on the other "
        f"half: D = {with_interval(index)} (fact's side {with_interval(found.fact_side)}, "
        f"judgement's {with_interval(found.judgement_side)}; shuffled labels "
        f"{with_interval(found.shuffled)})"
    )
    which = "stores apart" if all(sides) else "one route has a store of its own"
    return _finding(
        "stores",
        start,
        (any(sides) and index.value >= LEAST and index.low > 0, "yes", f": {which}."),
        (not any(sides), "no", ": no module serves one route alone."),
        (True, "unclear", ": one side lies above 0, D does not."),
    )


def _dissociated(found: AblationResult, part: Part, name: str) -> Finding:
    one = found.by_part[part]
    sides = _sides(one)
    kind = "Early feature sets" if part == "early" else "Late feature sets (read-outs)"
    figures = f": D = {with_interval(one.index)}, {_drops(found, part)}."
    only = "the fact's" if sides[0] else "the judgement's"
    return _finding(
        name,
        kind,
        (not any(sides), "no", f" are not dissociated{figures}"),
        (not all(sides), "unclear", f" are lopsided, only {only} own set hurts it more{figures}"),
        (one.index.low > one.shuffled.high, "yes", f" are doubly dissociated{figures}"),
        (True, "unclear", f" differ no more than with shuffled labels{figures}"),
    )


def _drops(found: AblationResult, part: Part) -> str:
    drop = {
        (name, route): _share(lost.value)
        for (of, name, route), lost in found.drops.items()
        if of == part
    }
    return (
        f"the fact's set lowers facts by {drop['F', 'fact']} and judgements by "
        f"{drop['F', 'judgement']}, the judgement's set judgements by {drop['V', 'judgement']} "
        f"and facts by {drop['V', 'fact']}"
    )


def _overlap(found: OverlapResult) -> Finding:
    rows = {kind: row.overlap for kind, row in found.pooled.items()}
    if "fact x judgement" not in rows:
        return Finding("overlap", "unclear", "No graphs were compared.")
    text = (
        f"The graphs of fact and judgement share {with_interval(rows['fact x judgement'])} of "
        "their influence"
    )
    if "ceiling" in rows and "floor" in rows:
        text += (
            f" (paraphrases {rows['ceiling'].value:.2f}, unrelated prompts "
            f"{rows['floor'].value:.2f})"
        )
    end = ", which alone says nothing of where a fact is kept."
    return Finding("overlap", _above(found.place, HALF), text + end)


def _heads(found: HeadsResult) -> Finding:
    row, first = found.flips[-1], found.ranks[0]
    start = (
        "The head whose object × value term best tells true claims from false on one half of the "
        f"objects tells them on the other with AUC {with_interval(found.best)} (over both halves "
        f"L{first.layer}.H{first.head} leads); giving the best {row.heads} heads the query of the "
        f"opposite claim flips {_percent(row.chosen)} of the verdicts, random heads at most "
        f"{_share(row.random_high)}"
    )
    lost = row.chosen.high <= max(row.random_high, 0.1)
    return _finding(
        "heads",
        start,
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
    start = (
        'One direction for "this claim is true", fitted on half of the objects in one form, reads '
        f"the other half in the other forms with AUC {low if low == high else f'{low}-{high}'} "
        f"({'at the end' if best[0] == 'verdict' else 'at the value'}, after layer {best[1]})"
    )
    reversed_ = sorted({f"{r.read} (from {r.fitted})" for r in other if r.auc.high < HALF})
    below = sorted({row.read for row in other if not row.auc.low > HALF})
    nowhere = len(below) == len({row.read for row in other})
    return _finding(
        "truth",
        start,
        (not below, "yes", ": truth is represented alike in all of them."),
        (bool(reversed_), "no", f": it is reversed in {_listed(reversed_)}."),
        (nowhere, "no", ": no common direction was found."),
        (True, "unclear", f", but not above chance in {_listed(below)}."),
    )


def _controls(found: AblationResult) -> Finding:
    late = found.by_part["late"]
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
