"""`--engine ray`: a run spread over a running Ray cluster, with the same store and the same resume.

Each worker is an actor, a process somewhere in the cluster that opens the model once and writes to
the store, which lies on a file system that all of them share. The driver gives out groups of
prompts, a few at a time; when a worker dies, Ray starts it again, with the same groups. What it had
written stays written (state.py), so nothing is traced twice.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from circuit_tracer.batch.shards import Outcome, Work
from circuit_tracer.errors import CircuitTracerError, UsageError, reason
from circuit_tracer.progress import OnStage, silent

if TYPE_CHECKING:
    from circuit_tracer.batch.run import OpenedBatch

OpenBatch = Callable[..., "OpenedBatch"]
"""What can be sent to a worker and opens the model and the run there; with `overwrite=True` an
earlier run goes first."""
MOST_DEATHS = 3
"""Times that a worker may die over the same groups and be started again."""
AT_A_TIME = 16
"""Groups given out together: enough for a part."""


class RayWorker:
    """One worker of the cluster; the model is opened at its first task, whose errors come back."""

    def __init__(self, open_batch: OpenBatch) -> None:
        self.open_batch = open_batch

    @cached_property
    def batch(self) -> OpenedBatch:
        """The opened run."""
        return self.open_batch()

    def n_groups(self, overwrite: bool) -> int:
        """How many groups the run has: the same in every worker. With `overwrite`, which one of
        them is asked for before any other opens the run, an earlier run goes."""
        if overwrite:
            self.batch = self.open_batch(overwrite=True)
        return len(self.batch.plan.groups)

    def work(self, work: Work) -> Outcome:
        """Do some groups."""
        return self.batch.go(work)


def run_on_ray(
    open_batch: OpenBatch,
    work: Work,
    *,
    workers: int | None = None,
    overwrite: bool = False,
    on_progress: OnStage | None = None,
) -> Outcome:
    """Trace what is missing of a run on the cluster that Ray finds (RAY_ADDRESS, this machine's).

    With `overwrite` an earlier run goes once a worker has opened the model.

    Raises UsageError without Ray or a cluster, what a worker raises, and CircuitTracerError when
    the same prompts kill their workers again and again.
    """
    ray = _connected()
    report = on_progress or silent
    count, needs = _places(ray, workers)
    report(f"starting {count} workers", 0, 0)
    # Tasks can be repeated without harm: what is in the store is not traced again.
    worker = ray.remote(max_restarts=-1, max_task_retries=MOST_DEATHS, **needs)(RayWorker)
    sent = ray.put(open_batch)  # once, however many workers there are: it holds all prompts
    actors = [worker.remote(sent) for _ in range(count)]
    try:
        return _work_together(ray, actors, work, report, overwrite)
    except ray.exceptions.RayTaskError as e:
        cause = getattr(e, "cause", None)
        raise (cause if isinstance(cause, CircuitTracerError) else e) from e
    except ray.exceptions.RayActorError as e:
        raise CircuitTracerError(
            f"a worker died {MOST_DEATHS + 1} times over the same prompts (out of memory?); "
            "what is done is safe: lower `ray_workers` and go on"
        ) from e
    finally:
        for actor in actors:
            ray.kill(actor)


def _connected() -> Any:
    try:
        import ray
    except ImportError as e:
        raise UsageError(
            '`engine` ray needs Ray: pip install "circuit-tracer-cli[ray]", or leave `engine` out'
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


def _work_together(
    ray: Any, actors: list[Any], work: Work, report: OnStage, overwrite: bool
) -> Outcome:
    """Keep every worker busy until all groups are done. Raises what Ray raises."""
    started = time.perf_counter()
    n_groups = ray.get(actors[0].n_groups.remote(overwrite))
    step = max(1, min(AT_A_TIME, n_groups // (4 * len(actors))))
    groups = [frozenset(range(i, min(i + step, n_groups))) for i in range(0, n_groups, step)]
    shares = [replace(work, groups=some, bad_lines=False) for some in groups]
    shares.append(replace(work, groups=frozenset(), bad_lines=True))
    outcomes: list[Outcome] = []
    pool = ray.util.ActorPool(actors)
    for outcome in pool.map_unordered(lambda actor, share: actor.work.remote(share), shares):
        outcomes.append(outcome)
        report("tracing", sum(outcome.done + outcome.failed for outcome in outcomes), 0)
    sums = Outcome(*map(sum, zip(*outcomes, strict=True)))
    return sums._replace(seconds=time.perf_counter() - started)
