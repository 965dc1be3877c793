"""Dictionaries on the Hugging Face hub: getting only the files a reference names.

`HF_HOME`, `HF_TOKEN` and `HF_HUB_OFFLINE` are honoured by the library that does the fetching.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError

from circuit_tracer.errors import DictionaryError
from circuit_tracer.hub_reference import HubReference, parse_reference
from circuit_tracer.models.hub import ask
from circuit_tracer.models.loading import quiet_libraries
from circuit_tracer.transcoders.formats.files import list_files


class Snapshot(NamedTuple):
    """Fetched files of a repository."""

    files: dict[str, Path]
    """By their path relative to what the reference names."""
    commit: str


def fetch(
    reference: HubReference, choose: Callable[[list[str]], Iterable[str]] = lambda names: names
) -> Snapshot:
    """Download (or find in the cache) what `choose` takes of the files a reference names.

    `choose` is given relative paths and returns those that are needed. Raises DictionaryError.
    """
    quiet_libraries()

    def wanted(names: Iterable[str]) -> dict[str, str]:
        inside = select(names, reference.path)
        chosen = set(choose(list(inside)))
        wanted_files = {name: full for name, full in inside.items() if name in chosen}
        if not wanted_files:
            raise DictionaryError(_nothing(reference))
        return wanted_files

    with _explained(reference):
        names = _listing(reference)
        if names is None:
            folder = huggingface_hub.snapshot_download(
                reference.repository, revision=reference.revision, local_files_only=True
            )
        else:
            folder = huggingface_hub.snapshot_download(
                reference.repository,
                revision=reference.revision,
                allow_patterns=list(wanted(names).values()),
            )
    root = Path(folder)
    cached = list_files(root, depth=8)
    return Snapshot({name: cached[full] for name, full in wanted(cached).items()}, root.name)


def fetch_file(text: str) -> Path:
    """One file that a config names by hf://."""
    reference = parse_reference(text)
    if reference is None or not reference.path:
        raise DictionaryError(
            f'"{text[:100]}" names no file of a repository; write hf://org/repo/path?revision=...'
        )
    home, _, last = reference.path.rpartition("/")
    files = fetch(
        reference._replace(path=home), lambda names: [n for n in names if n == last]
    ).files
    return files[last]


def select(names: Iterable[str], path: str) -> dict[str, str]:
    """Files under a path or pattern: relative path -> full path.

    Relative to the part of the path before its first wildcard, so that a pattern such as
    layer_*/width_16k keeps the layers' own folders.
    """
    parts = path.split("/") if path else []
    fixed = next((i for i, part in enumerate(parts) if re.search(r"[*?\[]", part)), len(parts))
    selected = {}
    for name in names:
        pieces = name.split("/")
        if len(pieces) < len(parts) + (fixed == len(parts)):
            continue
        if all(fnmatch.fnmatchcase(a, b) for a, b in zip(pieces, parts, strict=False)):
            selected["/".join(pieces[fixed:])] = name
    return selected


def _listing(reference: HubReference) -> list[str] | None:
    """Files of a repository; None where the hub cannot be asked and the cache has to do."""
    answer = ask(reference.repository, reference.revision)
    if isinstance(answer, HfHubHTTPError):
        raise answer  # the hub answers, and knows better than the cache
    if answer is None or isinstance(answer, Exception):  # no network, in as many ways as there are
        return None
    return [file.rfilename for file in answer.siblings or ()]


def _nothing(reference: HubReference) -> str:
    where = f'under "{reference.path}" ' if reference.path else ""
    return (
        f"the repository {reference.repository} has no dictionary's files {where}(in the revision "
        f"{reference.revision or 'main'} as it can be seen from here); check the path"
    )


@contextmanager
def _explained(reference: HubReference) -> Any:
    """Turn the library's many exceptions into one sentence."""
    try:
        yield
    except DictionaryError:
        raise
    except Exception as error:
        raise DictionaryError(
            f'there is no dictionary "{reference.name}": it is no bundled name, no folder here, '
            f"and the model hub gave nothing for {reference.repository}"
            f"{f' at {reference.revision}' if reference.revision else ''} "
            f"({type(error).__name__}); check the name, the network, HF_TOKEN and HF_HUB_OFFLINE"
        ) from error
