"""Open a dictionary by bundled name or folder, or say in one sentence why not.

open_transcoders("plt", model)            the bundled per-layer transcoders of a bundled model
open_transcoders("sprout/clt")            the same by full name, for a model derived from it
open_transcoders("outputs/mine", model)   a folder that `transcoders train` wrote
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch

from circuit_tracer.bundled import PICKLES, bundled_dictionaries, bundled_folder
from circuit_tracer.errors import DictionaryError
from circuit_tracer.transcoders.dictionary import Dictionary
from circuit_tracer.transcoders.formats import native
from circuit_tracer.transcoders.source import DictionaryModel


class Place(NamedTuple):
    """A dictionary's folder and how its graphs will call it."""

    folder: Path
    name: str
    source: str
    """"bundled" or "folder"."""


def open_transcoders(
    reference: str | Path,
    model: DictionaryModel | None = None,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Dictionary:
    """Open the dictionary `reference`, in `dtype` on `device`.

    Both are the model's own unless told; float32 on the CPU without a model.
    Raises DictionaryError, one sentence that says what to do, when it is missing, damaged, of an
    unknown form, holds NaN, or has another width or depth than `model`.
    """
    place = find_dictionary(reference, model)
    config = native.read_config(place.folder)
    if model is not None:
        check_fits(config, model, place.name)
    native.check_headers(place.folder, config)
    if device is None:
        device = "cpu" if model is None else model.device
    if dtype is None:
        dtype = torch.float32 if model is None else model.torch_dtype
    return native.load_dictionary(
        place.folder, config, device=device, dtype=dtype, source=place.source, name=place.name
    )


def find_dictionary(reference: str | Path, model: DictionaryModel | None = None) -> Place:
    """The folder behind a reference, whose content is not looked at yet."""
    text = str(reference)
    if not text.strip():
        raise DictionaryError("the dictionary's name is empty; give a bundled name or a folder")
    text = text.rstrip("/") or "/"
    path = Path(text).expanduser()
    if path.suffix.lower() in PICKLES:
        raise DictionaryError(
            f"{path.name} is a pickle-based file, which can run code when opened, so it is "
            "refused; convert the dictionary to safetensors and give its folder"
        )
    bundled = _bundled(text, model)
    if bundled is not None:
        return bundled
    if path.is_dir():
        return Place(path, path.resolve().name, "folder")
    if path.is_file():
        raise DictionaryError(f"{path.name} is a file; give the folder with {native.CONFIG} in it")
    raise DictionaryError(_not_found(text, model))


def check_fits(config: dict[str, Any], model: DictionaryModel, name: str) -> None:
    """DictionaryError if the dictionary has another depth or width than the model."""
    theirs = config.get("model") or {}
    made_for = f" (it was made for {theirs['name']})" if theirs.get("name") else ""
    for key, noun in (("n_layers", "layers"), ("d_model", "dimensions")):
        wanted = getattr(model, key)
        if config[key] != wanted:
            raise DictionaryError(
                f"the dictionary {name} has {config[key]} {noun} and the model "
                f"{model.identity.name} has {wanted}; give a dictionary made for this model"
                f"{made_for}"
            )


def is_made_for(dictionary: Dictionary, model: DictionaryModel) -> bool:
    """Whether the dictionary was trained on exactly these weights, as far as both sides tell.

    A fine-tuned model may be traced with its parent's dictionary; the caller should say so.
    """
    stored = (dictionary.config.get("model") or {}).get("sha256")
    return not stored or not model.identity.sha256 or stored == model.identity.sha256


def _bundled(text: str, model: DictionaryModel | None) -> Place | None:
    model_name, slash, name = text.rpartition("/")
    if not slash:
        if model is None or model.identity.source != "bundled":
            return None
        model_name = model.identity.name
    if not model_name or "/" in model_name or model_name.startswith(".") or not name:
        return None
    folder = bundled_folder() / model_name / name
    if not (folder / native.CONFIG).is_file():
        return None
    return Place(folder, f"{model_name}/{name}" if slash else name, "bundled")


def _not_found(text: str, model: DictionaryModel | None) -> str:
    if model is not None and model.identity.source == "bundled":
        names = ", ".join(bundled_dictionaries(model.identity.name)) or "none"
        return (
            f'there is no dictionary "{text}": {model.identity.name} comes with {names}, and there '
            "is no such folder; check the name"
        )
    return (
        f'there is no dictionary "{text}": no such folder, and only bundled models come with named '
        "ones (sprout/plt, sprout/clt); give the folder of a dictionary made for this model"
    )
