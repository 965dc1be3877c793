"""Modules that command files import run when they are used, and are ordinary ones from then on."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from circuit_tracer.cli.deferred import deferred

PACKAGE = {
    "__init__.py": "from rooms.kitchen import pot\n",
    "kitchen.py": "import builtins\nbuiltins.cooked += 1\npot = 'soup'\n",
    "cellar.py": "import builtins\nbuiltins.cooked += 10\ndepth = 3\n",
    "broken.py": "import no_such_library\n",
}


@pytest.fixture
def rooms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package `rooms` that counts in `cooked` which of its modules have run."""
    for name, text in PACKAGE.items():
        (tmp_path / "rooms").mkdir(exist_ok=True)
        (tmp_path / "rooms" / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("builtins.cooked", 0, raising=False)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "rooms"]:
        del sys.modules[name]


def cooked() -> int:
    return int(__import__("builtins").cooked)


def deferred_module(name: str) -> ModuleType:
    with deferred("rooms"):
        return import_module(f"rooms.{name}")


@pytest.mark.usefixtures("rooms")
def test_a_module_runs_when_something_of_it_is_asked_for_and_only_once() -> None:
    cellar = deferred_module("cellar")
    assert cooked() == 0
    assert cellar.depth == 3
    assert cellar.depth == 3
    assert cooked() == 10  # and its package has not run
    assert type(cellar) is ModuleType


@pytest.mark.usefixtures("rooms")
def test_whoever_looks_through_all_modules_runs_none() -> None:
    cellar = deferred_module("cellar")
    assert cellar.__file__ is not None
    assert inspect.getmodule(cooked) is sys.modules[__name__]
    assert not hasattr(cellar, "__wrapped__")
    assert cooked() == 0


@pytest.mark.usefixtures("rooms")
def test_a_package_gives_its_modules_without_running() -> None:
    with deferred("rooms"):
        from rooms import kitchen  # type: ignore[import-not-found]
    assert cooked() == 0
    assert kitchen.pot == "soup"


@pytest.mark.usefixtures("rooms")
def test_a_name_of_a_package_runs_it() -> None:
    with deferred("rooms"):
        import rooms
    assert cooked() == 0
    assert rooms.pot == "soup"
    assert cooked() == 1


@pytest.mark.usefixtures("rooms")
def test_what_a_module_lacks_is_an_ordinary_error() -> None:
    with pytest.raises(AttributeError, match="width"):
        _ = deferred_module("cellar").width


def test_a_module_that_cannot_run_says_so_each_time(rooms: Path) -> None:
    broken = deferred_module("broken")
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError, match="no_such_library"):
            _ = broken.anything
    (rooms / "no_such_library.py").write_text("")
    assert not hasattr(broken, "anything")
    assert type(broken) is ModuleType


@pytest.mark.usefixtures("rooms")
def test_outside_of_it_modules_run_at_once() -> None:
    import_module("rooms.cellar")
    assert cooked() == 11
