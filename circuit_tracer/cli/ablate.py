"""`circuit-tracer ablate GRAPH`: change what a graph names, and see what the model does."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from circuit_tracer import graphs
from circuit_tracer.cli import options
from circuit_tracer.cli.app import explained
from circuit_tracer.cli.invocation import refuse, refuse_with
from circuit_tracer.cli.options import own
from circuit_tracer.cli.output import print_json, print_rich, progress_line, say
from circuit_tracer.errors import UsageError
from circuit_tracer.graphs import named_tokens
from circuit_tracer.interventions import ablation, plan, selection, spec, steering
from circuit_tracer.render import effects
from circuit_tracer.workbench import opening

if TYPE_CHECKING:
    from collections.abc import Sequence

    from circuit_tracer.graphs import Graph, PrunedGraph
    from circuit_tracer.interventions.ablation import Ablation, Item
    from circuit_tracer.interventions.spec import Change, Mode, Strength, Writes
    from circuit_tracer.workbench.opening import Opened

UNITS = ("--times", "--value", "--of-max")

Times = Annotated[
    float | None,
    own(
        "--times", help="Multiple of the natural activation: 0 ablates, -1 turns round, 2 doubles."
    ),
]
Value = Annotated[float | None, own("--value", help="An activation, in the feature's own units.")]
OfMax = Annotated[
    float | None, own("--of-max", help="Multiple of the feature's maximum, from its card.")
]
Attention = Annotated[
    str | None,
    own("--attention", help="frozen or free; by default free in the free mode alone."),
]
Norms = Annotated[
    str | None,
    own("--norms", help="frozen or free; by default frozen in the direct mode alone."),
]
WritesOption = Annotated[
    str,
    own(
        "--writes",
        help="Cross-layer features: all counts their later decoders also where the MLP there "
        "answers by itself; held leaves them out there.",
    ),
]


@explained
def ablate(
    graph: options.GraphPath,
    features: Annotated[
        list[str] | None,
        own(
            "--features",
            "-f",
            help="L3/117@4, or L3/117 wherever it fires; also L3/error@4 and embedding@4. "
            "Repeatable, or with commas.",
        ),
    ] = None,
    find: Annotated[
        str | None, own("--find", help="Every feature with this text in its label.")
    ] = None,
    route: Annotated[
        int | None, own("--route", min=1, help="What the n-th best route passes; 1 is the best.")
    ] = None,
    top: Annotated[
        int | None, own("--top", min=1, help="So many features of most influence.")
    ] = None,
    together: Annotated[
        bool, own("--together", help="Change all of them at once, instead of one by one.")
    ] = False,
    times: Times = None,
    value: Value = None,
    of_max: OfMax = None,
    mode: Annotated[
        list[str] | None,
        own("--mode", help="direct, constrained or free; repeatable. All three by default."),
    ] = None,
    end_layer: Annotated[
        int | None,
        own(
            "--end-layer",
            help="Constrained: the last layer whose MLP is held; the highest changed by default.",
        ),
    ] = None,
    attention: Attention = None,
    norms: Norms = None,
    writes: WritesOption = "all",
    target: Annotated[
        str | None, own("--target", help="The target of the table; the graph's first by default.")
    ] = None,
    model: options.GraphsModel = None,
    transcoders: options.GraphsTranscoders = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Change features of a graph: the effect on its targets, foretold and measured in each mode."""
    unit, amount = chosen_unit(times, value, of_max, default=("--times", 0.0))
    modes = chosen_modes(mode)
    frozen, frozen_norms = _frozen("--attention", attention), _frozen("--norms", norms)
    where = _writes(writes)
    _check_modes(modes, end_layer, frozen, frozen_norms)

    pruned = graphs.open_graph(graph)
    refuse_with("--target", other="--json, which has all targets", there=json)
    refuse(
        "--writes",
        idle=pruned.graph.info.dictionary.kind != "clt",
        why="on this graph, because its features write to their own layers alone; leave it out",
    )
    which = _target(pruned.graph, target)
    rows, refs = _chosen(pruned, features, find, route, top)
    with progress_line() as report:
        report("opening the model", 0, 0)
        opened, _ = opening.reopen(pruned, model, transcoders, device=device, threads=threads)
        report("running interventions", 0, 0)
        folder = Path(transcoders) if transcoders and Path(transcoders).is_dir() else None
        items = _items(pruned.graph, opened, rows, refs, (unit, amount, folder))
        found = ablation.ablate(
            opened.model,
            opened.dictionary,
            pruned.graph,
            [ablation.item_together(items)] if together else items,
            modes=modes,
            end_layer=end_layer,
            freeze_attention=frozen,
            freeze_norms=frozen_norms,
            writes=where,
        )
    counts_twice = opened.dictionary.kind == "clt" and where == "all" and end_layer is None
    if counts_twice and modes != ["direct"]:
        say(
            "note: where later MLPs are computed anew, they answer to a cross-layer feature while "
            "its own writes there count as well; --writes held leaves those out, --end-layer "
            f"{opened.model.n_layers - 1} holds these MLPs"
        )
    if json:
        print_json(_record(found, unit, amount))
        return
    print_rich(*effects.ablation_table(found, which, how=f"{unit.removeprefix('--')} {amount:g}"))


def chosen_unit(
    times: float | None,
    value: float | None,
    of_max: float | None,
    *,
    default: tuple[str, float],
) -> tuple[str, float]:
    """Which of the three strengths was given; UsageError for several."""
    given = [
        (unit, amount)
        for unit, amount in zip(UNITS, (times, value, of_max), strict=True)
        if amount is not None
    ]
    if len(given) > 1:
        raise UsageError(f"{given[0][0]} and {given[1][0]} exclude each other; give one of them")
    unit, amount = given[0] if given else default
    spec.Strength(amount)  # refuses what overflows before anything is opened
    return unit, amount


def chosen_modes(given: Sequence[str] | None) -> list[Mode]:
    """The modes asked for; all for none."""
    asked = [part.strip() for entry in given or () for part in entry.split(",")]
    for name in asked:
        if name not in spec.MODES:
            raise UsageError(f'unknown mode "{name}"; choose from {", ".join(spec.MODES)}')
    return [mode for mode in spec.MODES if not asked or mode in asked]


def _frozen(flag: str, given: str | None) -> bool | None:
    """Whether attention or norms are held; None leaves it to the mode."""
    if given not in (None, "frozen", "free"):
        raise UsageError(f'{flag} "{given}" is neither frozen nor free')
    return None if given is None else given == "frozen"


def _check_modes(
    modes: list[Mode], end_layer: int | None, frozen: bool | None, frozen_norms: bool | None
) -> None:
    """Refuse options that no mode asked for would heed."""
    if end_layer is not None and "constrained" not in modes:
        raise UsageError("--end-layer is for constrained runs; add --mode constrained")
    for flag, given in (("--attention", frozen), ("--norms", frozen_norms)):
        if given is False and modes == ["direct"]:
            raise UsageError(f"a direct run holds everything; {flag} free is for the other modes")


def _writes(given: str) -> Writes:
    """Where cross-layer features write."""
    if given not in ("all", "held"):
        raise UsageError(f'--writes "{given}" is neither all nor held')
    return "all" if given == "all" else "frozen"


def _target(graph: Graph, text: str | None) -> int:
    """Which target the table is about."""
    return 0 if text is None else named_tokens.named_targets(graph.info, text, "--target")[0]


def _chosen(
    pruned: PrunedGraph,
    features: list[str] | None,
    find: str | None,
    route: int | None,
    top: int | None,
) -> tuple[list[int], list[Change]]:
    """Rows of the node table, and nodes that were typed."""
    refs = [selection.parse_node(name) for name in selection.split_names(features or [])]
    rows: list[int] = []
    if find is not None:
        rows += selection.rows_labelled(pruned.graph, find)
    if route is not None:
        rows += selection.rows_of_route(pruned, route)
    if top is not None:
        rows += selection.rows_of_influence(pruned, top)
    if not rows and not refs:
        raise UsageError(
            "nothing is to be changed; name features (--features L3/117@4), a label (--find "
            "yellow), a route (--route 1) or a number of the most influential (--top 10)"
        )
    return list(dict.fromkeys(rows)), refs


def _items(
    graph: Graph,
    opened: Opened,
    rows: list[int],
    refs: list[Change],
    how: tuple[str, float, Path | None],
) -> list[Item]:
    """One intervention for each of them, each node once; `how` as in `_strengths`."""
    for ref in refs:
        plan.check_node(ref, opened.dictionary)
    nodes = graph.nodes
    pairs = {(ref.layer, ref.feature) for ref in refs if ref.kind == graphs.NodeKind.FEATURE}
    pairs |= {
        (int(nodes.layer[row]), int(nodes.feature[row]))
        for row in rows
        if nodes.kind[row] == graphs.NodeKind.FEATURE
    }
    strengths = _strengths(opened, sorted(pairs), *how)
    unit, amount, _ = how

    def strength(layer: int, feature: int) -> spec.Strength:
        found = strengths.get((layer, feature))
        return found or spec.Strength(amount, is_multiple=unit == "--times")

    items = [ablation.item_named(graph, ref, strength(ref.layer, ref.feature)) for ref in refs]
    named = {row for item in items for row in item.shares or ()}
    items += [
        ablation.item_of(graph, [row], strength(int(nodes.layer[row]), int(nodes.feature[row])))
        for row in rows
        if row not in named
    ]
    return items


def _strengths(
    opened: Opened, pairs: list[tuple[int, int]], unit: str, amount: float, folder: Path | None
) -> dict[tuple[int, int], Strength]:
    """Of every feature, where it depends on the feature: on its card, in the folder if told."""
    if unit != "--of-max":
        return {}
    from circuit_tracer.cli.features import known_features

    known = known_features(opened, pairs, folder)
    return {(one.layer, one.index): steering.strength_of(one, amount, "of-max") for one in known}


def _record(found: Ablation, unit: str, amount: float) -> dict[str, Any]:
    """What `--json` prints."""
    return {
        "strength": {"unit": unit.removeprefix("--"), "amount": amount},
        "targets": [
            {"token": target.token, "position": target.position, "probability": probability}
            for target, probability in zip(found.targets, found.probabilities, strict=True)
        ],
        "top": found.top,
        "interventions": [asdict(row) for row in found.rows],
    }
