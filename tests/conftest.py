"""What every test process is set up with, before anything imports torch."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
from typing import Any

import pytest

from tests import shapes

# Workers share the cores; a number that was asked for stays, and subprocesses inherit it.
_workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0"))
if _workers:
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // _workers)))
# "auto" would find a GPU that the run is not for (tests/device.py).
if not os.environ.get("CIRCUIT_TRACER_TEST_DEVICE", "").startswith("cuda"):
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

shapes.install()
os.fsync = lambda handle: None  # no test loses power: what is written is there for the next reader

FORKING = (
    "tests/cli/test_batch.py",
    "tests/cli/test_monitor.py",
    "tests/models/test_parallel.py",
    "tests/test_wheel.py",
)
"""Files whose tests fork (tests/forked.py): one worker runs them all, for the process that is
forked imports torch and transformers, which takes three seconds and more."""
LONG = (
    "tests/batch/test_ray_cluster.py",
    "tests/test_docs.py",
    *FORKING,
    "tests/cli/test_help.py",
    "tests/render/test_viewer",
    "tests/cli/test_diff.py",
    "tests/test_shipped.py",
    "tests/cli/test_circuit.py",
    "tests/batch/test_kills.py",
    "tests/experiments/dissociation/test_",
    "tests/cli/test_dissociate.py",
    "tests/attribution/test_families.py",
    "tests/workbench/test_python.py",
    "tests/test_devices.py",
    "tests/cli/test_interventions.py",
    "tests/attribution/test_head_loadings.py",
)
"""Files that take longest, in the order in which they begin: what is begun last decides when the
last process ends. Between those that wait, for other processes or browsers, are some that do not.
"""


def pytest_sessionstart() -> None:
    """Say at once when the device cannot be used; the host always can, without importing torch."""
    if "CIRCUIT_TRACER_TEST_DEVICE" in os.environ:
        import tests.device  # noqa: F401


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """As `--dist loadfile`, with the files that fork as if they were one."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "forks" if nodeid.startswith(FORKING) else super()._split_scope(nodeid)

    return Scheduling(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first."""

    def place(item: pytest.Item) -> int:
        fits = (i for i, start in enumerate(LONG) if item.nodeid.startswith(start))
        return next(fits, len(LONG))

    items.sort(key=place)


def pytest_collection(session: pytest.Session) -> None:
    """Modules and tests stay until the end: no look through them for what can go.

    Workers import the files of tests first, each from another one on: what is compiled by then,
    with its assertions rewritten, is not compiled by all of them at the same time.
    """
    gc.disable()
    if not _workers:
        return
    places = (session.config.invocation_params.dir / one for one in session.config.args)
    files = [file for place in places for file in sorted(place.rglob("test_*.py"))]
    first = len(files) * int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw")) // _workers
    for file in (*files[first:], *files[:first]):
        name = ".".join(file.relative_to(session.config.rootpath).with_suffix("").parts)
        with contextlib.suppress(Exception, pytest.skip.Exception):  # reported by pytest
            importlib.import_module(name)


def pytest_collection_finish() -> None:
    """The same while tests run; what they leave is looked through seldom."""
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)
    gc.enable()
