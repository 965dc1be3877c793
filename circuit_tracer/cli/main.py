"""The command `circuit-tracer`: its commands, and the one place they are run from."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import Annotated, Any

import typer

from circuit_tracer import __version__, interrupts
from circuit_tracer.cli.deferred import deferred
from circuit_tracer.errors import CircuitTracerError, UsageError, reason

with deferred():
    from circuit_tracer.cli import (
        ablate,
        batch,
        circuit,
        compare,
        diff,
        dissociate,
        doctor,
        edits,
        examples,
        features,
        heads,
        invocation,
        models,
        monitor,
        panels,
        paths,
        qk,
        reading,
        render,
        runs,
        steer,
        steps,
        supernodes,
        trace,
        transcoders,
        trust,
        view,
    )
    from circuit_tracer.cli.app import fail
    from circuit_tracer.cli.config_file import check_environment, file_defaults
    from circuit_tracer.cli.options import option
    from circuit_tracer.cli.refusal import Refused, refusal
    from circuit_tracer.cli.streams import close, prepare_streams, survive_broken_pipes
    from circuit_tracer.cli.wording import show_notes

app = typer.Typer(
    name="circuit-tracer",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Exact attribution graphs of language models: trace a prompt, read the graph, check it.",
    epilog=(
        "Most options can also be set by an environment variable (CIRCUIT_TRACER_MODEL, ...) or "
        "in circuit-tracer.toml; a flag wins over both."
    ),
)


def print_version(asked: bool) -> bool:
    """What `--version` does, before any command is looked for."""
    if asked:
        print(f"circuit-tracer {__version__}")
        raise typer.Exit
    return asked


ANYWHERE = ("debug", "quiet", "verbose", "version")
"""Options that may stand before the command as well as after it."""


@app.callback()
def main_options(
    debug: Annotated[
        bool,
        option("--debug", help="Show tracebacks.", callback=invocation.on_debug),
    ] = False,
    quiet: Annotated[
        bool,
        option(
            "--quiet",
            "-q",
            help="No progress and no notes on stderr, errors alone.",
            callback=invocation.on_quiet,
        ),
    ] = False,
    verbose: Annotated[
        bool,
        option(
            "--verbose",
            "-v",
            help="Versions, settings and the time of every stage on stderr.",
            callback=invocation.on_verbose,
        ),
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", is_eager=True, callback=print_version),
    ] = False,
) -> None:
    """Options that all commands take, before the command or after it."""


for command in (
    *(trace.trace, batch.batch, reading.show, paths.paths, heads.heads, qk.qk, render.render),
    *(render.figure, view.view, reading.export, reading.prune, supernodes.supernodes),
    *(compare.compare, ablate.ablate, steer.steer, trust.trust, dissociate.dissociate),
    *(diff.diff, steps.steps, circuit.circuit, monitor.monitor, edits.edits),
):
    app.command()(command)
for name, group in (
    *(("features", features), ("models", models)),
    *(("transcoders", transcoders), ("runs", runs)),
):
    app.add_typer(group.app, name=name)
app.command()(doctor.doctor)


@cache
def tree() -> Any:
    """The commands as they are run; made once, which takes as long as a small command."""
    root: Any = invocation.everywhere(typer.main.get_command(app), ANYWHERE)
    panels.arrange(root)
    examples.add(root)
    return root


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exits with 0 done, 1 failed, 2 usage, 130 interrupted."""
    if arguments is None:
        arguments = _of_process()
    code, problem = 1, None
    try:
        code = _run(arguments)
    except typer.Exit as stop:
        code = stop.exit_code
    except OSError as error:  # help that cannot be printed
        problem = error
    problem = close() or problem
    if problem is not None:
        code = 1
        with suppress(OSError):
            print(f"error: the output cannot be written ({reason(problem)})", file=sys.stderr)
            sys.stderr.flush()
    sys.exit(code)


def _of_process() -> list[str]:
    """The words this process was called with; nothing else of it shall read them, as nnsight would.

    Ctrl-C and readers that leave are this process's own affair, too.
    """
    arguments = sys.argv[1:]
    sys.argv = sys.argv[:1]
    interrupts.answer()
    survive_broken_pipes()
    return arguments


def _run(arguments: Sequence[str]) -> int:
    """The exit code of a command; what cannot be run is answered with one sentence."""
    prepare_streams()
    command = tree()
    defaults: dict[str, Any] = {}
    problem: CircuitTracerError | None = None
    try:
        check_environment(command, os.environ)
        defaults = file_defaults(command)
    except CircuitTracerError as error:
        problem = error
    invocation.begin(problem)
    show_notes()
    # SIGTERM unwinds like an exception, so that nothing half-written is left.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        code = command(
            list(arguments), default_map=defaults, prog_name="circuit-tracer", standalone_mode=False
        )
    except CircuitTracerError as error:
        fail(str(error), error.exit_code)
    except Refused as error:
        if said := refusal(error, command, arguments):
            fail(said if problem is None else str(problem), UsageError.exit_code)
        return UsageError.exit_code  # the help has been printed
    return int(code or 0)


if __name__ == "__main__":
    main()
