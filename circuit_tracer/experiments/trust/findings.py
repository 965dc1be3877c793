"""What speaks for a graph and what against: each finding in words, and as a figure in short.

The bounds are those of the table in `verdict.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from circuit_tracer.experiments.trust.results import (
    AtThreshold,
    DictionaryAgreement,
    IndirectEffects,
    Measurements,
)
from circuit_tracer.graphs.token_text import shown
from circuit_tracer.render.numbers import decimals, percent
from circuit_tracer.render.trust_panel import KeyFigure, Mark, Reason

INDIRECT = (0.72, 0.5)
SUFFICIENT = (0.8, 0.5)
REPLACED = (0.8, 0.5)
HIDDEN = (0.1, 0.5)
"""Good from, bad below (or beyond)."""
RANKED = 0.72
UNFROZEN = 0.5
BETTER = 0.05
"""By how much a prediction with all edges has to be better for a word about it."""
GATES = 0.8

MANY_CONSTANTS = 0.3
TOKEN_ERRORS = 0.3
TOKEN_MATTERS = 0.05
MOST_TOKENS = 3
DISAGREE = 0.7
ALIKE_BEYOND_CHANCE = 0.1


class Finding(NamedTuple):
    """One part of the verdict: a figure in short, a reason in words, or both."""

    figure: KeyFigure | None
    reason: Reason | None = None


def grade(value: float, good: float, bad: float) -> Mark:
    """By two bounds, whichever way round they go; what is not known speaks against nothing."""
    if math.isnan(value):
        return "~"
    if good > bad:
        return "+" if value >= good else "~" if value >= bad else "-"
    return "+" if value <= good else "~" if value <= bad else "-"


def at_least(value: float, good: float) -> Mark:
    """Good from a bound on, and never bad."""
    return "+" if value >= good else "~"


def sums_and_edges(found: Measurements) -> Iterator[Finding]:
    """Whether the graph is what the model computes; a reason only where it is not."""
    sums, direct = found.conservation, found.direct
    allowed = f"allowed {sums.tolerance:.0e}"
    figure = KeyFigure("+" if sums.holds else "-", "sums of edges", f"{sums.residual:.0e}", allowed)
    words = (
        f"Edges and constant miss the value of {sums.worst} by a share of {sums.residual:.2g} "
        f"(allowed: {sums.tolerance:.0e}); an edge or a constant is wrong."
    )
    yield Finding(figure, None if sums.holds else Reason("-", words))
    if direct is None:
        return
    mark: Mark = "+" if direct.holds else "-"
    allowed = f"allowed {direct.tolerance:.0e}"
    figure = KeyFigure(mark, "edges, all else frozen", f"{direct.error:.0e}", allowed)
    words = (
        f"With attention, norms and MLPs frozen, the edge {direct.worst} is off by a share of "
        f"{direct.error:.2g} (allowed: {direct.tolerance:.0e}); the graph is of other weights, "
        "or something in it was not frozen."
    )
    yield Finding(figure, None if direct.holds else Reason("-", words))


def graded(found: Measurements) -> Iterator[Finding]:
    """What the level of the verdict follows from."""
    yield from _scores(found)
    if found.indirect is not None:
        yield from _indirect(found.indirect)
    yield from _ranking(found)
    yield from _sufficiency(found)
    yield from _gates(found)


def _scores(found: Measurements) -> Iterator[Finding]:
    value = found.scores.replacement
    if found.has_errors:
        mark = grade(value, *REPLACED)
        lacking = "" if mark == "+" else ": that much is not in the features"
        yield Finding(
            KeyFigure(mark, "replacement", decimals(value), f"good from {REPLACED[0]}"),
            Reason(
                mark,
                f"Of what starts at tokens and errors, errors start {percent(1 - value)}{lacking}.",
            ),
        )
    hidden = found.scores.unexpanded_share + found.scores.dropped_share
    mark = grade(hidden, *HIDDEN)
    words = (
        f"{percent(hidden)} of the influence ends where the trace did not look (features without a "
        "row, edges not kept); raise `max_feature_nodes`."
    )
    yield Finding(
        KeyFigure(mark, "not looked at", percent(hidden), f"good to {percent(HIDDEN[0])}"),
        Reason(mark, words) if hidden > 0 else None,
    )


def _indirect(tested: IndirectEffects) -> Iterator[Finding]:
    frozen = tested.at("attention, norms").everything
    value, free = frozen.spearman.value, tested.at("nothing").everything.spearman.value
    mark = grade(value, *INDIRECT)
    bar = f"good from {INDIRECT[0]}"
    as_in_graph = KeyFigure(mark, "indirect, as in the graph", decimals(value), bar)
    bar = f"good from {UNFROZEN}"
    unfrozen = KeyFigure(at_least(free, UNFROZEN), "indirect, nothing frozen", decimals(free), bar)
    if math.isnan(value):
        words = (
            "No route of the graph passes a feature whose inputs were computed, so no indirect "
            "effect is predicted; raise `max_feature_nodes`."
        )
        yield Finding(as_in_graph, Reason("~", words))
        yield Finding(unfrozen)
        return
    how = {"+": "as predicted", "~": "partly as predicted", "-": "hardly as predicted"}[mark]
    words = (
        f"Attention and norms frozen, ablating {frozen.sources} features moves what lies further "
        f"downstream {how}: Spearman {decimals(value)} over {frozen.pairs:,} indirect effects."
    )
    whole = tested.at("attention, norms").responding.spearman.value
    if whole > value + BETTER:
        words += (
            f" With the edges that were too small to keep it is {decimals(whole)}: trace with a "
            "lower `edge_floor`."
        )
    yield Finding(as_in_graph, Reason(mark, words))
    if free >= UNFROZEN:
        words = f"Nothing frozen, it still does: Spearman {decimals(free)}."
    else:
        words = (
            "Nothing frozen, norms and attention respond as well, and indirect effects are not "
            f"what the graph predicts (Spearman {decimals(free)}): measure with `ablate` before "
            f"you predict what an intervention would do.{_why(tested)}"
        )
    yield Finding(unfrozen, Reason(unfrozen.mark, words))


def _why(tested: IndirectEffects) -> str:
    """Whether it is the norms, as a prediction shows in which they respond."""
    ways = {way.frozen: way for way in tested.ways}
    known = ways.get("attention") or ways["nothing"]
    unfrozen = "norms" if known.frozen == "attention" else "norms and attention"
    value, bare = known.responding.spearman.value, known.everything.spearman.value
    if math.isnan(value):
        return ""
    if value >= INDIRECT[0]:
        return (
            f" It is {unfrozen}, not features: where they respond in the prediction, too, it "
            f"reaches {decimals(value)} instead of {decimals(bare)}."
        )
    better = "does little better" if value < UNFROZEN else "comes closer"
    return f" A prediction in which {unfrozen} respond, too, {better} ({decimals(value)})."


def _ranking(found: Measurements) -> Iterator[Finding]:
    if found.ranking is None:
        return
    frozen, free = found.ranking.at("attention"), found.ranking.at("nothing")
    value = frozen.influence.value
    words = (
        f"The more influence a feature has, the more its ablation does to the targets: Spearman "
        f"{decimals(value)} over {found.ranking.features} features with attention frozen, "
        f"{decimals(free.influence.value)} with nothing frozen (Anthropic: 0.72; the direct edge "
        f"alone: {decimals(frozen.direct.value)}, {decimals(free.direct.value)})."
    )
    if math.isnan(value):
        words = "Too few features could be ablated to compare their influence with their effects."
    mark, bar = at_least(value, RANKED), f"good from {RANKED}"
    figure = KeyFigure(mark, "influence against ablation", decimals(value), bar)
    yield Finding(figure, Reason(mark, words))


def _sufficiency(found: Measurements) -> Iterator[Finding]:
    if (curve := found.free_sufficiency) is None:
        return
    point = curve.at(found.node_threshold)
    random = point.random_sufficiency
    mark = _sufficiency_mark(point)
    words = (
        f"The {point.features} kept features of {point.of:,} alone keep "
        f"{percent(point.sufficiency)} of the target (matched random sets "
        f"{percent(random.median)}, at most {percent(random.high)}); without them "
        f"{percent(point.necessity)} stays."
    )
    if math.isnan(point.sufficiency):
        words = "All features together move the target too little to judge the kept ones."
    bar = f"good from {percent(SUFFICIENT[0])}; random to {percent(random.high)}"
    figure = KeyFigure(mark, "target, by kept features", percent(point.sufficiency), bar)
    yield Finding(figure, Reason(mark, words))


def _sufficiency_mark(point: AtThreshold) -> Mark:
    """Of the kept features against matched random sets, where others could be drawn at all."""
    mark = grade(point.sufficiency, *SUFFICIENT)
    if point.features == point.of:
        return mark
    if point.sufficiency <= point.random_sufficiency.median:
        return "-"
    return "~" if mark == "+" and not point.beats_random else mark


def _gates(found: Measurements) -> Iterator[Finding]:
    if not found.gates:
        return
    small, ablation = found.gates[0], next(gate for gate in found.gates if gate.change == -1.0)
    mark: Mark = "-" if ablation.spearman < GATES else "~"
    if math.isnan(ablation.spearman):
        words = "; there was no edge between neurons to compare with their real gates."
    elif mark == "~":
        words = (
            f". For a change of 1 % the real gates move {small.slope:.1f} times as far as the "
            f"edges predict, for an ablation {ablation.slope:.1f} times; the order stays (Spearman "
            f"{decimals(small.spearman)}, {decimals(ablation.spearman)})."
        )
    else:
        words = (
            ", and the real gates do not even keep the order of an ablation's effects (Spearman "
            f"{decimals(ablation.spearman)})."
        )
    bar = f"bad below {GATES}"
    figure = KeyFigure(mark, "real gates, order of edges", decimals(ablation.spearman), bar)
    what = "Neurons: an edge is a share of the activation, not the gate's tangent"
    yield Finding(figure, Reason(mark, what + words))


def remarks(found: Measurements) -> Iterator[Reason]:
    """What is reported but not graded."""
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


def _agreement(other: DictionaryAgreement) -> Reason:
    same_tokens = other.token_overlap >= DISAGREE
    beyond = other.decoder_cosine - other.decoder_cosine_by_chance
    same_features = math.isnan(beyond) or beyond >= ALIKE_BEYOND_CHANCE
    overlap = f"{percent(other.token_overlap)} of the influence starts at the same tokens"
    features = "no middle features could be compared"
    if not math.isnan(beyond):
        features = (
            f"middle features write {'alike' if same_features else 'no more alike than chance'} "
            f"(cosine {decimals(other.decoder_cosine)}, by chance "
            f"{decimals(other.decoder_cosine_by_chance)})"
        )
    if not same_tokens:
        words = f"tells another story: {overlap} only; {features}"
    elif not same_features:
        words = f"starts alike and goes on otherwise: {overlap}, but {features}"
    else:
        words = f"tells the same story: {overlap}, and {features}"
    mark: Mark = "+" if same_tokens and same_features else "~"
    return Reason(mark, f"The dictionary {other.other} {words}.")
