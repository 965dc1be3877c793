"""2. Graphs of the families: how much influence each feature has in which route, and overlaps.

A feature's *signed share* in a graph is what it hands on to the target, along paths of products of
signed shares of rows (method.md section 5, signed), over the sum of the absolute values of all
features. Targets are contrasts of what the model affirms and what it does not, so that a positive
share speaks for its own answer; claims are traced both true and false, and a feature that says
"yes" to everything cancels out.

Early shares are those at the object's position in the first third of the layers (stores), late
ones those in all later layers at any position (read-outs).

The overlap of the two routes' graphs stands against a ceiling (paraphrases) and a floor (unrelated
prompts).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal, NamedTuple, get_args

import numpy as np

from circuit_tracer.attribution.tracing import trace
from circuit_tracer.experiments.dissociation.items import Item
from circuit_tracer.experiments.dissociation.spec import FamilySpec, Route
from circuit_tracer.experiments.dissociation.step_results import (
    ROUTES,
    SET_PARTS,
    OverlapKind,
    OverlapResult,
    OverlapRow,
)
from circuit_tracer.experiments.dissociation.steps.behaviour import Answers
from circuit_tracer.experiments.dissociation.study import Study
from circuit_tracer.experiments.kit.passes import Ask
from circuit_tracer.experiments.kit.stages import Row
from circuit_tracer.experiments.kit.statistics import known_denominator
from circuit_tracer.graphs.bootstrap import UNKNOWN, Bootstrap, Interval
from circuit_tracer.graphs.comparing.comparison import compare
from circuit_tracer.graphs.graph import Floats, Graph, NodeKind
from circuit_tracer.graphs.influence import signed_shares, totals
from circuit_tracer.graphs.pruning import PrunedGraph, prune
from circuit_tracer.graphs.token_text import join_tokens

EARLY, LATE = 0, 1
LEAST_SHARE = 1e-6
"""Smaller ones are not kept."""
KINDS: tuple[OverlapKind, ...] = get_args(OverlapKind)
Shares = dict[tuple[int, int, int], float]
"""(part, layer, feature) -> signed share."""


@dataclass(frozen=True)
class PairOverlap:
    """Two graphs of one item compared, or one with an unrelated prompt's."""

    kind: OverlapKind
    first: str
    second: str
    overlap: float
    anywhere: float
    p: float


@dataclass(frozen=True)
class ItemGraphs:
    """What is kept of one item's graphs: a column an entry of (part, layer, feature)."""

    item: int
    part: tuple[int, ...]
    layer: tuple[int, ...]
    feature: tuple[int, ...]
    fact: tuple[float, ...]
    """Mean signed share over the graphs of the fact route."""
    judgement: tuple[float, ...]
    overlaps: tuple[PairOverlap, ...]

    def rows(self) -> Iterator[tuple[int, Row]]:
        """Every share and overlap as a measurement, with the item's number."""
        for route in ROUTES:
            columns = (self.part, self.layer, self.feature, getattr(self, route))
            for part, layer, feature, value in zip(*columns, strict=True):
                row = {"step": "share", "family": route, "set": f"{SET_PARTS[part]} {feature}"}
                yield self.item, {**row, "layer": layer, "value": value}
        for one in self.overlaps:
            row = {"step": "overlap", "family": one.first, "set": one.second}
            yield self.item, {**row, "role": one.kind, "value": one.overlap}


_Pairs = list[list[PairOverlap]]
"""The pairs of every object."""


class _Traced(NamedTuple):
    """A graph to compare."""

    family: str
    pruned: PrunedGraph
    roles: Mapping[str, int] | None
    """None for an unrelated prompt."""


def traced(
    study: Study,
    given: Answers,
    family: FamilySpec,
    item: Item,
    ask: Ask,
    *,
    node_threshold: float = 0.8,
) -> PrunedGraph:
    """One prompt's graph, pruned, with its own answer minus the other as its target."""
    own_is_true = given.own_is_true(family, item.index)
    claims_truth = family.words is None or ask.claim == item.value(family)
    words = [study.model.token_text(token_id) for token_id in (ask.plus, ask.minus)]
    contrast = join_tokens(words if own_is_true == claims_truth else words[::-1])
    settings = study.trace_settings(contrast)
    found = trace(study.model, study.dictionary, ask.text, settings, labels=study.labels)
    return prune(found.graph, node_threshold=node_threshold)


def signed_influence(graph: Graph) -> Floats:
    """(n,) what a unit at each node hands on to the targets, a signed `influence`."""
    nodes, edges = graph.nodes, graph.edges
    share = signed_shares(edges, totals(graph))
    found: Floats = nodes.weight.astype(np.float64).copy()
    level = nodes.layer[edges.target]
    for one in np.unique(level)[::-1]:
        which = np.flatnonzero(level == one)
        handed = found[edges.target[which]] * share[which]
        found += np.bincount(edges.source[which], weights=handed, minlength=len(found))
    return found


def shares_of(study: Study, pruned: PrunedGraph, ask: Ask) -> Shares:
    """The signed shares of the features of one graph."""
    nodes = pruned.graph.nodes
    rows = nodes.of_kind(NodeKind.FEATURE)
    signed = signed_influence(pruned.graph)[rows]
    signed = signed / (np.abs(signed).sum() or 1.0)
    found: Shares = {}
    early = nodes.layer[rows] < study.early_layers
    stored = nodes.position[rows] == ask.roles["object"]
    for at in np.flatnonzero((np.abs(signed) > LEAST_SHARE) & (~early | stored)).tolist():
        row = rows[at]
        key = (EARLY if early[at] else LATE, int(nodes.layer[row]), int(nodes.feature[row]))
        found[key] = found.get(key, 0.0) + float(signed[at])
    return found


def mean_shares(many: list[Shares]) -> Shares:
    """The mean over graphs."""
    keys = set().union(*many)
    return {key: sum(one.get(key, 0.0) for one in many) / len(many) for key in keys}


def item_graphs(
    study: Study,
    given: Answers,
    item: Item,
    floor: Mapping[str, PrunedGraph] | None,
) -> ItemGraphs:
    """Trace one item in all families; with `floor` (prompt -> graph) compare the graphs as well."""
    shares: dict[Route, list[Shares]] = {route: [] for route in ROUTES}
    graphs: dict[str, _Traced] = {}
    families = study.spec.families if floor is not None else study.spec.measured
    for family in families:
        asks = study.both_claims(family, item)
        for ask in asks[:1] if family.paraphrase_of else asks:
            pruned = traced(study, given, family, item, ask)
            if family.paraphrase_of is None:
                shares[family.route].append(shares_of(study, pruned, ask))
            graphs.setdefault(family.name, _Traced(family.name, pruned, ask.roles))
    routes = [mean_shares(shares[route]) for route in ROUTES]
    keys = sorted({*routes[0], *routes[1]})
    part, layer, feature = (tuple(key[i] for key in keys) for i in range(3))
    fact, judgement = (tuple(means.get(key, 0.0) for key in keys) for means in routes)
    return ItemGraphs(
        item=item.index,
        part=part,
        layer=layer,
        feature=feature,
        fact=fact,
        judgement=judgement,
        overlaps=() if floor is None else _overlaps(study, graphs, floor),
    )


def _overlaps(
    study: Study, graphs: Mapping[str, _Traced], floor: Mapping[str, PrunedGraph]
) -> tuple[PairOverlap, ...]:
    unrelated = [_Traced("unrelated", pruned, None) for pruned in floor.values()]
    pairs: list[tuple[OverlapKind, _Traced, _Traced]] = [
        ("fact x judgement", graphs[fact.name], graphs[judgement.name])
        for fact in study.facts
        for judgement in study.judgements
    ]
    pairs += [
        ("ceiling", graphs[family.paraphrase_of], graphs[family.name])
        for family in study.spec.families
        if family.paraphrase_of is not None
    ]
    pairs += [
        ("floor", graphs[family.name], other)
        for family in study.spec.measured
        for other in unrelated
    ]
    return tuple(_overlap(*one, seed=study.settings.seed) for one in pairs)


def _overlap(kind: OverlapKind, first: _Traced, second: _Traced, *, seed: int) -> PairOverlap:
    both = first.roles is not None and second.roles is not None
    roles = (first.roles, second.roles) if both else (None, None)
    pair = compare(first.pruned, second.pruned, roles=roles, seed=seed)
    values = (pair.kept.features, pair.kept.anywhere, pair.p_kept)
    known = [float("nan") if value is None else value for value in values]
    return PairOverlap(kind, first.family, second.family, *known)


def unrelated_graphs(study: Study) -> dict[str, PrunedGraph]:
    """The graphs of the spec's unrelated prompts, each explaining its own first choices."""
    settings = study.trace_settings()
    return {
        prompt: prune(trace(study.model, study.dictionary, prompt, settings).graph)
        for prompt in study.spec.unrelated
    }


# Over objects


def overlaps(graphs: Sequence[ItemGraphs], study: Study) -> OverlapResult | None:
    """From the pairs of all items that were compared; None without any."""
    items = [one.overlaps for one in graphs if one.overlaps]
    if not items:
        return None
    draws = study.bootstrap(len(items), 2)
    pooled = {kind: [[pair for pair in of if pair.kind == kind] for of in items] for kind in KINDS}
    rows = [_row(pooled[kind], draws, kind, "", "") for kind in KINDS]
    for kind in KINDS:
        for names in sorted({(one.first, one.second) for one in chain(*pooled[kind])}):
            pairs = [[x for x in of if (x.first, x.second) == names] for of in pooled[kind]]
            rows.append(_row(pairs, draws, kind, *names))
    means = [_means(pooled[kind], "overlap") for kind in KINDS]
    return OverlapResult(tuple(row for row in rows if row.pairs), _place(means, draws))


def _means(pairs: _Pairs, measure: Literal["overlap", "anywhere"]) -> Floats:
    """Per object; NaN where it has no such pair."""
    means = []
    for of_item in pairs:
        values = [getattr(one, measure) for one in of_item]
        known = [value for value in values if np.isfinite(value)]
        means.append(sum(known) / len(known) if known else float("nan"))
    return np.array(means)


def _row(pairs: _Pairs, draws: Bootstrap, kind: OverlapKind, first: str, second: str) -> OverlapRow:
    known = [one.p for one in chain(*pairs) if np.isfinite(one.p)]
    return OverlapRow(
        kind=kind,
        first=first,
        second=second,
        overlap=draws.mean(_means(pairs, "overlap")),
        anywhere=draws.mean(_means(pairs, "anywhere")),
        p=float(np.median(known)) if known else float("nan"),
        pairs=sum(map(len, pairs)),
    )


def _place(means: Sequence[Floats], draws: Bootstrap) -> Interval:
    """Of the routes' overlap between floor and ceiling, all three over the same objects."""
    if not all(np.isfinite(one).all() for one in means):
        return UNKNOWN

    def place(counts: Floats) -> Floats:
        between, high, low = (counts @ one for one in means)
        return (between - low) / known_denominator(high - low)

    return draws.figure(place)
