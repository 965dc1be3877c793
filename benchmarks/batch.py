"""How fast a run goes, what memory it holds, and whether it survives being killed.

    python -m benchmarks.batch [--prompts 2000] [--kills 20] [--many 10000] [--write]

* "Sweep alone": every prompt is frozen, and its sweep alone is timed, rows collected as a run does;
  the mean of one pass before the run with one process and one after it, because machines get
  slower and faster.
* A run with one process, with two at once on one store, and with two workers of a Ray cluster that
  this script starts. Seconds are from the first prompt to the last row on disk, of Ray from the
  first call (its workers open the model first). CPU is that of all threads of all processes, less
  that of the same command when nothing is left to do.
* Memory is what one process and the one that makes its rows hold together after each quarter of a
  run of many prompts, with few rows each so that it does not take all day.
* Kills: processes on one store are killed with SIGKILL at random moments; then the store must be
  that of the run with one process, row for row, bit for bit.

Every process has one torch thread. Wall times mean something on a machine that does nothing else;
CPU times always. `--write` puts the tables into benchmarks/batch.md.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import pages
from tests.batch.store_checks import differences, finished, prompt_file, start

ROOT = Path(__file__).resolve().parent.parent
MB = 1024


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    seconds: float
    cpu: float
    """Of all threads of all processes, without opening the model; NaN where it is not known."""
    prompts: int
    load: float
    """Processes that wanted a core in the last minute of it, its own among them."""

    def line(self, alone: Row) -> str:
        """As Markdown, beside the sweep alone."""
        known = self.cpu == self.cpu
        return (
            f"| {self.name} | {self.seconds:.1f} | {self.prompts / self.seconds:.1f} | "
            f"{self.seconds / alone.seconds:.2f} | "
            + (
                f"{1000 * self.cpu / self.prompts:.1f} | {self.cpu / alone.cpu:.2f} |"
                if known
                else "| |"
            )
            + f" {self.load:.1f} |"
        )


def sweep_alone(file: Path) -> Row:
    """In a process of its own: this module with --sweep."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.batch", "--sweep", str(file)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, cpu, prompts = json.loads(done.stdout)
    return Row("sweep alone", seconds, cpu, prompts, os.getloadavg()[0])


def _sweeps(file: Path) -> None:
    """Print wall and CPU seconds of all sweeps, and how many there were."""
    import torch

    from circuit_tracer.attribution.settings import TraceSettings
    from circuit_tracer.attribution.tracing import freeze_prompt, prepare, sweep_frozen
    from tests.batch.forking import opened

    _, tracer, entries = opened(file)
    settings = TraceSettings(batch_size=256)
    wall = cpu = 0.0
    for entry in entries:
        prepared = prepare(tracer.model, entry.prompt, settings)
        capture = tracer.model.capture(list(prepared.ids), prepared.n_explained)
        with torch.no_grad():
            frozen = freeze_prompt(tracer.model, tracer.dictionary, prepared, capture)
        began, cpu_began = time.perf_counter(), time.thread_time()
        sweep_frozen(frozen)
        wall += time.perf_counter() - began
        cpu += time.thread_time() - cpu_began
    print(json.dumps([wall, cpu, len(entries)]))


def run(folder: Path, file: Path, name: str, processes: int, *more: str) -> Row:
    """`batch`, with so many processes at once."""
    arguments = ["batch", str(file), "--name", name, "--device", "cpu", "--threads", "1", "--json"]
    before = _cpu()
    started = [start([*arguments, *more], cwd=folder) for _ in range(processes)]
    records = []
    for code, out, err in map(finished, started):
        assert code == 0, err
        records.append(json.loads(out))
    whole, load = _cpu() - before, os.getloadavg()[0]
    code, _, err = finished(start([*arguments, *more], cwd=folder))  # opens, and is done
    assert code == 0, err
    cpu = whole - processes * (_cpu() - before - whole)
    total = sum(record["traced"] for record in records)
    return Row(name, max(record["seconds"] for record in records), cpu, total, load)


def _cpu() -> float:
    """CPU seconds of all child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def memory(folder: Path, file: Path, name: str, *more: str) -> list[int]:
    """Megabytes in use after each quarter of a run's prompts."""
    count = len(file.read_text(encoding="utf-8").splitlines())
    arguments = ["batch", str(file), "--name", name, "--device", "cpu", "--threads", "1", *more]
    process = start([*arguments, "--save-every", "64"], cwd=folder)
    megabytes: list[int] = []
    while process.poll() is None:
        parts = len(list((folder / "outputs" / name / "graphs").glob("part-*.parquet")))
        if parts and 64 * parts >= (len(megabytes) + 1) * count / 4 - 64 and len(megabytes) < 4:
            megabytes.append(_resident(process.pid))
        time.sleep(0.1)
    code, _, err = finished(process)
    assert code == 0, err
    return megabytes


def _resident(pid: int) -> int:
    """Megabytes of a process and of those that it has started."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = {child for task in tasks for child in (task / "children").read_text().split()}
    except OSError:  # it has just ended
        return 0
    line = next((line for line in lines if line.startswith("VmRSS:")), "VmRSS: 0 kB")
    return int(line.split()[1]) // MB + sum(_resident(int(child)) for child in children)


def on_ray(folder: Path, file: Path) -> Row | None:
    """Two workers of a local cluster; None without Ray."""
    try:
        import ray
    except ImportError:
        return None
    os.environ["RAY_AUTH_MODE"] = "disabled"
    context = ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}},
    )
    try:
        os.environ["RAY_ADDRESS"] = context.address_info["gcs_address"]
        row = run(folder, file, "ray", 1, "--engine", "ray")
        return replace(row, name="Ray, 2 workers", cpu=float("nan"))  # its workers are no children
    finally:
        del os.environ["RAY_ADDRESS"]
        ray.shutdown()


def kills(folder: Path, file: Path, count: int, whole: str) -> str:
    """One sentence on the run that was killed so often."""
    killed = folder / "outputs" / "killed"
    done = subprocess.run(
        [sys.executable, "-m", "tests.batch.forking", file, killed, str(count), "0", "16"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    wrong = differences(folder / "outputs" / whole, killed)
    same = "the same, row for row and bit for bit" if not wrong else f"NOT the same: {wrong}"
    progress = ", ".join(map(str, found["done"]))
    return (
        f"Killed {found['killed']} times with SIGKILL (prompts done after each: {progress}), then "
        f"left to finish: compared with the run of one process the store is {same}."
    )


def main() -> None:
    """See the module's own text."""
    parser = pages.parser(__doc__)
    parser.add_argument("--prompts", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--many", type=int, default=10_000)
    parser.add_argument("--sweep", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.sweep:
        _sweeps(asked.sweep)
        return
    os.environ["PYTHONPATH"] = str(ROOT)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        file = prompt_file(folder / "prompts.jsonl", asked.prompts)
        many = prompt_file(folder / "many.jsonl", asked.many, seed=1)
        page = _page(asked, folder, file, many)
    print(page)
    if asked.write:
        (ROOT / "benchmarks" / "batch.md").write_text(page, encoding="utf-8")


def _page(asked: argparse.Namespace, folder: Path, file: Path, many: Path) -> str:
    before, one, after = sweep_alone(file), run(folder, file, "one", 1), sweep_alone(file)
    alone = replace(
        before,
        seconds=(before.seconds + after.seconds) / 2,
        cpu=(before.cpu + after.cpu) / 2,
        load=max(before.load, after.load),
    )
    rows = [alone, one, run(folder, file, "two", 2), on_ray(folder, file)]
    table = [row.line(alone) for row in rows if row is not None]
    same = [name for name in ("two", "ray") if (folder / "outputs" / name).is_dir()]
    wrong = [
        f"{n}: {d}"
        for n in same
        for d in differences(folder / "outputs/one", folder / "outputs" / n)
    ]
    said = kills(folder, file, asked.kills, "one") if asked.kills else ""
    few = memory(folder, many, "many", "--max-feature-nodes", "16") if asked.many else []
    quarters = " | ".join(map(str, few))
    return f"""# Batch runs

Written by `python -m benchmarks.batch --write`: {asked.prompts:,} prompts of the bundled model, one
torch thread a process, {os.cpu_count()} cores. Where the load is above the number of cores others
were at work, too: seconds are too long then, and rows of other loads cannot be compared by them.
The sweep alone took {before.seconds:.1f} s before the run with one process and
{after.seconds:.1f} s after it; every process of a run has a second one beside it that makes rows.

| | seconds | prompts a second | times the sweep | CPU ms a prompt | times the sweep's CPU | load |
|---|---|---|---|---|---|---|
{chr(10).join(table)}

Stores of two processes and of Ray compared with that of one: {", ".join(wrong) or "no difference"}.

{said}

Memory of one process and the one that makes its rows, over {asked.many:,} prompts of 16 feature
rows each, MB after each quarter:

| 1/4 | 2/4 | 3/4 | 4/4 |
|---|---|---|---|
| {quarters} |
"""


if __name__ == "__main__":
    main()
