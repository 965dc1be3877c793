"""What a graph's model is asked: heads, attention scores, ablations, a trust report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from circuit_tracer.attribution.head_loadings import head_loadings
from circuit_tracer.attribution.qk import explain_score
from circuit_tracer.errors import UsageError, one_of
from circuit_tracer.experiments.trust.report.terminal import page as trust_page
from circuit_tracer.experiments.trust.results import Trust
from circuit_tracer.experiments.trust.results_file import as_stored
from circuit_tracer.experiments.trust.spec import TrustSettings
from circuit_tracer.graphs import Edges, PrunedGraph
from circuit_tracer.graphs.head_loadings import HeadLoadings
from circuit_tracer.graphs.named_tokens import named_head, named_position, named_targets
from circuit_tracer.graphs.qk_terms import QkAttribution
from circuit_tracer.interventions.ablation import Ablation, ablate
from circuit_tracer.interventions.selection import chosen_nodes
from circuit_tracer.interventions.spec import MODES, Mode, one_strength
from circuit_tracer.render.attention import qk_parts
from circuit_tracer.render.effects import ablation_table
from circuit_tracer.workbench.feature_edits import chosen_items
from circuit_tracer.workbench.listings import check_top
from circuit_tracer.workbench.named_settings import made_from
from circuit_tracer.workbench.opening import Opened
from circuit_tracer.workbench.results import WIDTH, Report
from circuit_tracer.workbench.trust_reports import measure, other_dictionary


def ablated(
    opened: Opened,
    pruned: PrunedGraph,
    features: Sequence[str] | str,
    *,
    find: str | None,
    route: int | None,
    top: int | None,
    mode: Mode | Sequence[Mode] | None,
    times: float | None,
    value: float | None,
    of_max: float | None,
    together: bool,
    target: str | None,
) -> Report[Ablation]:
    """What changes of nodes do to the targets, predicted and measured."""
    if top is not None:
        check_top(top)
    unit, amount = one_strength(times, value, of_max, default=("times", 0.0))
    asked: Sequence[Any] = mode if isinstance(mode, list | tuple) else [mode] if mode else []
    modes = [one_of("`mode`", one, MODES) for one in asked or MODES]
    number = 0 if target is None else named_targets(pruned.graph.info, target, "`target`")[0]
    names = [features] if isinstance(features, str) else features
    named, rows = chosen_nodes(pruned, names, find=find, route=route, top=top)
    items = chosen_items(opened, pruned, named, rows, unit=unit, amount=amount, together=together)
    ablation = ablate(opened.model, opened.dictionary, pruned.graph, items, modes=modes)
    return Report(ablation, ablation_table(ablation, number, how=f"{unit} {amount:g}"))


def loadings_of(opened: Opened, pruned: PrunedGraph, edges: Edges | None = None) -> HeadLoadings:
    """The head loadings of the kept edges, or of these."""
    return head_loadings(opened.model, opened.dictionary, pruned, edges)


def score_explained(
    opened: Opened, pruned: PrunedGraph, head: str, query: str | int, key: str | int, top: int
) -> Report[QkAttribution]:
    """A head's score of a query with a key, in source x source terms."""
    info = pruned.graph.info
    check_top(top)
    query, key = (one if isinstance(one, str) else f"@{one}" for one in (query, key))
    layer, number = named_head(head, "`head`")
    explanation = explain_score(
        opened.model,
        opened.dictionary,
        pruned,
        layer=layer,
        head=number,
        query=named_position(info, query, "`query`"),
        key=named_position(info, key, "`key`"),
        n_terms=top,
    )
    return Report(explanation, qk_parts(pruned.graph, explanation, top=top))


def trusted(opened: Opened, pruned: PrunedGraph, other: str, **settings: int) -> Report[Trust]:
    """The trust report of a graph; settings are the fields of `TrustSettings`."""
    asked = made_from(TrustSettings, settings)
    given = {*settings, *(() if other == "auto" else ("other",))}
    for name in ("random_sets", "draws", "other"):
        if asked.quick and name in given:
            raise UsageError(f"`{name}` is for a full report; leave it or `quick` out")
    second = None if asked.quick else other_dictionary(opened, pruned, other)
    trust = measure(opened, pruned, asked, second)
    return Report(trust, [trust_page(trust, width=WIDTH)], lambda: as_stored(trust))
