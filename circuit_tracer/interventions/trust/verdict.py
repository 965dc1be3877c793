"""What follows from the measurements, by rules that are written down (README, "Trust").

Every part is good, bad or between. A graph whose sums or direct edges are wrong is *broken*. With
any bad part it is *doubtful*, with all good *sound*, otherwise to be read with *care*.

| part | good | bad |
|---|---|---|
| replacement (where there are errors) | >= 0.8 | < 0.5 |
| hidden influence (unexpanded + dropped) | <= 0.1 | > 0.5 |
| knock-on Spearman, attention and norms held | >= 0.72 | < 0.5 |
| sufficiency of the kept graph, nothing held | >= 0.8 and above all random sets | < 0.5, or not \
above the random median |
| knock-on Spearman, nothing held | >= 0.5 | never |
| gates (neurons), Spearman of an ablation's direct effects with the edges | never | < 0.8 |

Not part of the grade, but said: constants (>= 0.3), tokens of which errors start 0.3 or more, and
dictionaries that disagree (token overlap < 0.7).
A layer's routes are believed where its features' knock-on Spearman (of at least 20 pairs) reaches
0.72 and errors are at most 0.2 of what goes into it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from circuit_tracer.graphs.influence import Scores

if TYPE_CHECKING:
    from circuit_tracer.interventions.trust.report import Measurements

Level = Literal["sound", "care", "doubtful", "broken"]
Mark = Literal["+", "~", "-"]
"""Speaks for the graph; to be kept in mind; speaks against it."""

KNOCK_ON = (0.72, 0.5)
SUFFICIENT = (0.8, 0.5)
REPLACED = (0.8, 0.5)
HIDDEN = (0.1, 0.5)
"""Good from, bad below (or beyond)."""
FREE = 0.5
GATES = 0.8
LEAST_PAIRS = 20
MANY_CONSTANTS = 0.3
TOKEN_ERRORS = 0.3
LAYER_ERRORS = 0.2
TOKEN_MATTERS = 0.05
MOST_TOKENS = 3
DISAGREE = 0.7


@dataclass(frozen=True)
class Reason:
    """One finding in words."""

    mark: Mark
    text: str


@dataclass(frozen=True)
class Verdict:
    """Whether to believe the graph, and why."""

    level: Level
    headline: str
    reasons: tuple[Reason, ...]


def judge(found: Measurements) -> Verdict:
    """Apply the rules."""
    broken = tuple(_broken(found))
    if broken:
        return Verdict(
            "broken", "Do not believe this graph: it is not what the model computes.", broken
        )
    graded = tuple(_graded(found))
    marks = {reason.mark for reason in graded}
    level: Level = "doubtful" if "-" in marks else "care" if "~" in marks else "sound"
    return Verdict(level, _headline(level, found, graded), (*graded, *_remarks(found)))


def _broken(found: Measurements) -> Iterator[Reason]:
    sums, direct = found.conservation, found.direct
    if not sums.holds:
        yield Reason(
            "-",
            f"Edges and constant miss the value of {sums.worst} by a share of "
            f"{sums.residual:.2g} (allowed: {sums.tolerance:.0e}); an edge or a constant is wrong.",
        )
    if direct is not None and not direct.holds:
        yield Reason(
            "-",
            f"With attention, norms and MLPs held, the edge {direct.worst} is off by a share of "
            f"{direct.error:.2g} (allowed: {direct.tolerance:.0e}); the graph is of other weights, "
            "or of something that was not frozen.",
        )


def _headline(level: Level, found: Measurements, graded: tuple[Reason, ...]) -> str:
    where = _believed(found)
    if level == "sound":
        return f"Believe the routes{where}; they hold up when they are cut."
    if level == "doubtful":
        return "Do not rely on this graph: read the reasons first."
    doubts = [reason for reason in graded if reason.mark == "~"]
    if len(doubts) == 1 and not _foretells(found):
        return (
            f"Believe the routes{where} as an account of this pass, not as a forecast of "
            "interventions."
        )
    return f"Believe the routes{where} with care: the reasons say why."


def _foretells(found: Measurements) -> bool:
    """Whether knock-on effects are foretold with nothing held, as far as that is known."""
    if found.knock_on is None:
        return True
    return not found.knock_on.at("free").everything.spearman.value < FREE


def _believed(found: Measurements) -> str:
    """ " through layers 0-3", or nothing where all or none are."""
    if found.knock_on is None:
        return ""
    errors = {place.layer: place.error_share for place in found.places.layers}
    tested = [one for one in found.knock_on.by_layer if one[2] >= LEAST_PAIRS]
    good = [
        layer
        for layer, figure, _ in tested
        if figure >= KNOCK_ON[0] and errors.get(layer, 0.0) <= LAYER_ERRORS
    ]
    if not good or len(good) == len(tested):
        return ""
    return f" through layer{'s' if len(good) > 1 else ''} {spans(good)}"


def spans(numbers: list[int]) -> str:
    """ "0-2 and 5"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    parts = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _grade(value: float, good: float, bad: float) -> Mark:
    """By two bounds, whichever way round they go; what is not known speaks against nothing."""
    if math.isnan(value):
        return "~"
    if good > bad:
        return "+" if value >= good else "~" if value >= bad else "-"
    return "+" if value <= good else "~" if value <= bad else "-"


def _graded(found: Measurements) -> Iterator[Reason]:
    yield from _scores(found.scores, has_errors=found.has_errors)
    yield from _knock_on(found)
    yield from _sufficiency(found)
    yield from _gates(found)


def _scores(scores: Scores, *, has_errors: bool) -> Iterator[Reason]:
    if has_errors:
        mark = _grade(scores.replacement, *REPLACED)
        yield Reason(
            mark,
            f"Of what starts at tokens and errors, errors start {_percent(1 - scores.replacement)}"
            f"{'' if mark == '+' else ': that much is not in the features'}.",
        )
    hidden = scores.unexpanded_share + scores.dropped_share
    if hidden > 0:
        yield Reason(
            _grade(hidden, *HIDDEN),
            f"{_percent(hidden)} of the influence ends where the trace did not look (features "
            "without a row, edges not kept); raise --max-feature-nodes.",
        )


def _sufficiency(found: Measurements) -> Iterator[Reason]:
    if not found.sufficiency:
        return
    free = next(one for one in found.sufficiency if one.held == "free")
    point = free.at(found.node_threshold)
    mark = _grade(point.sufficiency, *SUFFICIENT)
    if mark == "+" and not point.beats_random:
        mark = "~"
    if point.sufficiency <= point.random_sufficiency.median:
        mark = "-"
    what = f"The {point.features} kept features of {point.of:,}"
    if math.isnan(point.sufficiency):
        yield Reason(
            "~", "All features together move the target too little to say what the kept ones do."
        )
        return
    yield Reason(
        mark,
        f"{what} alone keep {_percent(point.sufficiency)} of the target (matched random sets "
        f"{_percent(point.random_sufficiency.median)}, at most "
        f"{_percent(point.random_sufficiency.high)}); without them {_percent(point.necessity)} "
        "stays.",
    )


def _gates(found: Measurements) -> Iterator[Reason]:
    if not found.gates:
        return
    small, ablation = found.gates[0], next(one for one in found.gates if one.change == -1.0)
    yield Reason(
        "-" if not ablation.spearman >= GATES else "~",
        "Neurons: an edge is a share of the activation, not the gate's tangent. For a change of "
        f"1 % the real gates move {small.slope:.1f} times as far as the edges say, for an ablation "
        f"{ablation.slope:.1f} times; the order stays (Spearman {small.spearman:.2f}, "
        f"{ablation.spearman:.2f})."
        if ablation.spearman >= GATES
        else "Neurons: an edge is a share of the activation, not the gate's tangent, and the real "
        f"gates do not even keep the order of an ablation's effects (Spearman "
        f"{ablation.spearman:.2f}).",
    )


def _remarks(found: Measurements) -> Iterator[Reason]:
    if found.scores.constant_share >= MANY_CONSTANTS:
        yield Reason(
            "~",
            f"{_percent(found.scores.constant_share)} of the influence ends in constants (biases, "
            "what is zeroed at BOS): no route shows it.",
        )
    dark = [
        place
        for place in sorted(found.places.tokens, key=lambda place: -place.importance)
        if place.error_share >= TOKEN_ERRORS and place.importance >= TOKEN_MATTERS
    ]
    for place in dark[:MOST_TOKENS]:
        yield Reason(
            "~",
            f'The part from "{place.token.strip()}" (token {place.position}) is '
            f"{_percent(place.error_share)} error nodes.",
        )
    other = found.agreement
    if other is not None:
        apart = other.token_overlap < DISAGREE
        yield Reason(
            "~" if apart else "+",
            f"The dictionary {other.other} {'sees' if apart else 'tells the same story:'} "
            f"{_percent(other.token_overlap)} of the influence at the same tokens"
            f"{' only' if apart else ''}.",
        )


def _knock_on(found: Measurements) -> Iterator[Reason]:
    if found.knock_on is None:
        return
    figure, free = (found.knock_on.at(held).everything for held in ("held", "free"))
    if math.isnan(figure.spearman.value):
        yield Reason(
            "~",
            "No route of the graph passes a feature whose inputs were computed, so no knock-on "
            "effect is foretold; raise --max-feature-nodes.",
        )
        return
    mark = _grade(figure.spearman.value, *KNOCK_ON)
    how = {"+": "as foretold", "~": "partly as foretold", "-": "hardly as foretold"}[mark]
    yield Reason(
        mark,
        f"Attention and norms held, ablating {figure.sources} features moves what lies further "
        f"behind {how}: Spearman {figure.spearman.value:.2f} over {figure.pairs:,} knock-on "
        f"effects (Anthropic: 0.72).",
    )
    if free.spearman.value >= FREE:
        yield Reason("+", f"Nothing held, it still does: Spearman {free.spearman.value:.2f}.")
    else:
        yield Reason(
            "~",
            "Nothing held, norms and attention answer as well, and knock-on effects are not what "
            f"the graph says (Spearman {free.spearman.value:.2f}): measure with `ablate` before "
            "you say what an intervention would do.",
        )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if abs(share) >= 0.01 or share == 0 else f"{100 * share:.1f} %"
