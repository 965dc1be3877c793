"""All tables of report.md, step by step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from circuit_tracer.experiments.dissociation.report import names
from circuit_tracer.experiments.dissociation.results import Behaviour, Inconsistent, Report
from circuit_tracer.experiments.dissociation.step_results import (
    CLAIM_ROLES,
    PARTS,
    ROUTES,
    SETS,
    AblationResult,
    FeatureSet,
    HeadsResult,
    Index,
    OverlapResult,
    RandomControl,
    StoreResult,
    SwapResult,
    TruthResult,
)
from circuit_tracer.experiments.kit.tables import Table, shares, signed
from circuit_tracer.graphs.bootstrap import UNKNOWN
from circuit_tracer.render.numbers import decimals, minus, whole_percent, with_interval

MOST_INCONSISTENT = 20
MOST_HEADS = 8
ABLATION = "4. Ablation of the sets"
STORES = "4b. Early stores by site"
HEADS = "5. Heads that test the claim against the object"
PLACES = [(part, name) for part in PARTS for name in SETS]
SWAP = "6. Another object's fact patched in"


def tables(report: Report) -> list[Table]:
    """All that have rows, in the order of the steps."""
    return measured(
        report,
        behaviour=_behaviour,
        overlap=_overlap,
        sets=_sets,
        ablation=_ablation,
        stores=_stores,
        heads=_heads,
        swap=_swap,
        truth=_truth,
    )


def measured(report: Report, **steps: Callable[..., Iterator[Table]]) -> list[Table]:
    """What is made of every step that was measured; tables without rows are left out."""
    found = {step: getattr(report, step) for step in steps}
    known = [step for step in steps if found[step] is not None]
    return [one for step in known for one in steps[step](report, found[step]) if one.rows]


def _control(one: RandomControl) -> str:
    """ "3 % (−4 to 14)": a control's median and its ends."""
    values = (one.random_median, one.random_low, one.random_high)
    middle, *ends = (f"{100 * x:z.0f}" for x in values)
    return "?" if math.isnan(values[0]) else minus(f"{middle} % ({ends[0]} to {ends[1]})")


def _sides(one: Index) -> tuple[str, ...]:
    """D, its sides and its control."""
    return signed(one.index, one.fact_side, one.judgement_side, one.shuffled)


def _behaviour(report: Report, found: Behaviour) -> Iterator[Table]:
    forms = {family.name: family for family in report.families}
    rows = []
    for one in found.families:
        family = forms[one.family]
        answered = shares(one.right, one.right_held_out, one.reversed)
        rows.append((one.family, family.route, family.example, *answered, *signed(one.contrast)))
    how = (
        "answered as the world is in every family"
        if found.keep == "right"
        else "of which the model itself affirms one value and denies the other, whichever it is"
    )
    share = whole_percent(found.kept / found.items) if found.items else "none"
    yield Table(
        "1. What the model answers",
        ("family", "route", "example", "right", "held out", "reversed", "lead (logits)"),
        tuple(rows),
        f"{found.kept} of {found.items} items are kept ({share}): those {how}. right: share of all "
        "items; reversed: affirms exactly the other value; lead: own over other value, right over "
        "wrong verdict, in the kept items.",
    )
    yield _inconsistent(found.inconsistent)


def _inconsistent(found: Sequence[Inconsistent]) -> Table:
    rows = []
    for one in found[:MOST_INCONSISTENT]:
        wrong = ", ".join(name for name, right in one.right.items() if not right)
        strengths = (one.fact_strength, one.judgement_strength)
        times = map(decimals, strengths)
        rows.append((one.item, one.value, one.other, wrong, *times, one.fails, one.weak))
    words = {
        "fact": "with a weak fact route",
        "judgement": "with a weak truth check",
        "neither": "with neither weak",
    }
    counts = {name: sum(one.weak == name for one in found) for name in words}
    more = f" The first {len(rows)} of them." if len(found) > len(rows) else ""
    return Table(
        "Inconsistent items",
        ("item", "value", "asked with", "wrong in", "fact route", "truth check", "fails", "weak"),
        tuple(rows),
        f"{len(found)} items know the value and judge the statement wrongly, or the reverse: "
        f"{', '.join(f'{counts[name]} {end}' for name, end in words.items())}. Routes: "
        "activation of their features, times that of the median consistent item; weak: below the "
        f"10th percentile of those.{more}",
    )


def _overlap(report: Report, found: OverlapResult) -> Iterator[Table]:
    rows = []
    for row in found.rows:
        name = f"{row.first} × {row.second}" if row.first else f"all: {names.KINDS[row.kind]}"
        p = "" if math.isnan(row.p) else f"{row.p:.3f}"
        rows.append((name, *shares(row.overlap, row.anywhere), p, str(row.pairs)))
    yield Table(
        "2. Overlap of the graphs",
        ("pairs", "same feature, same role", "at any token", "p", "pairs of graphs"),
        tuple(rows),
        f"Fact × judgement lies at {with_interval(found.place)} between floor (0) and ceiling (1). "
        "p: random labels of the same layer overlap as much so often (median of the pairs).",
    )


def _sets(report: Report, found: Sequence[FeatureSet]) -> Iterator[Table]:
    rows = []
    for one in sorted(found, key=lambda s: (s.part != "early", SETS.index(s.name), s.half)):
        leading = [f"L{m.layer}/{m.feature} {m.label}".strip() for m in one.members[:3]]
        counts = str(one.half + 1), str(len(one.members))
        carried = whole_percent(one.covers), whole_percent(one.random_influence)
        rows.append(
            (f"{names.SET_NAMES[one.name]}, {one.part}", *counts, *carried, "; ".join(leading))
        )
    yield Table(
        "3. Route sets",
        ("set", "half", "features", "carried over", "random", "strongest"),
        tuple(rows),
        "Chosen on one half of the objects by mean signed share of the graphs' influence, and "
        "tested on the other half. carried over: share of that half's own such influence that "
        "these features carry. random: influence of the matched random sets, as a share of this "
        "set's.",
    )


def _ablation(report: Report, found: AblationResult) -> Iterator[Table]:
    """What each answer loses, the index, and the same by family."""
    yield _cells(report, found)
    yield Table(
        ABLATION,
        ("part", "D", "by F", "by V", "labels shuffled", "random sets"),
        tuple(
            (names.part(report, one.part), *_sides(one), *signed(one.random)) for one in found.index
        ),
        "D = (fact lost − judgement lost, by F) + (judgement lost − fact lost, by V): 0 where both "
        "answers lose alike; two routes show where both parts lie above 0. Shuffled: "
        f"{found.n_permutations} permutations of the labels, whose middle 95 % must contain 0.",
    )
    families = tuple(dict.fromkeys(one.family for one in found.families))
    drops = {(one.part, one.set, one.family): one.drop for one in found.families}
    by_family = []
    for part, name in PLACES:
        here = [drops.get((part, name, family)) for family in families]
        if any(here):
            lost = shares(*(one or UNKNOWN for one in here))
            by_family.append((names.part(report, part), names.SET_NAMES[name], *lost))
    yield Table(ABLATION, ("part", "ablated", *families), tuple(by_family), "The same by family.")


def _cells(report: Report, found: AblationResult) -> Table:
    cells = {(cell.part, cell.set, cell.route): cell for cell in found.cells}
    rows = []
    for part, name in PLACES:
        here = [cells[part, name, route] for route in ROUTES if (part, name, route) in cells]
        if len(here) == len(ROUTES):
            drops = [words for cell in here for words in (*shares(cell.drop), _control(cell))]
            rows.append((names.part(report, part), names.SET_NAMES[name], *drops))
    return Table(
        ABLATION,
        ("part", "ablated", "fact lost", "random", "judgement lost", "random"),
        tuple(rows),
        "Share of the answer's lead that is lost, on objects that had no part in choosing. random: "
        f"median of {found.n_random} matched sets (smallest to largest).",
    )


def _stores(report: Report, found: StoreResult) -> Iterator[Table]:
    """What mean-ablating each early site at the object takes away, and the index."""
    rows = []
    for one in found.sites:
        chosen = (f"{count} of 2" for count in (one.chosen_as_fact, one.chosen_as_judgement))
        rows.append((names.site(one), *shares(one.fact, one.judgement), *chosen))
    yield Table(
        STORES,
        ("mean-ablated at the object", "fact lost", "judgement lost", "chosen as F", "as V"),
        tuple(rows),
        "What a module writes at the object's position replaced by its mean over other objects. "
        "Chosen: halves of the objects for which it was the site that the fact (F), or the "
        "judgement (V), loses most by beyond the other.",
    )
    yield Table(
        STORES,
        ("D", "by F", "by V", "labels shuffled"),
        (_sides(found),),
        "D as above, with the sites that the other half of the objects chose. Shuffled: "
        f"{found.n_permutations} permutations of the labels.",
    )


def _heads(report: Report, found: HeadsResult) -> Iterator[Table]:
    """The ranking of heads, and several edited together."""
    ranks = [
        (
            names.head(one),
            with_interval(one.auc),
            minus(f"{one.true_mean:+.2f} / {one.false_mean:+.2f}"),
            *shares(one.flips),
            f"{one.chosen} of 2",
        )
        for one in found.ranks[:MOST_HEADS]
    ]
    yield Table(
        HEADS,
        ("head", "AUC", "term, true / false", "flips alone", "chosen"),
        tuple(ranks),
        "AUC: how well the head's object × value term tells true from false claims on held-out "
        "objects, below 0.5 where the halves disagree on its sign; the first in the list are the "
        "best of all heads, which flatters their AUC. flips: verdicts that turn when its query is "
        "that of the opposite claim. chosen: halves of the objects in which it was edited below.",
    )
    flips = [
        (
            str(one.heads),
            *shares(one.chosen),
            _control(one),
            *shares(one.moved),
        )
        for one in found.flips
    ]
    yield Table(HEADS, ("heads together", "flips", "random heads", "lead lost"), tuple(flips))


def _swap(report: Report, found: SwapResult) -> Iterator[Table]:
    """Which answers follow, and what is affirmed."""
    follows = {(row.layers, row.how, names.family(row)): row.follows for row in found.rows}
    families = list(dict.fromkeys(names.family(row) for row in found.rows))
    rows = []
    for layers, how in dict.fromkeys((row.layers, row.how) for row in found.rows):
        if not layers.isdigit() or how == "everything":
            here = (follows.get((layers, how, family), UNKNOWN) for family in families)
            rows.append((names.layers(report, layers), names.HOWS[how], *shares(*here)))
    yield Table(
        SWAP,
        ("layers", "patched", *families),
        tuple(rows),
        f"Share of {found.pairs} items, each with a donor of another value, whose answer follows: "
        "the donor's value is affirmed and the own denied (truth checks), or preferred to it.",
    )
    affirmed = [
        (
            names.family(row),
            *shares(row.own_affirmed, row.donor_affirmed),
            whole_percent(row.before),
        )
        for row in found.early
    ]
    yield Table(
        SWAP,
        ("family", "own value affirmed", "donor's value affirmed", "followed before"),
        tuple(affirmed),
        "With all that the early layers write patched in; before: with nothing patched.",
    )


def _truth(report: Report, found: TruthResult) -> Iterator[Table]:
    """AUC after the best layer, fitted in by read in."""
    here = [row for row in found.rows if row.layer == found.best_layer]
    at = {(row.role, row.fitted, row.read): row.auc for row in here}
    forms = tuple(dict.fromkeys(row.read for row in found.rows))
    rows = [
        (role, fitted, *(with_interval(at.get((role, fitted, read), UNKNOWN)) for read in forms))
        for role in CLAIM_ROLES
        for fitted in dict.fromkeys(row.fitted for row in here if row.role == role)
    ]
    yield Table(
        "7. A direction for truth",
        ("at the", "fitted in", *forms),
        tuple(rows),
        f"AUC after {names.layer(found.best_layer)}. Rows: where and in which form the direction "
        "was fitted, on one half of the objects; columns: the form it was read in, on the other; "
        "labels are the world's truth.",
    )
