"""The command `circuit-tracer`: its commands, and the one place they are run from."""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

from circuit_tracer.cli import (
    ablate,
    batch,
    compare,
    dissociate,
    doctor,
    features,
    heads,
    models,
    paths,
    qk,
    reading,
    render,
    runs,
    steer,
    supernodes,
    trace,
    transcoders,
    trust,
    view,
)
from circuit_tracer.cli.app import ENVIRONMENT, fail, set_debug
from circuit_tracer.cli.config_file import file_defaults
from circuit_tracer.cli.refusal import Refused, refusal
from circuit_tracer.cli.streams import prepare_streams
from circuit_tracer.errors import CircuitTracerError, UsageError

app = typer.Typer(
    name="circuit-tracer",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Exact attribution graphs of language models: trace a prompt, read the graph, check it.",
    epilog=(
        "Most options can also be set by an environment variable (CIRCUIT_TRACER_MODEL, ...) or "
        "in circuit-tracer.toml; a flag wins over both."
    ),
)


def print_version(asked: bool) -> bool:
    """What `--version` does, before any command is looked for."""
    if asked:
        from circuit_tracer import __version__

        print(f"circuit-tracer {__version__}")
        raise typer.Exit
    return asked


@app.callback()
def main_options(
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Show tracebacks.", envvar=f"{ENVIRONMENT}DEBUG"),
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", is_eager=True, callback=print_version),
    ] = False,
) -> None:
    """Options that stand before the command."""
    set_debug(debug)


app.command()(trace.trace)
app.command()(batch.batch)
app.command()(reading.show)
app.command()(paths.paths)
app.command()(heads.heads)
app.command()(qk.qk)
app.command()(render.render)
app.command()(render.figure)
app.command()(view.view)
app.command()(reading.export)
app.command()(reading.prune)
app.command()(supernodes.supernodes)
app.command()(compare.compare)
app.command()(ablate.ablate)
app.command()(steer.steer)
app.command()(trust.trust)
app.command()(dissociate.dissociate)
app.add_typer(features.app, name="features")
app.add_typer(models.app, name="models")
app.add_typer(transcoders.app, name="transcoders")
app.add_typer(runs.app, name="runs")
app.command()(doctor.doctor)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exits with 0 done, 1 failed, 2 usage, 130 interrupted."""
    try:
        code = _run(sys.argv[1:] if arguments is None else arguments)
    except typer.Exit as stop:
        code = stop.exit_code
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    """The exit code of a command; what cannot be run is told in one sentence."""
    prepare_streams()
    command = typer.main.get_command(app)
    try:
        defaults = file_defaults(command)
    except CircuitTracerError as error:
        fail(str(error), error.exit_code)
    # SIGTERM unwinds like an exception, so that nothing half-written stays behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        code = command(
            arguments, default_map=defaults, prog_name="circuit-tracer", standalone_mode=False
        )
    except Refused as error:
        if said := refusal(error, command, arguments):
            fail(said, UsageError.exit_code)
        return UsageError.exit_code  # the help has been printed
    except OSError as error:  # help that cannot be printed
        fail(error.strerror or str(error), 1)
    return int(code or 0)


if __name__ == "__main__":
    main()
