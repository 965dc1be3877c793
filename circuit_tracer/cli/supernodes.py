"""`supernodes`: group the features of a traced graph that do the same, and keep the groups."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from circuit_tracer import graphs
from circuit_tracer.cli import options
from circuit_tracer.cli.app import explained
from circuit_tracer.cli.invocation import refuse_with, refuse_without
from circuit_tracer.cli.options import own
from circuit_tracer.cli.output import columns, print_json, print_rich
from circuit_tracer.cli.reopened import reopened
from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.supernodes import file, scores
from circuit_tracer.interventions import coherence
from circuit_tracer.render import groups
from circuit_tracer.workbench import card_readings

if TYPE_CHECKING:
    from circuit_tracer.graphs.graph import Floats


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

    def effects() -> dict[int, Floats]:
        with reopened(pruned, "ablating every kept feature") as opened:
            return coherence.ablation_effects(opened.model, opened.dictionary, pruned)

    readings, written = card_readings.readings_of(pruned, cards), None
    if decoders is not None:
        written = card_readings.decoders_of(pruned, decoders, model, device=device, threads=threads)
    found = scores.scored_groups(
        pruned,
        edited,
        threshold=threshold,
        same_position=not across,
        readings=readings,
        decoders=written,
        effects=effects if causal else None,
        k=k,
        seed=seed,
    )
    if out is not None:
        file.write_supernodes(pruned, found.groups, out, overwrite=overwrite)
    if json:
        print_json(found.record())
        return
    if found.groups:
        print_rich(*groups.page(found, width=columns()))
    else:
        print("No two kept features are alike enough; lower --threshold, or prune less.")
    print(f"\n{out}" if out else f"\nKeep them with --out {graph / 'supernodes.toml'}")
