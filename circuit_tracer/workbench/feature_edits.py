"""Change nodes of a stored graph, or steer a prompt, by what their features' cards say."""

from __future__ import annotations

from collections.abc import Sequence

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs import NodeKind, PrunedGraph
from circuit_tracer.interventions import plan
from circuit_tracer.interventions.ablation import Item, item_outside, item_together, items_of
from circuit_tracer.interventions.spec import Change, Strength, Unit
from circuit_tracer.interventions.steering import (
    Steered,
    dose_curve,
    positions_at,
    steer,
    strength_of,
)
from circuit_tracer.progress import OnStage, silent
from circuit_tracer.workbench.features import followed_token, known_features
from circuit_tracer.workbench.opening import Opened


def chosen_items(
    opened: Opened,
    pruned: PrunedGraph,
    named: Sequence[Change],
    rows: Sequence[int] = (),
    *,
    unit: Unit = "times",
    amount: float = 0.0,
    together: bool = False,
) -> list[Item]:
    """Named nodes and rows of a graph as interventions for `ablate`, one by one or as one.

    The strength is an amount in one of the units; maxima of features are looked up. Features of a
    sparse autoencoder of the residual stream are no nodes of the graph: they are named. Raises
    UsageError for nodes that are not there.
    """
    for node in named:
        plan.check_node(node, opened.dictionary)
    if is_residual := opened.dictionary.kind == "sae":
        _check_named(opened, pruned, named, rows)
    graph = pruned.graph
    strengths: dict[tuple[int, int], Strength] = {}
    if unit == "of-max":
        nodes = graph.nodes
        features = {(n.layer, n.feature) for n in named if n.kind == NodeKind.FEATURE}
        features |= {
            (int(nodes.layer[row]), int(nodes.feature[row]))
            for row in rows
            if nodes.kind[row] == NodeKind.FEATURE
        }
        strengths = {
            (feature.layer, feature.index): strength_of(feature, amount, unit)
            for feature in known_features(opened, sorted(features))
        }
    same = Strength(amount, is_multiple=unit == "times")

    def strength(layer: int, index: int) -> Strength:
        return strengths.get((layer, index), same)

    if is_residual:
        items = [item_outside(node, strength(node.layer, node.feature)) for node in named]
    else:
        items = items_of(graph, named, rows, strength)
    return [item_together(items)] if together else items


def _check_named(
    opened: Opened, pruned: PrunedGraph, named: Sequence[Change], rows: Sequence[int]
) -> None:
    """UsageError for nodes that are the graph's, where the dictionary is not."""
    name = opened.dictionary.identity.name
    if rows:
        raise UsageError(
            f"`find`, `route` and `top` choose nodes of the graph, and {name} is a sparse "
            "autoencoder, whose features are none; name them with `features` L1/355"
        )
    last = max(target.position for target in pruned.graph.info.targets)
    for node in named:
        if node.position is not None and node.position > last:
            raise UsageError(f"{node.name}: there are positions 0 to {last}; choose one of them")


def steer_prompts(
    opened: Opened,
    prompts: Sequence[str],
    features: Sequence[tuple[int, int]],
    amount: float = 10.0,
    *,
    unit: Unit = "of-max",
    doses: Sequence[float] | None = None,
    at: str = "all",
    max_new_tokens: int = 20,
    target: str | None = None,
    temperature: float = 0.0,
    seed: int = 0,
    chat: bool = False,
    system: str | None = None,
    shares: Sequence[float] = (),
    on_progress: OnStage = silent,
) -> Steered:
    """Continue prompts with features (layer, index) set to an amount, and at the other `doses`.

    `shares` is what part of the amount each feature gets, all of it by default.
    `at` is as `steering.positions_at` reads it. `target` is the token to follow; what the first
    feature raises most by default.
    """
    model, strengths = opened.model, doses or dose_curve(amount)
    known = known_features(opened, features)
    followed = followed_token(opened, known[0], unit, amount * (*shares, 1.0)[0], target)
    steered = []
    for done, text in enumerate(prompts):
        on_progress("writing", done, len(prompts))
        ids = model.tokenize(text, chat=chat, system=system)
        own = range(model.zeroed_positions(ids), len(ids))
        steering = steer(
            model,
            opened.dictionary,
            ids,
            known,
            strengths,
            unit=unit,
            positions=positions_at(at, own, max_new_tokens),
            max_new_tokens=max_new_tokens,
            target=followed,
            temperature=temperature,
            seed=seed,
            shares=shares,
        )
        steered.append((text, steering))
    word = "" if followed is None else model.token_text(followed)
    return Steered(tuple(known), unit, amount, word, tuple(steered), tuple(shares))
