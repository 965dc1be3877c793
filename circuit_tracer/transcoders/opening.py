"""Open a dictionary by bundled name, folder or hub reference, or say in one sentence why not.

open_transcoders("plt", model)            the bundled per-layer transcoders of a bundled model
open_transcoders("sprout/clt")            the same by full name, for a model derived from it
open_transcoders("outputs/mine", model)   a folder in any known format (formats/registry.py)
open_transcoders("org/repo/sub@v2")       a repository on the hub, or hf://org/repo/sub?revision=v2

Names with wildcards choose among several: outputs/scope/layer_*/width_16k/average_l0_7?
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import torch

from circuit_tracer.bundled import (
    bundled_dictionaries,
    bundled_folder,
    bundled_models,
)
from circuit_tracer.errors import DictionaryError
from circuit_tracer.hub_reference import parse_reference
from circuit_tracer.models import Model
from circuit_tracer.models.passing import gradients_recorded
from circuit_tracer.transcoders import hub
from circuit_tracer.transcoders.decoders import memory_budget
from circuit_tracer.transcoders.dictionary import Dictionary, check_fits
from circuit_tracer.transcoders.formats import native
from circuit_tracer.transcoders.formats.files import list_files, refuse_pickles
from circuit_tracer.transcoders.formats.plan import Plan, check_plan, load_plan
from circuit_tracer.transcoders.formats.reader import Folder
from circuit_tracer.transcoders.formats.registry import READERS, reader_named, recognise
from circuit_tracer.transcoders.published_cards import FOLDER, INDEX


@gradients_recorded()
def open_transcoders(
    reference: str | Path,
    model: Model | None = None,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    format: str | None = None,
    lazy: bool | None = None,
) -> Dictionary:
    """Open the dictionary `reference`, in `dtype` on `device`.

    Both are the model's own by default; float32 on the CPU without a model. The format is found
    by the files unless `format` names it. Decoders stay on disk, where rows are read as they are
    needed, with `lazy`, and by themselves where they would take half of the free memory.
    Raises DictionaryError, one sentence that says what to do, when it is missing, damaged, of an
    unknown form, holds NaN, or has another width or depth than `model`.
    """
    folder = find_dictionary(reference, model, format=format)
    plan = plan_dictionary(folder, model)
    if device is None:
        device = "cpu" if model is None else model.device
    if dtype is None:
        dtype = torch.float32 if model is None else model.torch_dtype
    return load_plan(
        plan,
        name=folder.name,
        source=folder.source,
        location=folder.location,
        format=format or "",
        device=device,
        dtype=dtype,
        lazy=_stays_on_disk(plan, lazy, device, dtype),
    )


def plan_dictionary(folder: Folder, model: Model | None = None) -> Plan:
    """What a dictionary's headers say; checked to be whole and to fit `model`, no weight read."""
    if model is not None:
        folder = replace(folder, wiring=model.wiring)
    plan = check_plan(READERS[folder.format].plan(folder), folder.name)
    if model is not None and plan.kind == "sae":  # SAELens' files do not say how deep the model is
        plan = replace(plan, depth=max(plan.n_layers, model.n_layers))
    if model is not None:
        shape = plan.n_layers, plan.d_model
        check_fits(folder.name, shape, model, made_for=plan.model_name)
    return plan


def _stays_on_disk(
    plan: Plan, lazy: bool | None, device: torch.device | str, dtype: torch.dtype
) -> bool:
    able = all(layer.can_stay_on_disk for layer in plan.layers)
    if lazy is None:
        needed = sum(layer.decoder_bytes(dtype) for layer in plan.layers)
        return able and needed > memory_budget(device)
    if lazy and not able:
        raise DictionaryError(
            f"the decoders of {plan.format} dictionaries of this kind cannot be read row by row "
            "(they are packed, stored by columns or have factors to be folded in); convert the "
            "dictionary first: circuit-tracer transcoders convert"
        )
    return lazy


def find_dictionary(
    reference: str | Path, model: Model | None = None, *, format: str | None = None
) -> Folder:
    """A reference's files, downloaded if they are on the hub, and their format."""
    text = str(reference)
    if not text.strip():
        raise DictionaryError("the dictionary's name is empty; give a bundled name or a folder")
    if text == "neurons":
        raise DictionaryError(
            "a model's neurons are no files; `trace --transcoders neurons` takes them, and in "
            "Python open_neurons(model)"
        )
    if format is not None:
        reader_named(format)
    text = text.rstrip("/") or "/"
    path = Path(text).expanduser()
    refuse_pickles([path])
    bundled = _bundled(text, model)
    if bundled is not None:
        return _at(*bundled, "bundled", format)
    if path.is_dir():
        return _at(path, path.resolve().name, "folder", format)
    if path.is_file():
        raise DictionaryError(f"{path.name} is a file; give the folder with {native.CONFIG} in it")
    folder = _pattern(path, format) or _on_hub(text, format)
    if folder is None:
        raise DictionaryError(_not_found(text, model))
    return folder


def _at(folder: Path, name: str, source: str, format: str | None, pattern: str = "") -> Folder:
    files = list_files(folder)
    if f"{FOLDER}/{INDEX}" in files:  # published cards, whose .bin files are no weights
        files = {short: full for short, full in files.items() if not short.startswith(f"{FOLDER}/")}
    if pattern:
        files = {short: files[full] for short, full in hub.select(files, pattern).items()}
    chosen = format or recognise(files, name).name
    location = str(folder.resolve() / pattern) if source == "folder" else ""
    return Folder(folder, name, source, chosen, files, location)


def _pattern(path: Path, format: str | None) -> Folder | None:
    """A local folder and a pattern that chooses among its files."""
    has_wildcard = [bool(re.search(r"[*?\[]", part)) for part in path.parts]
    if True not in has_wildcard:
        return None
    first = has_wildcard.index(True)
    fixed = Path(*path.parts[:first])
    if not fixed.is_dir():
        return None
    return _at(fixed, fixed.resolve().name, "folder", format, "/".join(path.parts[first:]))


def _on_hub(text: str, format: str | None) -> Folder | None:
    reference = parse_reference(text)
    if reference is None or reference.repository.partition("/")[0] in bundled_models():
        return None

    def chosen(names: list[str]) -> list[str]:
        reader = reader_named(format) if format else recognise(names, reference.name)
        return list(reader.choose(names))

    snapshot = hub.fetch(reference, chosen)
    name = format or recognise(snapshot.files, reference.name).name
    first = next(iter(snapshot.files.items()))
    folder = first[1].parents[first[0].count("/")]
    source = f"hub:{reference.name}@{snapshot.commit}"
    return Folder(folder, reference.name, source, name, snapshot.files)


def is_made_for(dictionary: Dictionary, model: Model) -> bool:
    """Whether the dictionary was trained on exactly these weights, as far as both sides tell.

    A fine-tuned model may be traced with its parent's dictionary; the caller should say so.
    """
    stored = (dictionary.config.get("model") or {}).get("sha256")
    return not stored or not model.identity.sha256 or stored == model.identity.sha256


def _bundled(text: str, model: Model | None) -> tuple[Path, str] | None:
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
    return folder, f"{model_name}/{name}" if slash else name


def _not_found(text: str, model: Model | None) -> str:
    if model is not None and model.identity.source == "bundled":
        names = ", ".join(bundled_dictionaries(model.identity.name)) or "none"
        return (
            f'there is no dictionary "{text}": {model.identity.name} comes with {names}, and there '
            "is no such folder; check the name"
        )
    return (
        f'there is no dictionary "{text}": no such folder, and only bundled models come with named '
        "ones (sprout/plt, sprout/clt); give a folder, or a repository on the hub as org/repo"
    )
