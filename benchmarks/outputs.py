"""What the tool writes and prints for every shipped prompt, kept and compared.

    python -m benchmarks.outputs write FOLDER               trace, export, trust and draw everything
    python -m benchmarks.outputs compare FOLDER OTHER       the kinds of difference, with examples

How to run it on two versions and what is compared: benchmarks/outputs.md. What a difference is:
benchmarks/differences.py.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
import time
from pathlib import Path

from benchmarks.differences import WRONG, differences, report
from benchmarks.prompts import ROOT, prompts
from circuit_tracer.cli.main import main as command

FORMATS = ("json", "svg", "graphml", "gexf", "node-link", "dot", "csv")
REPORTED = 10
"""Every so many-th prompt gets the commands that take long."""
SPECS = ("bananas", "capitals", "opposites", "two-pages")
PROMPT, FEATURE = "a banana is", "L5/885"


def run(*arguments: str | Path, printed: Path | None = None) -> None:
    """One command in this process; what it prints goes into a file, if one is given."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        try:
            command([str(one) for one in arguments])
        except SystemExit as stop:
            if stop.code:
                raise RuntimeError(
                    f"{' '.join(map(str, arguments))}: exit {stop.code}: {stderr.getvalue()}"
                ) from stop
    if printed is not None:
        printed.parent.mkdir(parents=True, exist_ok=True)
        text = stdout.getvalue().replace(str(printed.parent.parent), "PLACE")
        printed.write_text(text, encoding="utf-8")


def write_graph(place: Path, prompt: str) -> None:
    """Trace one prompt with every format and read it with the fast commands."""
    formats = [word for name in FORMATS for word in ("--format", name)]
    run("trace", prompt, "--out", place, "--slug", "graph", "--overwrite", "--heads", *formats)
    graph, printed = place / "graph", place / "printed"
    run("show", graph, printed=printed / "show.txt")
    run("show", graph, "--json", printed=printed / "show.json")
    run("paths", graph, "--json", printed=printed / "paths.json")


def write_reports(place: Path) -> None:
    """Read, group, draw and test the graph of one prompt with every command that takes one."""
    graph, printed = place / "graph", place / "printed"
    run("heads", graph, "--json", printed=printed / "heads.json")
    run("trust", graph, "--overwrite", printed=printed / "trust.txt")
    run("ablate", graph, "--top", "5", "--json", printed=printed / "ablate.json")
    groups = graph / "supernodes.toml"
    run("supernodes", graph, "--out", groups, "--overwrite", printed=printed / "supernodes.txt")
    run("render", graph, "--level", "supernodes", "-o", place / "groups.svg", "--overwrite")
    run("render", graph, "--routes", "3", "-o", place / "routes.svg", "--overwrite")
    run("view", graph, "--no-browser", "--out", place / "page.html", "--overwrite")
    run("compare", graph, graph, "--json", printed=printed / "compare.json")


def write(folder: Path, every: int) -> None:
    """Everything for every `every`-th prompt, a run of each prompt file, and the experiments."""
    os.chdir(ROOT)  # names of prompt files are the same whichever folder this is run in
    for number, (kind, record) in enumerate(prompts()[::every]):
        place = folder / f"{number:03d}-{kind}"
        write_graph(place, record["prompt"])
        if number % REPORTED == 0:
            write_reports(place)
        print(f"{number + 1}: {record['prompt']}", file=sys.stderr)
    for kind in sorted({kind for kind, _ in prompts()}):
        run("batch", kind, "--out", folder / "runs", "--name", kind, "--heads", "--overwrite")
        run("runs", "show", folder / "runs" / kind, printed=folder / "printed" / f"run-{kind}.txt")
        print(f"run {kind}", file=sys.stderr)
    printed = folder / "printed"
    run("steer", "--prompt", PROMPT, "--feature", FEATURE, "--json", printed=printed / "steer.json")
    for spec in SPECS:
        run("dissociate", spec, "--quick", "--out", folder / "dissociation", "--overwrite")
        print(f"dissociate {spec}", file=sys.stderr)


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Write all outputs, or compare two sets of them.")
    parser.add_argument("what", choices=("write", "compare"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("other", type=Path, nargs="?")
    parser.add_argument("--every", type=int, default=1, help="of the shipped prompts")
    parser.add_argument(
        "--words", action="store_true", help="list changes of rounding, words and drawing, too"
    )
    options = parser.parse_args()
    if options.what == "write":
        started = time.monotonic()
        write(options.folder.resolve(), options.every)
        print(f"written in {(time.monotonic() - started) / 60:.0f} minutes", file=sys.stderr)
        return
    if options.other is None:
        parser.error("compare needs two folders")
    found = differences(options.folder, options.other)
    print(report(found, words=options.words))
    sys.exit(any(one.kind in WRONG for one in found))


if __name__ == "__main__":
    main()
