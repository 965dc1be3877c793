"""What every test process is set up with, before anything imports torch."""

from __future__ import annotations

import gc
import os

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

LONG = (
    "tests/test_shipped.py",
    "tests/batch/test_ray_cluster.py",
    "tests/batch/test_kills.py",
    "tests/cli/test_batch.py",
    "tests/cli/test_diff.py",
    "tests/cli/test_help.py",
    "tests/cli/test_dissociate.py",
    "tests/cli/test_interventions.py",
    "tests/render/test_viewer",
    "tests/test_docs.py",
    "tests/models/test_parallel.py",
    "tests/workbench/test_python.py",
    "tests/attribution/test_families.py",
    "tests/attribution/test_head_loadings.py",
    "tests/experiments/dissociation/test_",
)
"""Files that take half a minute: what is begun last decides when the last process ends."""


def pytest_sessionstart() -> None:
    """Say at once when the device cannot be used."""
    import tests.device  # noqa: F401


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


def pytest_collection() -> None:
    """Modules and tests stay until the end: no look through them for what can go."""
    gc.disable()


def pytest_collection_finish() -> None:
    """The same while tests run; what they leave is looked through seldom."""
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)
    gc.enable()
