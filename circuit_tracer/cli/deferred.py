"""Modules of the library that the commands name at their tops and that are loaded when used.

`circuit-tracer --help` has to answer at once, and torch alone takes seconds to import. So the
command files are imported inside `deferred()`: every module of the library that they import is
then an empty one, which runs its code when something of it is first asked for. Command files
therefore import modules (`from circuit_tracer.render import terminal`): asking a module for a name
would load it.

The standard library's `importlib.util.LazyLoader` does the same, but loads a module also when it
is asked for `__file__`, and `inspect.getmodule`, which torch calls as it is imported, asks every
module there is.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from threading import RLock
from types import ModuleType
from typing import Any

LIBRARY = "circuit_tracer."
COMMANDS = "circuit_tracer.cli"
_loading = RLock()


class _Deferred(ModuleType):
    """A module whose code has not run yet."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        place = self.__dict__.get("__path__")
        if place is not None and PathFinder.find_spec(f"{self.__name__}.{name}", place):
            return import_module(f"{self.__name__}.{name}")  # needs nothing of the package
        with _loading:
            if isinstance(self, _Deferred) and not self.__dict__.get("_is_loading"):
                self._load()
        return object.__getattribute__(self, name)

    def _load(self) -> None:
        """Run the module's code; where that fails, the next use tries again."""
        self.__dict__["_is_loading"] = True
        try:
            assert isinstance(self.__loader__, Loader)
            self.__loader__.exec_module(self)
            self.__class__ = ModuleType  # type: ignore[assignment]
        finally:
            del self.__dict__["_is_loading"]


class _Deferring(Loader):
    """Makes modules that run their code when they are asked for something, not before."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """An ordinary module."""
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing runs yet; everything else about the module is as it will be."""
        module.__loader__ = self.loader
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        module.__class__ = _Deferred


class _Finder(MetaPathFinder):
    """Finds the library's modules, but for the commands' own."""

    def __init__(self, library: str) -> None:
        self.library = library

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a module that is deferred; None for all others."""
        if not name.startswith(self.library) or name.startswith(COMMANDS):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Deferring(spec.loader)
        return spec


@contextmanager
def deferred(library: str = LIBRARY) -> Iterator[None]:
    """Modules of the library that are imported in here load when they are first used."""
    finder = _Finder(library)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
