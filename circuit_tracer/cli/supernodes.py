"""`supernodes`: group the features of a traced graph that do the same, and keep the groups."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from circuit_tracer import graphs
from circuit_tracer.bundled import CARDS_FILE
from circuit_tracer.cli import options
from circuit_tracer.cli.app import explained
from circuit_tracer.cli.invocation import refuse_with, refuse_without
from circuit_tracer.cli.options import own
from circuit_tracer.cli.output import columns, print_json, print_rich, progress_line
from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.supernodes import file, grouping
from circuit_tracer.graphs.supernodes import graph as supernodes_graph
from circuit_tracer.graphs.supernodes import scores as supernodes_scores
from circuit_tracer.interventions import coherence
from circuit_tracer.models import devices
from circuit_tracer.render import groups as render_groups
from circuit_tracer.transcoders import dictionary as transcoders_dictionary
from circuit_tracer.workbench import folder_contents, opening

if TYPE_CHECKING:
    from rich.console import RenderableType

    from circuit_tracer.graphs import PrunedGraph
    from circuit_tracer.graphs.graph import Floats
    from circuit_tracer.graphs.supernodes.graph import GroupPath, SupernodeGraph
    from circuit_tracer.graphs.supernodes.grouping import Reading, Supernode
    from circuit_tracer.graphs.supernodes.scores import Figure, GroupScores
    from circuit_tracer.transcoders.cards import Card

PROMOTED = 10
"""Tokens of a card that count as promoted."""


@explained
def supernodes(
    graph: options.GraphPath,
    edit: Annotated[
        Path | None, own("--edit", help="Take the groups from this TOML file, as you edited it.")
    ] = None,
    out: Annotated[
        Path | None,
        own("--out", "-o", help="Write them here; GRAPH/supernodes.toml is found by export."),
    ] = None,
    threshold: Annotated[
        float, own("--threshold", help="How alike groups must be to be joined, 0 to 1.")
    ] = 0.5,
    across: Annotated[
        bool, own("--across-tokens", help="Join features at different tokens, too.")
    ] = False,
    cards: Annotated[
        Path | None, own("--cards", help="Dictionary folder whose feature cards to use.")
    ] = None,
    decoders: Annotated[
        str | None,
        own("--decoders", help="Compare what features write, too: the dictionary's name."),
    ] = None,
    causal: Annotated[
        bool,
        own(
            "--causal",
            help="Ablate every kept feature, too: do members act alike? Opens the model.",
        ),
    ] = False,
    k: Annotated[int, own("-k", "--top", min=1, help="How many routes per target.")] = 5,
    model: options.GraphsModel = None,
    transcoders: options.GraphsTranscoders = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    seed: Annotated[int, own("--seed", min=0, help="Seed of the random groupings.")] = 0,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> None:
    """Group kept features that do the same; score, name and keep the groups, with their routes."""
    if out is not None and out.suffix.lower() not in ("", ".toml"):
        raise UsageError(f"{out} ends in {out.suffix}, and TOML is written; let it end in .toml")
    refuse_with("--threshold", other="--edit", there=edit)
    refuse_without("--overwrite", needed="--out", there=out)
    refuse_without("--transcoders", needed="--causal", there=causal)
    refuse_without(
        *("--model", "--device", "--threads"),
        needed="--causal or --decoders",
        there=causal or decoders,
    )
    pruned = graphs.open_graph(graph)
    edited = None if edit is None else file.read_supernodes(pruned, edit)
    if edited is not None and not edited:
        raise UsageError(f"{edit} names no supernode; write a name and a list of nodes")
    readings = _readings(pruned, cards)
    alike = grouping.similarity(
        pruned,
        decoders=None if decoders is None else _decoders(pruned, decoders, model, device, threads),
        readings=readings,
        same_position=not across,
    )
    groups = (
        grouping.find_supernodes(pruned, alike, threshold=threshold) if edited is None else edited
    )
    effects = None
    if causal and groups:
        effects = _effects(pruned, model, transcoders, device, threads)
    scores = supernodes_scores.group_scores(groups, alike, readings=readings, effects=effects)
    figures = supernodes_scores.against_random(
        pruned, groups, alike, readings=readings, effects=effects, seed=seed
    )
    whole = supernodes_graph.supernode_graph(pruned, groups)
    paths = supernodes_graph.group_paths(pruned, whole, k=k)
    if out is not None:
        file.write_supernodes(pruned, groups, out, overwrite=overwrite)
    if json:
        print_json(_record(pruned, groups, scores, figures, whole, paths))
        return
    _print(pruned, groups, scores, figures, whole, paths)
    print(f"\n{out}" if out else f"\nKeep them with --out {graph / 'supernodes.toml'}")


def _effects(
    pruned: PrunedGraph,
    model: str | None,
    transcoders: str | None,
    device: str,
    threads: int | None,
) -> dict[int, Floats]:
    """What ablating each kept feature does to the logits."""
    with progress_line() as report:
        report("opening the model", 0, 0)
        opened, _ = opening.reopen(pruned, model, transcoders, device=device, threads=threads)
        report("ablating every kept feature", 0, 0)
        return coherence.ablation_effects(opened.model, opened.dictionary, pruned)


def _readings(pruned: PrunedGraph, cards: Path | None) -> list[Reading] | None:
    """What the cards of the kept features say; None for a dictionary without cards."""
    dictionary = pruned.graph.info.dictionary
    beside = Path(dictionary.location) / CARDS_FILE if dictionary.location else None
    has_cards = dictionary.source == "bundled" or (beside is not None and beside.is_file())
    if cards is None and (not has_cards or dictionary.kind == "neurons"):
        return None
    nodes, rows = pruned.graph.nodes, grouping.feature_rows(pruned)
    wanted = [(int(nodes.layer[row]), int(nodes.feature[row])) for row in rows.tolist()]
    return [reading_of(card) for card in folder_contents.open_cards(pruned, cards).cards(wanted)]


def reading_of(card: Card) -> grouping.Reading:
    """The tokens of its examples by activation, and the promoted ones, the first most of all."""
    fires_on: dict[str, float] = {}
    for example in card.examples:
        for token, activation in zip(example.tokens, example.activations, strict=True):
            if activation > 0:
                fires_on[token] = fires_on.get(token, 0.0) + activation
    promotes = {token: 1 / (rank + 1) for rank, token in enumerate(card.promotes[:PROMOTED])}
    return grouping.Reading(_shares(fires_on), _shares(promotes))


def _shares(weights: dict[str, float]) -> dict[str, float]:
    total = sum(weights.values())
    return {word: weight / total for word, weight in weights.items()} if total > 0 else {}


def _decoders(
    pruned: PrunedGraph, name: str, model: str | None, device: str, threads: int | None
) -> Floats:
    """(n, d) what the kept features write, summed over the layers they write to."""
    import numpy as np

    info = pruned.graph.info
    where = model or opening.reference_of(info.model, "--model")
    dictionary = opening.open_pair(where, name, device=device, threads=threads).dictionary
    if not isinstance(dictionary, transcoders_dictionary.Dictionary):
        raise UsageError("--decoders is for transcoders; neurons have none, leave it out")
    if dictionary.identity.sha256 != info.dictionary.sha256:
        raise UsageError(
            f"--decoders {name} is not the dictionary of this graph, which is "
            f"{info.dictionary.name}"
        )
    nodes, rows = pruned.graph.nodes, grouping.feature_rows(pruned)
    table = np.zeros((len(rows), dictionary.layers[0].b_dec.shape[-1]))
    for layer in dictionary.layers:
        at = np.flatnonzero(nodes.layer[rows] == layer.layer)
        index = devices.on_device(nodes.feature[rows[at]], layer.b_dec.device)
        for written in range(layer.layer, layer.layer + layer.n_written):
            table[at] += devices.as_floats(layer.decoder_rows(index, written))
    return table


def _print(
    pruned: PrunedGraph,
    groups: list[Supernode],
    scores: list[GroupScores],
    figures: dict[str, Figure],
    whole: SupernodeGraph,
    paths: list[GroupPath],
) -> None:
    from rich.text import Text

    if not groups:
        print("No two kept features are alike enough; lower --threshold, or prune less.")
        return
    against: list[RenderableType] = []
    if figures:
        heading = Text("Against random groups of the same sizes", style="bold")
        against = [heading, render_groups.figures_table(figures)]
    print_rich(
        render_groups.group_table(pruned, groups, scores),
        render_groups.members(pruned, groups, width=columns()),
        *against,
        Text("Strongest routes between supernodes", style="bold"),
        render_groups.group_routes(pruned, whole, paths, width=columns()),
    )


def _record(
    pruned: PrunedGraph,
    groups: list[Supernode],
    scores: list[GroupScores],
    figures: dict[str, Figure],
    whole: SupernodeGraph,
    paths: list[GroupPath],
) -> dict[str, Any]:
    """What `--json` prints."""
    names = graphs.node_names(pruned.graph)
    return {
        "supernodes": [
            {
                "name": group.name,
                "nodes": [names[row] for row in group.rows],
                "influence": float(pruned.influence[list(group.rows)].sum()),
                **asdict(score),
            }
            for group, score in zip(groups, scores, strict=True)
        ],
        "figures": {name: asdict(figure) for name, figure in figures.items()},
        "edges": [
            {
                "source": whole.nodes[edge.source].name,
                "target": whole.nodes[edge.target].name,
                "weight": edge.weight,
                "share": edge.share,
                "influence": edge.influence,
            }
            for edge in whole.edges
        ],
        "routes": [
            {
                "nodes": [whole.nodes[node].name for node in path.nodes],
                "up": path.up,
                "down": path.down,
            }
            for path in paths
        ],
    }
