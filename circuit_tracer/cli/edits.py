"""`circuit-tracer edits PROMPT|SPEC`: which words decide, and along which routes?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from circuit_tracer import bundled
from circuit_tracer.cli import completion, invocation, options, reports, trace_options
from circuit_tracer.cli.app import explained, if_interrupted
from circuit_tracer.cli.invocation import refuse_with
from circuit_tracer.cli.options import own
from circuit_tracer.cli.output import progress_line
from circuit_tracer.experiments.edits import run
from circuit_tracer.experiments.edits.report import terminal
from circuit_tracer.workbench import editing


@explained
def edits(
    prompt: Annotated[
        str,
        typer.Argument(
            metavar="PROMPT|SPEC",
            autocompletion=completion.offered(bundled.shipped_edits),
            help="A prompt; or a spec in TOML, or one that ships: edits-speaker, edits-right, "
            "edits-conflict.",
        ),
    ],
    edit: Annotated[
        list[str] | None,
        own("--edit", help="OLD=>NEW, an edit of your own; without NEW it deletes; repeatable."),
    ] = None,
    add: Annotated[
        list[str] | None,
        own("--add", help="A clause to put before each clause in turn; repeatable."),
    ] = None,
    answer: options.Answer = None,
    against: Annotated[
        str | None,
        own("--against", help="Its rival; by default what edited prompts say, or the runner-up."),
    ] = None,
    vocabulary: Annotated[
        str | None,
        own(
            "--vocabulary",
            autocompletion=completion.offered(bundled.shipped_words),
            help="Word classes to replace words by: one a line, TOML (speakers = [...]), or "
            "words-sprout, which ships.",
        ),
    ] = None,
    replacements: Annotated[
        int, own("--replacements", min=0, help="Words tried in each word's place.")
    ] = 3,
    split: Annotated[
        str, own("--split", help="What is left out: clause, sentence, line, or a regex.")
    ] = "clause",
    graphs: Annotated[
        int | None,
        own("--graphs", min=0, help="Edits to trace, 2; of a spec, items of each family, 1."),
    ] = None,
    chat: trace_options.Chat = False,
    system: trace_options.System = None,
    max_feature_nodes: trace_options.MaxFeatureNodes = None,
    model: options.ModelOrAsked = None,
    transcoders: options.Transcoders = None,
    transcoders_format: options.TranscodersFormat = None,
    out: options.ReportsOut = Path("outputs"),
    device: options.Device = "auto",
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Which words of a prompt decide the answer, and along which routes? Writes edits.json."""
    reports.check_alone("edits", out)
    spec = editing.spec_of(prompt)
    refuse_with("--replacements", "--split", other="a spec", there=spec is not None)
    refuse_with("--max-feature-nodes", other="--graphs 0", there=graphs == 0)
    asked = invocation.as_asked(
        run.EditSettings,
        given=tuple(edit or ()),
        added=tuple(add or ()),
        classes=() if vocabulary is None else editing.read_classes(vocabulary),
    )
    name = model or (bundled.DEFAULT_MODEL if spec is None else spec.model)
    with if_interrupted("nothing was written"), progress_line() as report:
        opened = reports.opened(report, model=name)
        found = editing.find(opened, prompt, spec, asked, report)
        folder, files = found.write(out)
    reports.show(found.report, terminal.page, folder, files, json)
