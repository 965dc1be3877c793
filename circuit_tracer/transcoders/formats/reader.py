"""What a file format is: a reader that knows its files by name and turns headers into a plan."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from circuit_tracer.errors import DictionaryError
from circuit_tracer.models.wiring import Wiring
from circuit_tracer.transcoders.formats.files import list_files
from circuit_tracer.transcoders.formats.plan import Plan


def _no_hub(reference: str) -> Path:
    raise DictionaryError(f"{reference} is on the model hub and cannot be fetched from here")


@dataclass(frozen=True)
class Folder:
    """A dictionary's files, wherever they come from."""

    name: str
    """For messages: the folder's name or the hub reference."""
    files: Mapping[str, Path]
    """Relative path with slashes -> file."""
    repository: str = ""
    """Hub repository, or the folder's name: some formats say their model nowhere else."""
    wiring: Wiring | None = None
    """Of the model it is for, if one is at hand; it settles names that mean several places."""
    fetch: Callable[[str], Path] = _no_hub
    """Gets a file that a config names by `hf://` and returns where it now is."""

    @classmethod
    def at(cls, path: Path, *, wiring: Wiring | None = None) -> Folder:
        """A local folder as it is."""
        name = path.resolve().name
        return cls(name, list_files(path), repository=name, wiring=wiring)


@runtime_checkable
class Reader(Protocol):
    """One file format."""

    @property
    def name(self) -> str:
        """What `--format` calls it."""

    def recognises(self, names: Collection[str]) -> bool:
        """Whether a folder with files of these relative paths is of this format."""

    def choose(self, names: Collection[str]) -> Collection[str]:
        """Which of the files make the dictionary: what has to be downloaded."""

    def plan(self, folder: Folder) -> Plan:
        """Where everything is, from headers and configs. Raises DictionaryError."""
