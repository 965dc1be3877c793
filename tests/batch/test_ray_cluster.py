"""A real Ray cluster on this machine: two workers, one of them killed at work."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from circuit_tracer.batch import ray_cluster
from circuit_tracer.batch.manifest import entries_of
from circuit_tracer.batch.prompt_file import PromptFile
from circuit_tracer.batch.ray_cluster import RayWorker, run_on_ray
from circuit_tracer.batch.run import OpenedBatch, begin
from circuit_tracer.batch.shards import Work
from circuit_tracer.batch.stored_run import open_run
from circuit_tracer.errors import CircuitTracerError, UsageError
from tests.batch import failing
from tests.batch.runs import Alone, make_run, prompt_file, run_info, tracer
from tests.batch.store_checks import differences

ray = pytest.importorskip("ray")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
WORDS = ("banana", "lemon", "sky", "yellow", "blue", "red", "yes", "no", "true")
PROMPTS = tuple(f"{a} {b} is {c}" for a in WORDS for b in WORDS[:2] for c in ("yellow", "the"))


@dataclass(frozen=True)
class Shared:
    """A run of the tiny model; with a pause, so that there is time to kill somebody."""

    folder: Path
    file: PromptFile
    pause: float

    def open(self) -> OpenedBatch:
        info = run_info()
        entries = entries_of(self.file, info.identity())
        run = begin(self.folder, info, entries)
        return _Slow(self.folder, Alone(run, tracer(info)), entries, self.pause)


class _Slow(OpenedBatch):
    def __init__(self, folder: Path, kind: Alone, entries: Any, pause: float) -> None:
        super().__init__(folder, kind, entries)
        self.pause = pause

    def go(self, work: Work, **more: Any) -> Any:
        time.sleep(self.pause)
        return super().go(work, **more)


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    root = Path(__file__).resolve().parents[2]
    os.environ["RAY_AUTH_MODE"] = "disabled"  # it would write a token to the home folder
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            _system_config={"worker_niceness": 0},  # its workers would wait for all other work
            runtime_env={"env_vars": {"PYTHONPATH": str(root)}},
        )
        yield
        ray.shutdown()


def test_two_workers_one_of_them_killed_leave_what_one_process_does(tmp_path: Path) -> None:
    file = prompt_file(PROMPTS)
    make_run(tmp_path / "whole", file)
    folder, killed, ended = tmp_path / "ray", [], threading.Event()

    def kill_the_first_that_has_written() -> None:
        while not ended.wait(0.05):
            if (folder / "run.toml").is_file():
                for part in open_run(folder).made():
                    pid = int(part["writer"].rpartition(":")[2])
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
                    return

    killer = threading.Thread(target=kill_the_first_that_has_written)
    killer.start()
    try:
        outcome = run_on_ray(Shared(folder, file, pause=0.2).open, Work(part_prompts=2), workers=2)
    finally:
        ended.set()
        killer.join()
    assert killed
    assert outcome.done == outcome.total == len(PROMPTS)
    writers = {part["writer"] for part in open_run(folder).made()}
    assert len(writers) >= 3  # both, and the one that came for the dead one
    assert differences(tmp_path / "whole", folder) == []
    assert make_run(folder, file).traced == 0


def test_an_earlier_run_goes_once_whichever_worker_is_started_again() -> None:
    asked: list[dict[str, bool]] = []

    def opened(**how: bool) -> SimpleNamespace:
        asked.append(how)
        return SimpleNamespace(plan=SimpleNamespace(groups=[1, 2]))

    first = RayWorker(opened)
    assert (first.n_groups(overwrite=True), first.batch) == (2, first.batch)
    assert [RayWorker(opened).batch for _ in range(2)]
    assert asked == [{"overwrite": True}, {}, {}]


def test_an_error_of_a_worker_comes_back_unchanged() -> None:
    with pytest.raises(UsageError, match="there is no such model"):
        run_on_ray(failing.refuse, Work(), workers=1)


def test_workers_that_die_again_and_again_end_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ray_cluster, "MOST_DEATHS", 1)
    with pytest.raises(CircuitTracerError, match="a worker died 2 times"):
        run_on_ray(failing.die, Work(), workers=1)
