"""What the tool writes for every shipped prompt, kept and compared: does changed code change it?

    python -m benchmarks.outputs write FOLDER               trace, export, trust and draw everything
    python -m benchmarks.outputs compare FOLDER OTHER       what differs, file by file

`compare` reads JSON and Parquet as values and SVG, Markdown and HTML as text; settings of time,
version and place are left out. Words may change between two versions, numbers and shapes may not:
with `--numbers` only the numbers of SVG and text files are compared.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.prompts import prompts
from circuit_tracer.cli.main import main as command

FORMATS = ("json", "svg", "graphml", "gexf", "dot", "csv")
VOLATILE = {
    "create_time_ms",
    "seconds",
    "versions",
    "version",
    "generator",
    "source",
    "place",
    "path",
}
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")


def run(*arguments: str) -> None:
    """One command in this process, its output thrown away."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            command(list(arguments))
        except SystemExit as stop:
            if stop.code:
                raise RuntimeError(f"{' '.join(arguments)}: exit {stop.code}") from stop


def write(folder: Path, every: int) -> None:
    """Trace every `every`-th prompt; every tenth of those with its full report and page."""
    for number, (_, record) in enumerate(prompts()[::every]):
        place = str(folder / f"{number:03d}")
        run("trace", record["prompt"], "--out", place, "--overwrite", "--slug", "graph")
        graph = str(
            next(p for p in (Path(place), Path(place) / "graph") if (p / "trace.json").exists())
        )
        if number % 10 == 0:
            run("trust", graph, "--overwrite")
            run("heads", graph, "--save")
            run("supernodes", graph, "--out", f"{graph}/supernodes.toml", "--overwrite")
            run(
                "render", graph, "--level", "supernodes", "-o", f"{graph}/groups.svg", "--overwrite"
            )
            run("render", graph, "--routes", "3", "-o", f"{graph}/routes.svg", "--overwrite")
            run("view", graph, "--no-browser", "--out", f"{graph}/page.html", "--overwrite")
        print(f"{number + 1}: {record['prompt']}", file=sys.stderr)
    run("dissociate", "bananas", "--quick", "--out", str(folder / "dissociation"), "--overwrite")


def values(path: Path, *, numbers: bool) -> Any:
    """What a file holds, in a form that can be compared."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        return pq.read_table(path).to_pydict()
    if path.suffix == ".json":
        return stable(json.loads(path.read_text(encoding="utf-8")))
    text = path.read_text(encoding="utf-8")
    return Counter(NUMBER.findall(text)) if numbers else text.splitlines()


def stable(value: Any) -> Any:
    """JSON without what depends on the time, the version and the place."""
    if isinstance(value, dict):
        return {k: stable(v) for k, v in value.items() if k not in VOLATILE}
    return [stable(v) for v in value] if isinstance(value, list) else value


def differences(first: Path, second: Path, *, numbers: bool) -> Iterator[str]:
    """One line a file that is missing or differs."""
    names = {
        p.relative_to(root) for root in (first, second) for p in root.rglob("*") if p.is_file()
    }
    for name in sorted(names):
        one, other = first / name, second / name
        if not (one.exists() and other.exists()):
            yield f"{name}: only in {first if one.exists() else second}"
        elif one.read_bytes() != other.read_bytes() and values(one, numbers=numbers) != values(
            other, numbers=numbers
        ):
            yield f"{name}: differs"


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Write all outputs, or compare two sets of them.")
    parser.add_argument("what", choices=("write", "compare"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("other", type=Path, nargs="?")
    parser.add_argument("--every", type=int, default=1, help="of the shipped prompts")
    parser.add_argument("--numbers", action="store_true", help="of text and SVG, numbers alone")
    options = parser.parse_args()
    if options.what == "write":
        write(options.folder, options.every)
        return
    found = list(differences(options.folder, options.other, numbers=options.numbers))
    print("\n".join(found) or "no difference")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
