"""Files that ship with the tool, found by their bare names: `batch facts`, `dissociate bananas`."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

from circuit_tracer.bundled import shipped_prompts
from circuit_tracer.errors import UsageError


def find_given(given: str, ending: str, what: str, ships: Mapping[str, Path] | None = None) -> Path:
    """The file a caller means: one that is there, else the shipped one of that name.

    `ships` are those that ship for this caller, by default all of that ending. Raises UsageError,
    with the names of those that ship, for neither.
    """
    path, ships = Path(given), shipped_prompts(ending) if ships is None else ships
    if path.is_file() or (path.exists() and given not in ships):
        return path  # a folder of that name does not hide what ships; of others the reader tells
    if given.removesuffix(ending) in ships:
        return ships[given.removesuffix(ending)]
    near = path.stem if path.stem in ships else next(iter(get_close_matches(given, ships)), None)
    if near is not None:
        raise UsageError(f"there is no file {given}; did you mean {near}, which ships?")
    raise UsageError(
        f"there is no file {given}; give {what}, or one that ships: {', '.join(ships)}"
    )
