"""`python -m circuit_tracer`, and what the installed command calls.

Ctrl-C has an answer before anything is imported: the commands take a sixth of a second, what they
need some seconds.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from circuit_tracer import __version__, interrupts


def main() -> None:
    """Run the command line and exit with its code."""
    interrupts.answer()
    try:
        run = _command_line()
        run()
    except SystemExit:
        interrupts.closing()
        raise
    except BaseException:
        if not interrupts.came():
            raise
        print("error: interrupted", file=sys.stderr)
        interrupts.closing()
        sys.exit(interrupts.INTERRUPTED)


def _command_line() -> Callable[[], None]:
    """What runs the commands; where a package they need is missing or broken, one sentence."""
    try:
        from circuit_tracer.cli.main import main as run
    except Exception as error:
        if interrupts.came():
            raise
        if "--version" in sys.argv[1:]:
            print(f"circuit-tracer {__version__}")
            sys.exit(0)
        print(
            f"error: the command line cannot be loaded ({type(error).__name__}: {error}); install "
            "circuit-tracer-cli with its dependencies again",
            file=sys.stderr,
        )
        sys.exit(1)
    return run


if __name__ == "__main__":
    main()
