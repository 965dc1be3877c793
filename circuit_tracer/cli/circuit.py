"""`circuit-tracer circuit PROMPT|GRAPH`: how little of the model is enough for this answer?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from circuit_tracer import bundled
from circuit_tracer.cli import invocation, options, reports, trace_options
from circuit_tracer.cli.app import explained, if_interrupted
from circuit_tracer.cli.options import own
from circuit_tracer.cli.output import print_json, print_rich, progress_line
from circuit_tracer.experiments.circuit import results, run, terminal
from circuit_tracer.workbench import circuiting, opening

OF_A_SEARCH = (
    *("--task", "--answer", "--against", "--chat", "--system", "--basis", "--ablation"),
    *("--reference", "--contrast-prompt", "--keep", "--kl", "--by", "--random", "--seed"),
    *("--model", "--transcoders", "--transcoders-format", "--out", "--overwrite", "--device"),
    "--threads",
)
"""Options without a meaning for circuits that are there."""


@explained
def circuit(
    prompt: Annotated[
        str | None,
        typer.Argument(
            metavar="[PROMPT|GRAPH]",
            help="The prompt whose answer is kept; or a traced graph of it.",
        ),
    ] = None,
    other: Annotated[
        Path | None,
        typer.Argument(
            metavar="[OTHER]", help="Of two written circuits the second: shown side by side."
        ),
    ] = None,
    task: Annotated[
        str | None,
        own(
            "--task",
            help="A prompt file: one circuit for every second prompt, checked on the others.",
        ),
    ] = None,
    answer: options.Answer = None,
    against: Annotated[
        str | None, own("--against", help="The token it is compared with; the runner-up.")
    ] = None,
    chat: trace_options.Chat = False,
    system: trace_options.System = None,
    basis: Annotated[
        str,
        own("--basis", values=lambda: results.BASES, help="What the circuit is made of."),
    ] = "neurons+attention",
    ablation: Annotated[
        str,
        own("--ablation", values=lambda: results.ABLATIONS, help="What the rest is set to."),
    ] = "mean",
    reference: Annotated[
        Path | None,
        own("--reference", help="Text that means are taken over; a bundled model has its own."),
    ] = None,
    contrast_prompt: Annotated[
        str | None,
        own("--contrast-prompt", help="With resample: a prompt of as many tokens to take from."),
    ] = None,
    keep: Annotated[
        float | None, own("--keep", help="Share of the logit difference to keep; .8 by default.")
    ] = None,
    kl: Annotated[
        float | None, own("--kl", help="In its place: most nats from the whole model.")
    ] = None,
    by: Annotated[
        str,
        own("--by", values=lambda: results.BYS, help="How components are first ranked."),
    ] = "gradient",
    random: Annotated[
        int, own("--random", min=1, help="Random sets of its size to compare with.")
    ] = 20,
    seed: Annotated[int, own("--seed", help="Of the random sets.")] = 0,
    model: options.ModelOrAsked = None,
    transcoders: options.Transcoders = None,
    transcoders_format: options.TranscodersFormat = None,
    out: options.ReportsOut = Path("outputs"),
    overwrite: options.Overwrite = False,
    device: options.Device = "auto",
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """How little of the model is enough for this answer? Writes circuit.json and its graph.

    Of two written circuits, `circuit A B` shows the sizes side by side; `view` and `compare` show
    their graphs.
    """
    if other is not None:
        invocation.refuse_with(*OF_A_SEARCH, other="two circuits", there=other)
        two = [circuiting.read_circuit(Path(one)) for one in (prompt or "", other)]
        if json:
            print_json(two)
        else:
            print_rich(*terminal.side_by_side(two))
        return
    settings = invocation.as_asked(run.CircuitSettings)
    reports.check_alone("circuit", out)
    given = circuiting.basis_transcoders(basis, transcoders)
    pruned = circuiting.graph_named(prompt)
    invocation.refuse_with("--transcoders-format", other="a graph", there=pruned)
    with if_interrupted("nothing was written"), progress_line() as report:
        if pruned is None:
            name = model or bundled.DEFAULT_MODEL
            opened = reports.opened(report, model=name, transcoders=given)
        else:
            report("opening the model", 0, 0)
            opened, _ = opening.reopen(
                pruned, model, given, device=device, threads=threads, instead=("neurons",)
            )
        report("asking the whole model", 0, 0)
        found_with, others = circuiting.asked_of(
            opened, pruned or prompt, task, answer, against, chat=chat, system=system
        )
        folder = circuiting.folder_of(opened, [*found_with, *others], settings, out, overwrite)
        found = circuiting.look_for(
            opened,
            found_with,
            others,
            settings,
            on_progress=lambda stage, size: report(f"{stage} ({size:,})", 0, 0),
        )
        files = circuiting.write_circuit(found, folder, overwrite=overwrite)
    reports.show(found.report, terminal.page, folder, files, json)
