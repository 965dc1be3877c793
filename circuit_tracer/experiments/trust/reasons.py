"""The findings of a trust report in words, each with its mark; the bounds are in `verdict.py`."""

from __future__ import annotations

import math
from collections.abc import Iterator

from circuit_tracer.experiments.trust.agreement import DictionaryAgreement
from circuit_tracer.experiments.trust.marks import (
    FREE,
    GATES,
    HIDDEN,
    KNOCK_ON,
    RANKED,
    REPLACED,
    SUFFICIENT,
    at_least,
    grade,
)
from circuit_tracer.experiments.trust.measurements import Measurements
from circuit_tracer.experiments.trust.sufficiency import AtThreshold
from circuit_tracer.graphs.scores import Scores
from circuit_tracer.graphs.token_text import shown
from circuit_tracer.render.numbers import decimals, percent
from circuit_tracer.render.trust_panel import Mark, Reason

MANY_CONSTANTS = 0.3
TOKEN_ERRORS = 0.3
TOKEN_MATTERS = 0.05
MOST_TOKENS = 3
DISAGREE = 0.7
ALIKE_BEYOND_CHANCE = 0.1


def broken(found: Measurements) -> Iterator[Reason]:
    """Sums or direct edges that are wrong."""
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


def graded(found: Measurements) -> Iterator[Reason]:
    """What the level of the verdict follows from."""
    yield from _scores(found.scores, has_errors=found.has_errors)
    yield from _knock_on(found)
    yield from _ranking(found)
    yield from _sufficiency(found)
    yield from _gates(found)


def remarks(found: Measurements) -> Iterator[Reason]:
    """What is said beside it."""
    if found.scores.constant_share >= MANY_CONSTANTS:
        yield Reason(
            "~",
            f"{percent(found.scores.constant_share)} of the influence ends in constants (biases, "
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
            f'The part from "{shown(place.token)}" (token {place.position}) is '
            f"{percent(place.error_share)} error nodes.",
        )
    if found.agreement is not None:
        yield _agreement(found.agreement)


def _scores(scores: Scores, *, has_errors: bool) -> Iterator[Reason]:
    if has_errors:
        mark = grade(scores.replacement, *REPLACED)
        yield Reason(
            mark,
            f"Of what starts at tokens and errors, errors start {percent(1 - scores.replacement)}"
            f"{'' if mark == '+' else ': that much is not in the features'}.",
        )
    hidden = scores.unexpanded_share + scores.dropped_share
    if hidden > 0:
        yield Reason(
            grade(hidden, *HIDDEN),
            f"{percent(hidden)} of the influence ends where the trace did not look (features "
            "without a row, edges not kept); raise --max-feature-nodes.",
        )


def _knock_on(found: Measurements) -> Iterator[Reason]:
    if found.knock_on is None:
        return
    figure = found.knock_on.at("held").everything
    if math.isnan(figure.spearman.value):
        yield Reason(
            "~",
            "No route of the graph passes a feature whose inputs were computed, so no knock-on "
            "effect is foretold; raise --max-feature-nodes.",
        )
        return
    mark = grade(figure.spearman.value, *KNOCK_ON)
    how = {"+": "as foretold", "~": "partly as foretold", "-": "hardly as foretold"}[mark]
    yield Reason(
        mark,
        f"Attention and norms held, ablating {figure.sources} features moves what lies further "
        f"behind {how}: Spearman {decimals(figure.spearman.value)} over {figure.pairs:,} knock-on "
        "effects.",
    )
    free = found.knock_on.at("free")
    if free.everything.spearman.value >= FREE:
        value = free.everything.spearman.value
        yield Reason("+", f"Nothing held, it still does: Spearman {decimals(value)}.")
        return
    yield Reason(
        "~",
        "Nothing held, norms and attention answer as well, and knock-on effects are not what "
        f"the graph says (Spearman {decimals(free.everything.spearman.value)}): measure with "
        f"`ablate` before you say what an intervention would do.{_why(found)}",
    )


def _why(found: Measurements) -> str:
    """Whether it is the norms, as a forecast shows in which they answer."""
    assert found.knock_on is not None
    ways = {one.held: one for one in found.knock_on.by_held}
    known = ways.get("constrained") or ways["free"]
    let_go = "norms" if known.held == "constrained" else "norms and attention"
    value, bare = known.answering.spearman.value, known.everything.spearman.value
    if math.isnan(value):
        return ""
    if not value >= KNOCK_ON[0]:
        return (
            f" A forecast in which {let_go} answer, too, does little better ({decimals(value)})."
            if (value < FREE)
            else f" A forecast in which {let_go} answer, too, comes closer ({decimals(value)})."
        )
    return (
        f" It is {let_go}, not features: where they answer in the forecast, too, it reaches "
        f"{decimals(value)} instead of {decimals(bare)}."
    )


def _ranking(found: Measurements) -> Iterator[Reason]:
    if found.ranking is None:
        return
    frozen, free = (found.ranking.at(held) for held in ("constrained", "free"))
    value = frozen.influence.value
    if math.isnan(value):
        yield Reason(
            "~", "Too few features could be ablated to compare their influence with their effects."
        )
        return
    yield Reason(
        at_least(value, RANKED),
        f"The more influence a feature has, the more its ablation does to the targets: Spearman "
        f"{decimals(value)} over {found.ranking.features} features with attention held, "
        f"{decimals(free.influence.value)} with nothing held (Anthropic: 0.72; the direct edge "
        f"alone: {decimals(frozen.direct.value)}, {decimals(free.direct.value)}).",
    )


def sufficiency_mark(point: AtThreshold) -> Mark:
    """Of the kept features against matched random sets."""
    mark = grade(point.sufficiency, *SUFFICIENT)
    if mark == "+" and not point.beats_random:
        mark = "~"
    return "-" if point.sufficiency <= point.random_sufficiency.median else mark


def _sufficiency(found: Measurements) -> Iterator[Reason]:
    point = found.kept_alone
    if point is None:
        return
    if math.isnan(point.sufficiency):
        yield Reason(
            "~", "All features together move the target too little to say what the kept ones do."
        )
        return
    yield Reason(
        sufficiency_mark(point),
        f"The {point.features} kept features of {point.of:,} alone keep "
        f"{percent(point.sufficiency)} of the target (matched random sets "
        f"{percent(point.random_sufficiency.median)}, at most "
        f"{percent(point.random_sufficiency.high)}); without them {percent(point.necessity)} "
        "stays.",
    )


def _gates(found: Measurements) -> Iterator[Reason]:
    if not found.gates:
        return
    small, ablation = found.gates[0], next(one for one in found.gates if one.change == -1.0)
    if math.isnan(ablation.spearman):
        yield Reason(
            "~",
            "Neurons: an edge is a share of the activation, not the gate's tangent; there was no "
            "edge between neurons to compare with their real gates.",
        )
        return
    keeps_order = ablation.spearman >= GATES
    yield Reason(
        "~" if keeps_order else "-",
        "Neurons: an edge is a share of the activation, not the gate's tangent. For a change of "
        f"1 % the real gates move {small.slope:.1f} times as far as the edges say, for an ablation "
        f"{ablation.slope:.1f} times; the order stays (Spearman {decimals(small.spearman)}, "
        f"{decimals(ablation.spearman)})."
        if keeps_order
        else "Neurons: an edge is a share of the activation, not the gate's tangent, and the real "
        f"gates do not even keep the order of an ablation's effects (Spearman "
        f"{decimals(ablation.spearman)}).",
    )


def _agreement(other: DictionaryAgreement) -> Reason:
    same_tokens = other.token_overlap >= DISAGREE
    beyond = other.decoder_cosine - other.decoder_cosine_by_chance
    known = not math.isnan(beyond)
    same_features = not known or beyond >= ALIKE_BEYOND_CHANCE
    overlap = f"{percent(other.token_overlap)} of the influence starts at the same tokens"
    features = "no middle features could be compared"
    if known:
        features = (
            f"middle features write {'alike' if same_features else 'no more alike than chance'} "
            f"(cosine {decimals(other.decoder_cosine)}, by chance "
            f"{decimals(other.decoder_cosine_by_chance)})"
        )
    if same_tokens and same_features:
        return Reason(
            "+", f"The dictionary {other.other} tells the same story: {overlap}, and {features}."
        )
    if same_tokens:
        return Reason(
            "~",
            f"The dictionary {other.other} starts alike and goes on otherwise: {overlap}, "
            f"but {features}.",
        )
    return Reason(
        "~",
        f"The dictionary {other.other} tells another story: {overlap} only; {features}.",
    )
