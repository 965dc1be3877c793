"""Files somebody else wrote: settings of a reasonable size, and no links out of the folder.

Text files (JSON, YAML) have a size limit and hold plain values. Links may not leave the
dictionary's folder, except into the blobs of a Hugging Face cache, whose snapshots are nothing but
such links.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from circuit_tracer.bundled import PICKLES
from circuit_tracer.errors import DictionaryError
from circuit_tracer.reading import readable

GET_AGAIN = "get the files again, or train the dictionary again"
_PLAIN = "get the file again, or write plain values without tags"
_TEXT_BYTES = 16 << 20


def place_of(path: Path) -> str:
    """A file's name and its folder's, for messages."""
    return f"{path.parent.name}/{path.name}"


# Text


def read_json(path: Path) -> Any:
    """A JSON file of reasonable size, or one sentence."""
    return _parsed(path, "JSON", json.loads, GET_AGAIN)


def read_table(path: Path) -> dict[str, Any]:
    """A JSON or YAML file that holds one table of settings; tags that build objects are refused."""
    is_yaml = path.suffix in (".yaml", ".yml")
    content = _parsed(path, "plain YAML", yaml.safe_load, _PLAIN) if is_yaml else read_json(path)
    if not isinstance(content, dict):
        raise DictionaryError(f"{place_of(path)} is not a table of settings; {GET_AGAIN}")
    return {str(key): value for key, value in content.items()}


def _parsed(path: Path, kind: str, parse: Callable[[bytes], Any], advice: str) -> Any:
    place, problem = place_of(path), f"cannot be read as {kind}"
    with readable(place, DictionaryError, advice, problem=problem, also=(yaml.YAMLError,)):
        if path.stat().st_size > _TEXT_BYTES:
            raise DictionaryError(
                f"{place} has {path.stat().st_size:,} bytes, too many for settings; {GET_AGAIN}"
            )
        return parse(path.read_bytes())


# Folders


def list_files(folder: Path, depth: int = 4) -> dict[str, Path]:
    """Files of a folder and its folders, by their path relative to it, hidden ones left out.

    Raises DictionaryError for a link that leaves the folder.
    """
    home = _home(folder)
    files: dict[str, Path] = {}
    for place, folders, names in os.walk(folder):
        here = Path(place).relative_to(folder)
        folders[:] = sorted(n for n in folders if not n.startswith(".") and len(here.parts) < depth)
        for name in sorted(names):
            if name.startswith("."):
                continue
            path = Path(place) / name
            if path.is_symlink() and not _within(path, home):
                raise DictionaryError(
                    f"{place_of(path)} is a link that leaves the dictionary's folder, so it is "
                    "not followed; put the file itself there"
                )
            files[(here / name).as_posix()] = path
        for name in folders:
            if (Path(place) / name).is_symlink() and not _within(Path(place) / name, home):
                raise DictionaryError(
                    f"the folder {name} is a link that leaves the dictionary's folder, so it is "
                    "not followed; put the folder itself there"
                )
    return files


def _home(folder: Path) -> Path:
    """Where a folder's links may lead: itself, or the repository it has in a hub cache."""
    real = folder.resolve()
    for parent in (real, *real.parents):
        if parent.parent.name == "snapshots" and parent.parent.parent.name.startswith("models--"):
            return parent.parent.parent
    return real


def _within(path: Path, home: Path) -> bool:
    try:
        return path.resolve(strict=True).is_relative_to(home)
    except (OSError, RuntimeError):  # a link to nowhere, or in a circle
        return False


def refuse_pickles(files: Mapping[str, Path] | Iterable[Path]) -> None:
    """DictionaryError for a file that can run code when opened; it is not opened."""
    for path in files.values() if isinstance(files, Mapping) else files:
        if path.suffix.lower() in PICKLES:
            raise DictionaryError(
                f"{path.name} is a pickle-based file, which can run code when opened, so it is "
                "refused; convert it to safetensors, and give a dictionary's folder without it"
            )


def by_layer(files: Mapping[str, Path], pattern: str) -> dict[int, tuple[str, Path]]:
    """Files whose relative path matches, by the number in its first group, in numeric order.

    Raises DictionaryError if two files have the same number.
    """
    layers: dict[int, tuple[str, Path]] = {}
    for name, path in files.items():
        match = re.fullmatch(pattern, name)
        if match is None:
            continue
        layer = int(match[1])
        if layer in layers:
            raise DictionaryError(
                f"{layers[layer][0]} and {name} are both layer {layer}; give the folder or a "
                "pattern that holds one of them"
            )
        layers[layer] = (name, path)
    return dict(sorted(layers.items()))


def check_contiguous(
    layers: Iterable[int], what: str, form: str, wanted: Collection[int] | None = None
) -> None:
    """DictionaryError unless the layers are 0, 1, ..., L-1; `form` names a file, with a {}.

    With `wanted` these have to be there, and there may be others.
    """
    numbers = set(layers)
    missing = sorted(set(wanted or range(max(numbers, default=0) + 1)) - numbers)
    if missing:
        names = ", ".join(form.format(i) for i in missing[:5])
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        whole = "its config says that they are there"
        if wanted is None:
            whole = "a dictionary has every layer from 0 to the last"
        raise DictionaryError(f"{what} lacks {names}{more}: {whole}; {GET_AGAIN}")
