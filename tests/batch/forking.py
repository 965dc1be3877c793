"""Open the bundled model once, then fork workers on one run and kill them at random moments.

    python -m tests.batch.forking FILE RUN KILLS SEED [PART_PROMPTS]

A fork is a real process that dies a real death, without the seconds of importing torch. The
moments are spread over the work: each comes a random while after a random number of prompts is
done, so that they fall into it on machines of any speed. Prints how many were killed in work,
and how many prompts were done after each. The last process is left to finish, as is one
that makes an undisturbed run, where one is asked for.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import NamedTuple, NoReturn

from circuit_tracer.attribution.settings import TraceSettings
from circuit_tracer.batch.kinds import Graphs
from circuit_tracer.batch.manifest import Entry, entries_of
from circuit_tracer.batch.prompt_file import read_prompts
from circuit_tracer.batch.run import OpenedBatch, begin
from circuit_tracer.batch.run_file import RunInfo
from circuit_tracer.batch.shards import Work
from circuit_tracer.batch.state import RunState
from circuit_tracer.batch.tracing import Tracer
from circuit_tracer.workbench.opening import open_pair


def opened(file: Path) -> tuple[RunInfo, Tracer, list[Entry]]:
    """A run of the bundled model over a prompt file, with the command's own defaults."""
    pair = open_pair("sprout", None, device="cpu", threads=1)
    settings = {k: v for k, v in vars(TraceSettings()).items() if k != "batch_size"}
    info = RunInfo(
        model=pair.model.identity,
        dictionary=pair.dictionary.identity,
        settings=settings,
        dtype="float32",
        node_threshold=0.8,
        edge_threshold=0.98,
        graphs="kept",
        routes=5,
        heads=False,
    )
    tracer = Tracer(pair.model, pair.dictionary, TraceSettings(batch_size=256), pair.labels)
    return info, tracer, entries_of(read_prompts(file), info.identity())


def _child(folder: Path, info: RunInfo, tracer: Tracer, entries: list[Entry], work: Work) -> int:
    """A process that works on the run; its id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        kind = Graphs(begin(folder, info, entries), tracer)
        with OpenedBatch(folder, kind, entries) as opened:
            opened.go(work)
        code = 0
    finally:
        os._exit(code)


class Killed(NamedTuple):
    """What became of a run."""

    killed: int
    """Processes that were killed at work."""
    done: list[int]
    """Prompts that were done after each."""
    status: list[int]
    """How the processes ended that were left alone."""


def killed_at_work(
    file: Path, folder: Path, kills: int, *, seed: int, work: Work, undisturbed: Path | None = None
) -> Killed:
    """See above."""
    runs = [folder, *([] if undisturbed is None else [undisturbed])]
    info, tracer, entries = opened(file)
    generator, done, killed = random.Random(seed), [], 0
    while killed < kills:
        pid = _child(folder, info, tracer, entries, work)
        finished = 0
        wanted = int(len(entries) * (killed + generator.random()) / (kills + 1))
        state = RunState(folder)
        while len(state.done) < wanted and not (finished := os.waitpid(pid, os.WNOHANG)[0]):
            time.sleep(0.02)
            state.look()
        time.sleep(generator.uniform(0, 0.1))
        if finished or os.waitpid(pid, os.WNOHANG)[0]:
            break
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        killed += 1
        done.append(len(RunState(folder).done))
    ended = [os.waitpid(_child(run, info, tracer, entries, work), 0)[1] for run in runs]
    return Killed(killed, done, ended)


def main() -> NoReturn:
    """For a benchmark: print it as JSON."""
    file, folder, kills, seed = Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:5])
    work = Work(part_prompts=int(sys.argv[5]) if len(sys.argv) > 5 else 8)
    found = killed_at_work(file, folder, kills, seed=seed, work=work)
    print(json.dumps(found._asdict()))
    sys.exit(1 if any(found.status) else 0)


if __name__ == "__main__":
    main()
