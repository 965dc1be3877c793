"""Items that are completed rightly and judged wrongly, or the reverse, and which route is weak.

With keep = "own" what counts as right of a family is what it affirms of most items, the true value
or the other one.

A route's *strength* on an item is what its features do there: activation times mean share, summed
over the members of its own and the shared sets (early ones at the object, late ones where they fire
most). It is put as a multiple of the median over consistent items. The weak route is the one below
the 10th percentile of these; of two such the weaker one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from circuit_tracer.experiments.dissociation.items import Item
from circuit_tracer.experiments.dissociation.results import Inconsistent
from circuit_tracer.experiments.dissociation.spec import FamilySpec, Route
from circuit_tracer.experiments.dissociation.step_results import ROUTES, FeatureSet
from circuit_tracer.experiments.dissociation.steps.behaviour import Answers
from circuit_tracer.experiments.dissociation.study import Study
from circuit_tracer.experiments.kit.passes import Ask, spans, token_ids
from circuit_tracer.models.devices import as_floats

WEAK = 10.0
"""Percentile of the consistent items below which a route is weak."""
Strengths = dict[tuple[str, int], float]
"""(family, item) -> strength of the family's route."""


def inconsistent_items(
    study: Study, given: Answers, sets: Sequence[FeatureSet]
) -> tuple[Inconsistent, ...]:
    """All of them, in the order of the items; none is measured where no set was chosen."""
    right: dict[int, dict[str, bool]] = {item.index: {} for item in study.items}
    for family in study.spec.measured:
        affirmed = given.of(family).affirmed
        usual = -1 if study.spec.keep == "own" and sum(affirmed) < 0 else 1
        for item in study.items:
            right[item.index][family.name] = affirmed[item.index] == usual
    fails = {item: _fails(study, of) for item, of in right.items()}
    if not sets or not any(fails.values()):
        return ()
    strengths = _strengths(study, sets)
    consistent = [i for i, of in right.items() if all(of.values())]
    return tuple(
        _described(study, item, route, right[item.index], strengths, consistent)
        for item in study.items
        if (route := fails[item.index]) is not None
    )


def _fails(study: Study, right: dict[str, bool]) -> Route | None:
    """The route that is wrong where the other is right throughout."""
    fact, judgement = (
        all(right[family.name] for family in families)
        for families in (study.facts, study.judgements)
    )
    if fact == judgement:
        return None
    return "judgement" if fact else "fact"


def _described(
    study: Study,
    item: Item,
    fails: Route,
    right: dict[str, bool],
    strengths: Strengths,
    consistent: Sequence[int],
) -> Inconsistent:
    ratio: dict[Route, float] = {}
    weak: list[Route] = []
    for route in ROUTES:
        families = study.spec.of_route(route)
        if route == fails:
            families = tuple(family for family in families if not right[family.name])
        own = _mean(strengths, families, item.index)
        others = np.array([_mean(strengths, families, i) for i in consistent])
        median = float(np.median(others)) if len(others) else float("nan")
        ratio[route] = own / median if median else float("nan")
        if len(others) and own < float(np.percentile(others, WEAK)):
            weak.append(route)
    first = study.spec.families[0]
    return Inconsistent(
        item=item.name,
        value=item.value(first),
        other=item.other[first.answer],
        right=right,
        fact_strength=ratio["fact"],
        judgement_strength=ratio["judgement"],
        fails=fails,
        weak=sorted(weak, key=ratio.__getitem__)[0] if weak else "neither",
    )


def _mean(strengths: Strengths, families: Sequence[FamilySpec], item: int) -> float:
    return float(np.mean([strengths[family.name, item] for family in families]))


def _strengths(study: Study, sets: Sequence[FeatureSet]) -> Strengths:
    """Of every family and item, with the sets of the half that the item is not in."""
    found: Strengths = {}
    for family in study.spec.measured:
        for half in (0, 1):
            items = [item for item in study.items if item.half != half]
            asks = [ask for item in items for ask in study.both_claims(family, item)]
            if not asks:
                continue
            chosen = [one for one in sets if one.half == half]
            values = _fired(study, asks, chosen, family.route).reshape(len(items), -1).mean(1)
            for item, value in zip(items, values.tolist(), strict=True):
                found[family.name, item.index] = value
    return found


def _fired(
    study: Study, asks: Sequence[Ask], sets: Sequence[FeatureSet], route: Route
) -> np.ndarray:
    """(asks,) activation times share, summed over the route's features."""
    own = "F" if route == "fact" else "V"
    total = np.zeros(len(asks))
    for rows in spans(study.model, asks):
        ids = token_ids(study.model, asks, rows)
        read = study.model.mlp_activity(ids, study.dictionary.reads).inputs
        at = [asks[row].roles["object"] for row in rows]
        for one in sets:
            if one.name not in (own, "S"):
                continue
            for layer in sorted({member.layer for member in one.members}):
                members = [member for member in one.members if member.layer == layer]
                acts = study.dictionary.layers[layer].encode(read[layer])
                fired = as_floats(acts[..., [m.feature for m in members]])
                for of_row, row in zip(fired, rows, strict=True):
                    of_row[: study.n_zeroed(asks[row])] = 0
                seen = fired[np.arange(len(rows)), at] if one.part == "early" else fired.max(axis=1)
                share = [m.fact if route == "fact" else m.judgement for m in members]
                total[rows] += seen @ np.maximum(share, 0.0)
    return total
