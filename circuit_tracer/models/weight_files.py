"""Which files of a folder are a model's weights, and what their headers say.

    model.safetensors                        the whole model, or
    model.safetensors.index.json             the names of its shards
    adapter_model.safetensors                changes to it (adapter.py)

Nothing else is read. Files that hold the same weights in another form are known and left alone
(pickles, GGUF, `consolidated*.safetensors`, folders); any other safetensors file is refused,
because nothing says whether the model is complete without it.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open

from circuit_tracer.errors import ModelError
from circuit_tracer.reading import readable

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
ADAPTER, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"
OTHER_FORMS = ("consolidated*.safetensors",)
"""Weights of the same model as its authors' own code reads them; published beside the others."""


class StoredTensor(NamedTuple):
    """A tensor known by its file's header."""

    file: Path
    dtype: str
    """safetensors name: F32, BF16, F8_E4M3, ..."""
    shape: tuple[int, ...]


def weight_files(folder: Path, config: dict[str, Any], place: str) -> tuple[Path, ...]:
    """The safetensors files a model is loaded from, by name; `place` is for messages.

    Raises ModelError where it is ambiguous which they are.
    """
    if config.get("transformers_weights"):
        raise ModelError(
            f"config.json of {place} names its weights in transformers_weights, which is not "
            f"supported; call the file {WHOLE} and remove the entry"
        )
    whole, shards = (folder / WHOLE).is_file(), _shards(folder, place)
    if whole and shards not in (None, [WHOLE]):
        raise ModelError(
            f"{place} holds {WHOLE} and an index of shards, two versions of its "
            f"weights; take {WHOLE} or {INDEX} out of it"
        )
    names = [WHOLE] if whole else shards
    if names is None:
        raise ModelError(
            f"{place} has neither {WHOLE} nor {INDEX}; save the model again "
            "(model.save_pretrained(folder))"
        )
    for name in names:
        if not (folder / name).is_file():
            raise ModelError(f"{INDEX} of {place} names {name}, which is missing; get it too")
    _refuse_strays(folder, names, place)
    return tuple(folder / name for name in names)


def _shards(folder: Path, place: str) -> list[str] | None:
    """The files an index names; None without an index."""
    path = folder / INDEX
    if not path.is_file():
        return None
    with readable(f"{INDEX} of {place}", ModelError, "get the model's files again"):
        names = sorted(set(json.loads(path.read_bytes())["weight_map"].values()))
    if any(not isinstance(name, str) or Path(name).name != name for name in names):
        raise ModelError(f"{INDEX} of {place} names files outside its folder; get it again")
    return names


def _refuse_strays(folder: Path, names: Iterable[str], place: str) -> None:
    known = {*names, ADAPTER}
    for path in sorted(folder.glob("*.safetensors")):
        other_form = any(fnmatch.fnmatch(path.name, pattern) for pattern in OTHER_FORMS)
        if path.name not in known and not other_form:
            raise ModelError(
                f"{place} holds {path.name}, which is not among the weights that "
                f"would be loaded ({', '.join(sorted(names)[:3])}); take it out of the folder, or "
                f"put it into {INDEX}"
            )


def read_headers(files: Iterable[Path]) -> dict[str, StoredTensor]:
    """All tensors of these files by name; ModelError for one that is in two of them."""
    found: dict[str, StoredTensor] = {}
    for file in files:
        with (
            readable(file.name, ModelError, "get the model's files again", also=(SafetensorError,)),
            safe_open(file, framework="pt") as opened,
        ):
            for name in opened.keys():  # noqa: SIM118 - no mapping
                if name in found:
                    raise ModelError(
                        f"{found[name].file.name} and {file.name} both hold {name[:80]}; get the "
                        "model's files again"
                    )
                part = opened.get_slice(name)
                found[name] = StoredTensor(file, str(part.get_dtype()), tuple(part.get_shape()))
    return found


def read_tensor(name: str, stored: StoredTensor) -> Any:
    """One tensor, in the dtype it is stored in."""
    with safe_open(stored.file, framework="pt") as opened:
        return opened.get_tensor(name)
