"""Compare run stores row by row, start processes that write them, and make prompt files."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds

ORDER = {
    "graphs": ["id"],
    "nodes": ["id", "row"],
    "edges": ["id", "target", "source"],
    "paths": ["id", "target", "rank", "share"],
    "failures": ["id"],
    "transcripts": ["id"],
}
GRAPHS = ("graphs", "nodes", "edges", "paths", "failures")
TRANSCRIPTS = ("transcripts", "failures")


def raw_rows(run: Path, table: str) -> pa.Table:
    """All rows of a table as any Parquet reader sees them, in a fixed order."""
    found = ds.dataset(run / table, format="parquet").to_table()
    if not found.num_columns:  # no part
        return pa.table({})
    return found.replace_schema_metadata(None).sort_by([(n, "ascending") for n in ORDER[table]])


def differences(one: Path, other: Path, tables: Sequence[str] = GRAPHS) -> list[str]:
    """Tables whose rows are not the same, to the last bit."""
    found = []
    for table in tables:
        ours, theirs = raw_rows(one, table), raw_rows(other, table)
        if len(ours) != len(theirs):
            found.append(f"{table}: {len(ours)} and {len(theirs)} rows")
        else:
            found += [f"{table}.{name}" for name in ours.column_names if differ(ours, theirs, name)]
    return found


def differ(one: pa.Table, other: pa.Table, name: str) -> bool:
    """Whether a column differs; NaN is like NaN."""
    a, b = one.column(name).combine_chunks(), other.column(name).combine_chunks()
    if pa.types.is_list(a.type) and pa.types.is_floating(a.type.value_type):
        if not a.value_lengths().equals(b.value_lengths()):
            return True
        a, b = a.flatten(), b.flatten()
    if pa.types.is_floating(a.type):
        values = (one.to_numpy(zero_copy_only=False).tobytes() for one in (a, b))
        return not a.is_null().equals(b.is_null()) or len(set(values)) > 1
    return not a.equals(b)


def prompt_file(path: Path, count: int, *, seed: int = 0) -> Path:
    """So many different prompts of the bundled model's words, of many lengths."""
    generator, found = random.Random(seed), dict[str, None]()
    words = [w for w in _words() if w.isalpha() and len(w) > 1]
    while len(found) < count:
        thing, other, colour = generator.sample(words, 3)
        form = generator.choice(
            (
                "a {0} is",
                "what colour is a {0} ?",
                "is a {0} {2} ?",
                "true or false : a {0} is {2} .",
                "list : {0} {1} {2} . again : {0}",
                "tom says that a {0} is {2} . he is",
            )
        )
        found[form.format(thing, other, colour)] = None
    lines = [
        json.dumps({"id": f"p{i}", "prompt": prompt, "tags": [f"t{i % 3}"]})
        for i, prompt in enumerate(found)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _words() -> list[str]:
    from circuit_tracer.bundled import bundled_folder

    tokenizer = bundled_folder() / "sprout" / "model" / "tokenizer.json"
    words: dict[str, int] = json.loads(tokenizer.read_text(encoding="utf-8"))["model"]["vocab"]
    return sorted(words)


def start(arguments: Sequence[str], *, cwd: Path, **environment: str) -> subprocess.Popen[str]:
    """`circuit-tracer` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "circuit_tracer.cli.main", *arguments],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for it: exit code, stdout, stderr."""
    out, err = process.communicate(timeout=600)
    return process.returncode, out, err


def wait_for(what: Callable[[], object], *, seconds: float = 120.0) -> None:
    """Until `what()` is true; AssertionError if it never is."""
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)
