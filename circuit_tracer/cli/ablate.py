"""`circuit-tracer ablate GRAPH`: change what a graph names, and see what the model does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from circuit_tracer import graphs
from circuit_tracer.cli import options
from circuit_tracer.cli.app import explained
from circuit_tracer.cli.invocation import refuse, refuse_with
from circuit_tracer.cli.options import own
from circuit_tracer.cli.output import print_json, print_rich
from circuit_tracer.cli.reopened import reopened
from circuit_tracer.errors import one_of
from circuit_tracer.graphs import named_tokens
from circuit_tracer.interventions import ablation, selection, spec
from circuit_tracer.render import effects
from circuit_tracer.workbench import feature_edits

if TYPE_CHECKING:
    from circuit_tracer.interventions.spec import Mode, Writes

WRITES: dict[str, Writes] = {"all": "all", "frozen": "frozen", "held": "frozen"}
"""What `--writes` takes. The last is the older name of frozen."""

Times = Annotated[
    float | None,
    own(
        "--times",
        help="Multiple of the natural activation: 0, the default, ablates, -1 turns round, 2 "
        "doubles.",
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
        "responds by itself; frozen leaves them out there.",
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
        own(
            "--mode",
            values=lambda: spec.MODES,
            help="direct, constrained or free; repeatable. All three by default.",
        ),
    ] = None,
    end_layer: Annotated[
        int | None,
        own(
            "--end-layer",
            help="Constrained: the last layer whose MLP is frozen; the highest changed by default.",
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
    """Change features of a graph: the effect on its targets, predicted and measured by mode.

    With --transcoders SET of a sparse autoencoder of the residual stream, --features are its own:
    the graph gives the prompt and the targets, and predicts nothing.
    """
    unit, amount = spec.one_strength(times, value, of_max, default=("times", 0.0))
    modes = chosen_modes(mode)
    kept_attention, kept_norms = _is_frozen("--attention", attention), _is_frozen("--norms", norms)
    where = WRITES[one_of("--writes", writes, tuple(WRITES))]
    ablation.check_modes(modes, end_layer, kept_attention, kept_norms)
    pruned = graphs.open_graph(graph)
    refuse_with("--target", other="--json, which has all targets", there=json)
    refuse(
        "--writes",
        idle=pruned.graph.info.dictionary.kind != "clt",
        why="on this graph, because its features write to their own layers alone; leave it out",
    )
    targets = [0]
    if target is not None:
        targets = named_tokens.named_targets(pruned.graph.info, target, "--target")
    named, rows = selection.chosen_nodes(pruned, features or (), find=find, route=route, top=top)
    with reopened(pruned, "running interventions", instead=("sae",)) as opened:
        items = feature_edits.chosen_items(
            opened, pruned, named, rows, unit=unit, amount=amount, together=together
        )
        found = ablation.ablate(
            opened.model,
            opened.dictionary,
            pruned.graph,
            items,
            modes=modes,
            end_layer=end_layer,
            freeze_attention=kept_attention,
            freeze_norms=kept_norms,
            writes=where,
        )
    if json:
        print_json({"strength": {"unit": unit, "amount": amount}, **found.record()})
        return
    print_rich(*effects.ablation_table(found, targets[0], how=f"{unit} {amount:g}"))


def chosen_modes(given: Sequence[str] | None) -> list[Mode]:
    """The modes asked for, in their own order; all for none."""
    asked = [one_of("--mode", name, spec.MODES) for name in selection.split_names(given or ())]
    return [mode for mode in spec.MODES if not asked or mode in asked]


def _is_frozen(flag: str, given: str | None) -> bool | None:
    """Whether attention or norms are frozen; None leaves it to the mode."""
    return None if given is None else one_of(flag, given, ("frozen", "free")) == "frozen"
