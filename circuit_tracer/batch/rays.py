"""`--engine ray`: a run spread over a running Ray cluster, with the same store and the same resume.

Each worker is an actor, a process somewhere in the cluster that opens the model once and writes to
the store, which lies on a file system that all of them share. The driver deals groups of prompts
out, a few at a time; when a worker dies, Ray starts it again, with the same groups. What it had
written stays written (state.py), so nothing is traced twice.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from circuit_tracer.batch.work import OnProgress, Outcome, Work
from circuit_tracer.errors import CircuitTracerError, UsageError, reason

if TYPE_CHECKING:
    from circuit_tracer.batch.run import OpenedBatch

MOST_DEATHS = 3
"""Times that a worker may die over the same groups and be started again."""
AT_A_TIME = 16
"""Groups dealt out together: enough for a part."""


@runtime_checkable
class Shared(Protocol):
    """What can be sent to a worker: it opens the model and the run there."""

    def open(self) -> OpenedBatch:
        """In this process. Raises what opening raises."""


class RayWorker:
    """One worker of the cluster; the model is opened at its first task, whose errors come back."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.opened: OpenedBatch | None = None

    def _open(self) -> OpenedBatch:
        if self.opened is None:
            self.opened = self.shared.open()
        return self.opened

    def n_groups(self) -> int:
        """How many groups the run has: the same in every worker."""
        return len(self._open().plan.groups)

    def work(self, work: Work) -> Outcome:
        """Do some groups."""
        return self._open().go(work)


def run_on_ray(
    shared: Shared,
    work: Work,
    *,
    workers: int | None = None,
    on_progress: OnProgress | None = None,
) -> Outcome:
    """Trace what is missing of a run on the cluster that Ray finds (RAY_ADDRESS, this machine's).

    Raises UsageError without Ray or a cluster, what a worker raises, and CircuitTracerError when
    the same prompts kill their workers again and again.
    """
    ray = _connected()
    report = on_progress or (lambda stage, done, total: None)
    count, needs = _places(ray, workers)
    report(f"starting {count} workers", 0, 0)
    # Tasks can be repeated without harm: what is in the store is not traced again.
    actor = ray.remote(max_restarts=-1, max_task_retries=MOST_DEATHS, **needs)(RayWorker)
    sent = ray.put(shared)  # once, however many workers there are: it holds all prompts
    actors = [actor.remote(sent) for _ in range(count)]
    try:
        return _Dealer(ray, actors, work, report).go()
    finally:
        for one in actors:
            ray.kill(one)


def _connected() -> Any:
    try:
        import ray
    except ImportError as e:
        raise UsageError(
            '--engine ray needs Ray: pip install "circuit-tracer-cli[ray]", or leave --engine out'
        ) from e
    try:
        if not ray.is_initialized():
            ray.init(address="auto", log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as e:
        raise UsageError(
            f"no Ray cluster can be reached ({reason(e)}); start one (ray start --head) or set "
            "RAY_ADDRESS"
        ) from e
    return ray


def _places(ray: Any, workers: int | None) -> tuple[int, dict[str, float]]:
    """How many workers, and what each needs: a GPU where there are any, else a core."""
    has = ray.cluster_resources()
    gpus, cores = int(has.get("GPU", 0)), int(has.get("CPU", 1))
    places, needs = (gpus, {"num_gpus": 1.0}) if gpus else (cores, {"num_cpus": 1.0})
    return min(workers or places, places), needs


class _Dealer:
    """Keeps every worker busy until all groups are done."""

    def __init__(self, ray: Any, actors: list[Any], work: Work, report: OnProgress) -> None:
        self.ray, self.actors, self.report = ray, actors, report
        self.waiting: list[Work] = []
        self.work = work
        self.running: dict[Any, Any] = {}
        """The answer that is waited for, and whose it is."""
        self.outcomes: list[Outcome] = []

    def go(self) -> Outcome:
        """Deal everything out."""
        started = time.perf_counter()
        n_groups = self._n_groups()
        step = max(1, min(AT_A_TIME, n_groups // (4 * len(self.actors))))
        parts = [frozenset(range(i, min(i + step, n_groups))) for i in range(0, n_groups, step)]
        self.waiting = [replace(self.work, groups=part, bad_lines=False) for part in parts]
        self.waiting.append(replace(self.work, groups=frozenset(), bad_lines=True))
        self.waiting.reverse()
        for actor in self.actors:
            self._give(actor)
        while self.running:
            ready, _ = self.ray.wait(list(self.running), num_returns=1)
            self._take(ready[0])
            done = sum(one.done + one.failed for one in self.outcomes)
            self.report("tracing", done, 0)
        return _summed(self.outcomes, time.perf_counter() - started)

    def _n_groups(self) -> int:
        """From the first worker."""
        return int(self._answer(self.actors[0].n_groups.remote()))

    def _answer(self, answer: Any) -> Any:
        """Raises what the worker raised, and CircuitTracerError if it died once too often."""
        try:
            return self.ray.get(answer)
        except self.ray.exceptions.RayTaskError as e:
            cause = getattr(e, "cause", None)
            raise (cause if isinstance(cause, CircuitTracerError) else e) from e
        except self.ray.exceptions.RayActorError as e:
            raise CircuitTracerError(
                f"a worker died {MOST_DEATHS + 1} times over the same prompts (out of memory?); "
                "what is done is safe: lower --ray-workers and go on"
            ) from e

    def _give(self, actor: Any) -> None:
        if self.waiting:
            self.running[actor.work.remote(self.waiting.pop())] = actor

    def _take(self, answer: Any) -> None:
        """One worker's outcome; it gets more to do."""
        actor = self.running.pop(answer)
        self.outcomes.append(self._answer(answer))
        self._give(actor)


def _summed(outcomes: list[Outcome], seconds: float) -> Outcome:
    return Outcome(
        traced=sum(one.traced for one in outcomes),
        done=sum(one.done for one in outcomes),
        failed=sum(one.failed for one in outcomes),
        total=sum(one.total for one in outcomes),
        sweeping=sum(one.sweeping for one in outcomes),
        seconds=seconds,
    )
