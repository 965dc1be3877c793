"""The tables of steps 4 to 7: ablations, heads, swaps, truth direction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from circuit_tracer.experiments.dissociation.report.ablation import (
    PARTS,
    ROUTES,
    SET_NAMES,
    part_name,
)
from circuit_tracer.experiments.dissociation.report.heads import head_name
from circuit_tracer.experiments.dissociation.report.markdown_table import Table
from circuit_tracer.experiments.dissociation.report.plot import UNKNOWN, shown
from circuit_tracer.experiments.dissociation.report.swap import HOWS, family_name, layers_name
from circuit_tracer.experiments.dissociation.results import (
    AblationResult,
    Cell,
    Report,
    SiteDrop,
    TruthResult,
)

MOST_HEADS = 8
ABLATION = "4. Ablation of the sets"
STORES = "4b. Early stores by site"


def ablation_tables(report: Report) -> Iterator[Table]:
    """What each answer loses, the index, and the same by family."""
    found = report.ablation
    if found is None:
        return
    cells = {(cell.part, cell.set, cell.route): cell for cell in found.cells}
    rows = []
    for part in PARTS:
        for name in SET_NAMES:
            fact, judgement = (cells.get((part, name, route)) for route in ROUTES)
            if fact is not None and judgement is not None:
                head = (part_name(report, part), SET_NAMES[name])
                rows.append((*head, *_drop(fact), *_drop(judgement)))
    yield Table(
        ABLATION,
        ("part", "ablated", "fact lost", "random", "judgement lost", "random"),
        tuple(rows),
        "Share of the answer's lead that is lost, on objects that had no part in choosing. random: "
        f"median of {found.n_random} matched sets (smallest to largest).",
    )
    yield _index(report, found)
    yield _by_family(report, found)


def _index(report: Report, found: AblationResult) -> Table:
    rows = [
        (
            part_name(report, one.part),
            shown(one.index, sign=True),
            shown(one.fact_side, sign=True),
            shown(one.judgement_side, sign=True),
            shown(one.shuffled, sign=True),
            shown(one.random, sign=True),
        )
        for one in found.index
    ]
    return Table(
        ABLATION,
        ("part", "D", "by F", "by V", "labels shuffled", "random sets"),
        tuple(rows),
        "D = (fact lost − judgement lost, by F) + (judgement lost − fact lost, by V): 0 where both "
        "answers lose alike; two routes show where both parts lie above 0. Shuffled: "
        f"{found.n_deals} deals, whose middle 95 % must contain 0.",
    )


def _by_family(report: Report, found: AblationResult) -> Table:
    families = tuple(dict.fromkeys(one.family for one in found.families))
    drops = {(one.part, one.set, one.family): one.drop for one in found.families}
    rows = [
        (
            part_name(report, part),
            SET_NAMES[name],
            *(shown(drops.get((part, name, family), UNKNOWN), percent=True) for family in families),
        )
        for part in PARTS
        for name in SET_NAMES
        if any((part, name, family) in drops for family in families)
    ]
    return Table(ABLATION, ("part", "ablated", *families), tuple(rows), "The same by family.")


def _drop(cell: Cell) -> tuple[str, str]:
    percents = [f"{100 * x:z.0f}" for x in (cell.random_median, cell.random_low, cell.random_high)]
    known = cell.random_median == cell.random_median
    words = f"{percents[0]} % ({percents[1]} to {percents[2]})" if known else "?"
    return shown(cell.drop, percent=True), words.replace("-", "−")


def site_name(one: SiteDrop) -> str:
    """ "L0 attention"."""
    return f"L{one.layer} {'attention' if one.module == 'attention' else 'MLP'}"


def store_tables(report: Report) -> Iterator[Table]:
    """What evening out each early site at the object takes away, and the index."""
    found = report.stores
    if found is None:
        return
    rows = [
        (
            site_name(one),
            shown(one.fact, percent=True),
            shown(one.judgement, percent=True),
            f"{one.chosen_as_fact} of 2",
            f"{one.chosen_as_judgement} of 2",
        )
        for one in found.sites
    ]
    yield Table(
        STORES,
        ("evened out at the object", "fact lost", "judgement lost", "chosen as F", "as V"),
        tuple(rows),
        "What a module writes at the object's position replaced by its mean over other objects. "
        "Chosen: halves of the objects for which it was the site that the fact (F), or the "
        "judgement (V), loses most by beyond the other.",
    )
    yield Table(
        STORES,
        ("D", "by F", "by V", "labels shuffled"),
        (
            tuple(
                shown(one, sign=True)
                for one in (
                    found.index,
                    found.fact_side,
                    found.judgement_side,
                    found.shuffled,
                )
            ),
        ),
        "D as above, with the sites that the other half of the objects chose. Shuffled: "
        f"{found.n_deals} deals.",
    )


def heads_tables(report: Report) -> Iterator[Table]:
    """The ranking of heads, and several edited together."""
    found = report.heads
    if found is None:
        return
    step = "5. Heads that test the claim against the object"
    ranks = [
        (
            head_name(one),
            shown(one.auc),
            f"{one.true_mean:+.2f} / {one.false_mean:+.2f}".replace("-", "−"),
            shown(one.flips, percent=True),
            f"{one.chosen} of 2",
        )
        for one in found.ranks[:MOST_HEADS]
    ]
    yield Table(
        step,
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
            shown(one.chosen, percent=True),
            f"{100 * one.random_median:.0f} % ({100 * one.random_low:.0f} to "
            f"{100 * one.random_high:.0f})",
            shown(one.moved, percent=True),
        )
        for one in found.flips
    ]
    yield Table(step, ("heads together", "flips", "random heads", "lead lost"), tuple(flips))


def swap_tables(report: Report) -> Iterator[Table]:
    """Which answers follow, and what is affirmed."""
    found = report.swap
    if found is None:
        return
    step = "6. Another object's fact patched in"
    shares = {(row.layers, row.how, family_name(row)): row for row in found.rows}
    families = list(dict.fromkeys(family_name(row) for row in found.rows))
    patches = list(dict.fromkeys((row.layers, row.how) for row in found.rows))
    rows = []
    for layers, how in patches:
        here = [shares.get((layers, how, family)) for family in families]
        if not layers.isdigit() or how == "everything":
            cells = [shown(one.follows if one else UNKNOWN, percent=True) for one in here]
            rows.append((layers_name(report, layers), HOWS[how], *cells))
    yield Table(
        step,
        ("layers", "patched", *families),
        tuple(rows),
        f"Share of {found.pairs} items, each with a donor of another value, whose answer follows: "
        "the donor's value is affirmed and the own denied (truth checks), or preferred to it.",
    )
    whole = [row for row in found.rows if (row.layers, row.how) == ("early", "everything")]
    affirmed = [
        (
            family_name(row),
            shown(row.own_affirmed, percent=True),
            shown(row.donor_affirmed, percent=True),
            f"{100 * row.before:.0f} %",
        )
        for row in whole
    ]
    yield Table(
        step,
        ("family", "own value affirmed", "donor's value affirmed", "followed before"),
        tuple(affirmed),
        "With all that the early layers write patched in; before: with nothing patched.",
    )


def truth_tables(report: Report) -> Iterator[Table]:
    """AUC, fitted in by read in."""
    if report.truth is None or not report.truth.rows:
        return
    yield Table(
        "7. A direction for truth",
        *_truth_matrix(report.truth, ("value", "verdict")),
        f"AUC behind {_behind(report.truth.best_layer)}. Rows: where and in which form the "
        "direction was fitted, on one half of the objects; columns: the form it was read in, on "
        "the other; labels are the world's truth.",
    )


def _truth_matrix(
    found: TruthResult, roles: Sequence[Literal["value", "verdict"]]
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Columns and rows: behind the best layer, fitted in by read in."""
    forms = tuple(dict.fromkeys(row.read for row in found.rows))
    at = {
        (row.role, row.fitted, row.read): row.auc
        for row in found.rows
        if row.layer == found.best_layer
    }
    rows = [
        (role, fitted, *(shown(at.get((role, fitted, read), UNKNOWN)) for read in forms))
        for role in roles
        for fitted in dict.fromkeys(row.fitted for row in found.rows)
        if any((role, fitted, read) in at for read in forms)
    ]
    return ("at the", "fitted in", *forms), tuple(rows)


def _behind(layer: int) -> str:
    return "the embedding" if layer < 0 else f"L{layer}"
