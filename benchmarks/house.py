"""How large the house is: lines, files, functions, late imports, duplicated blocks.

    python -m benchmarks.house [--json] [--entered]

Reads the sources of `circuit_tracer/` as text and as syntax trees; nothing is imported.
`--entered` also runs `circuit-tracer trace` and counts the files whose functions are entered
before the sweep starts: how many rooms a newcomer walks through to follow a prompt.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import inspect
import io
import json
import statistics
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "circuit_tracer"
SUFFIXES = (".py", ".js", ".css", ".html")
BLOCK = 6
"""Lines that make a duplicated block."""
COMMAND_LINE_OPTIONS = "cli"
"""Commands list their options in their signatures: only their bodies count."""


@dataclass(frozen=True)
class Function:
    """One function or method."""

    name: str
    """file:function."""
    lines: int
    """From `def` to the last line; of a command, from the first line of its body."""


@dataclass(frozen=True)
class House:
    """What is counted."""

    lines: dict[str, int]
    """Per package: Python, JavaScript, CSS and HTML."""
    total_lines: int
    files: int
    files_above_350: list[str]
    functions: int
    function_median: float
    function_p90: float
    functions_above_60: list[str]
    late_imports: int
    """`import` statements inside functions."""
    duplicated_lines: int
    """Lines in blocks of six and more that stand in two places, blank, comment and import lines
    not counted."""
    entered: int | None
    """Files whose functions `trace` enters before the sweep."""


def sources() -> list[Path]:
    """Every source file of the package."""
    return sorted(p for p in PACKAGE.rglob("*") if p.suffix in SUFFIXES)


def functions(path: Path, tree: ast.Module) -> Iterator[Function]:
    """Every function and method of a file, nested ones with their outer one."""
    name = path.relative_to(PACKAGE).as_posix()
    in_cli = name.startswith(COMMAND_LINE_OPTIONS)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            is_command = in_cli and len(node.args.args) + len(node.args.kwonlyargs) > 3
            start = node.body[0].lineno if is_command else node.lineno
            yield Function(f"{name}:{node.name}", (node.end_lineno or start) - start + 1)


def late_imports(tree: ast.Module) -> int:
    """Import statements within functions."""
    found: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found |= {n for n in ast.walk(node) if isinstance(n, ast.Import | ast.ImportFrom)}
    return len(found)


def duplicated_lines(paths: list[Path]) -> int:
    """Lines that belong to a block that stands in two places."""
    blocks: defaultdict[tuple[str, ...], list[tuple[Path, int]]] = defaultdict(list)
    for path in paths:
        kept = [
            line.strip()
            for line in path.read_text(encoding="utf-8").splitlines()
            if len(line.strip()) > 3 and not line.strip().startswith(("#", "import ", "from "))
        ]
        for start in range(len(kept) - BLOCK + 1):
            blocks[tuple(kept[start : start + BLOCK])].append((path, start))
    twice = [places for places in blocks.values() if len(places) > 1]
    return len({(p, at + i) for places in twice for p, at in places for i in range(BLOCK)})


def entered_files() -> int:
    """Files of the package with a function that `trace` calls before the first row is swept."""
    from circuit_tracer.cli.main import main

    sweep = str(PACKAGE / "attribution" / "sweep.py")
    seen: set[str] = set()

    def is_importing(frame: Any) -> bool:
        """Whether a module's body, not the trace, is what called this."""
        while frame is not None and frame.f_code is not main.__code__:
            if frame.f_code.co_name == "<module>":
                return True
            frame = frame.f_back
        return False

    def note(frame: Any, event: str, _: Any) -> None:
        file = frame.f_code.co_filename
        if event != "call" or not frame.f_code.co_flags & inspect.CO_OPTIMIZED:
            return  # the body of a module or a class
        if (file, frame.f_code.co_name) == (sweep, "walk"):
            sys.setprofile(None)
        elif file.startswith(str(PACKAGE)) and not is_importing(frame):
            seen.add(file)

    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.suppress(SystemExit),
    ):
        sys.setprofile(note)
        main(["trace", "a banana is", "--no-trust", "--out", f"{folder}/graph"])
    sys.setprofile(None)
    return len(seen)


def measure(*, entered: bool = False) -> House:
    """Count everything."""
    paths = sources()
    lines: Counter[str] = Counter()
    above = []
    for path in paths:
        relative = path.relative_to(PACKAGE)
        count = len(path.read_text(encoding="utf-8").splitlines())
        lines[relative.parts[0] if len(relative.parts) > 1 else "(top)"] += count
        if count > 350:
            above.append(f"{relative.as_posix()} ({count})")
    trees = {p: ast.parse(p.read_text(encoding="utf-8")) for p in paths if p.suffix == ".py"}
    found = [function for path, tree in trees.items() for function in functions(path, tree)]
    sizes = [function.lines for function in found]
    return House(
        lines=dict(sorted(lines.items())),
        total_lines=sum(lines.values()),
        files=len(paths),
        files_above_350=above,
        functions=len(found),
        function_median=statistics.median(sizes),
        function_p90=statistics.quantiles(sizes, n=10)[-1],
        functions_above_60=[f"{f.name} ({f.lines})" for f in found if f.lines > 60],
        late_imports=sum(late_imports(tree) for tree in trees.values()),
        duplicated_lines=duplicated_lines(paths),
        entered=entered_files() if entered else None,
    )


def main() -> None:
    """Parse the command line and print."""
    parser = argparse.ArgumentParser(description="Measure the size and shape of the package.")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--entered", action="store_true", help="also run a trace and count files")
    options = parser.parse_args()
    house = asdict(measure(entered=options.entered))
    if options.json:
        print(json.dumps(house, indent=2))
        return
    for name, value in house.items():
        shown = (
            ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        )
        print(f"{name.replace('_', ' ')}: {shown}")


if __name__ == "__main__":
    main()
