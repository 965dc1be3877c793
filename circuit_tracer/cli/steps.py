"""`circuit-tracer steps PROMPT --notes TEXT`: which written steps carried the answer?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from circuit_tracer.cli import invocation, options, reports, trace_options
from circuit_tracer.cli.app import explained, if_interrupted
from circuit_tracer.cli.invocation import refuse_without
from circuit_tracer.cli.options import own
from circuit_tracer.cli.output import progress_line
from circuit_tracer.errors import UsageError
from circuit_tracer.experiments.steps.report import terminal
from circuit_tracer.workbench import stepping


@explained
def steps(
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="Everything before the notes.")],
    notes: Annotated[
        str | None, own("--notes", help="The written notes, up to the answer itself.")
    ] = None,
    generate: Annotated[
        int | None, own("--generate", min=1, help="Let the model write that many tokens of notes.")
    ] = None,
    until: Annotated[
        str | None,
        own("--until", help="Words that end generated notes: the answer comes after them."),
    ] = None,
    answer: options.Answer = None,
    against: options.Rival = None,
    split: options.StepSplit = "sentence",
    watch: Annotated[
        list[str] | None,
        own("--watch", help="NAME=REGEX: a span of the prompt to watch; its value is the group."),
    ] = None,
    decided: Annotated[
        list[str] | None,
        own("--decided", help="A word of the notes, or @position, to follow back; repeatable."),
    ] = None,
    coverage: Annotated[
        float,
        own(
            "--coverage",
            help="Of long notes (64 tokens or more): how much of the answer is followed back.",
        ),
    ] = 0.95,
    check: Annotated[
        bool,
        own("--check", help="Swap values in the top steps and watched spans, and run it again."),
    ] = False,
    exact: Annotated[
        bool,
        own("--exact", help="Full graphs of answer and top steps, and why the answer looks there."),
    ] = False,
    chat: trace_options.Chat = False,
    system: trace_options.System = None,
    model: options.Model = "sprout",
    transcoders: options.Transcoders = None,
    transcoders_format: options.TranscodersFormat = None,
    out: options.ReportsOut = Path("outputs"),
    device: options.Device = "auto",
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Which written steps carried the answer, and what did they draw on? Writes steps.json."""
    if (notes is None) == (generate is None):
        raise UsageError("give the notes by --notes, or --generate to let the model write them")
    refuse_without("--until", needed="--generate", there=generate is not None)
    reports.check_alone("steps", out)
    watched = stepping.watch_of(watch)
    with if_interrupted("nothing was written"), progress_line() as report:
        opened = reports.opened(report)
        if notes is None:
            report("writing notes", 0, 0)
            notes = stepping.notes_written(
                opened, prompt, generate or 0, until, chat=chat, system=system
            )
        report("following the answer back", 0, 0)
        found = invocation.as_asked(
            stepping.trace_steps,
            opened,
            prompt,
            notes,
            watch=watched,
            decided=decided or (),
            exact=out if exact else None,
            on_progress=report,
        )
        folder, files = stepping.write_steps(found, out)
    files += [one.folder for one in found.exact]
    reports.show(found, terminal.page, folder, files, json)
