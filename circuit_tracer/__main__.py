"""`python -m circuit_tracer`, and what the installed command calls.

Ctrl-C has an answer before anything is imported: the commands take a sixth of a second, what they
need some seconds.
"""

from __future__ import annotations

import sys

from circuit_tracer import interrupts


def main() -> None:
    """Run the command line and exit with its code."""
    interrupts.answer()
    try:
        from circuit_tracer.cli.main import main as run

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


if __name__ == "__main__":
    main()
