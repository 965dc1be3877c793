"""The suite with other threads and other kernels, as other machines would run it.

    python -m tests.everywhere [--only NAME] [--numerical]

Torch picks its kernels by the CPU and the number of threads, and the last bits follow. Here the
choice is forced: every variant must be green. Prints a table with the times; exits with 1 if one
is not.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VARIANTS: dict[str, dict[str, str]] = {
    "two threads": {"OMP_NUM_THREADS": "2"},  # as torch takes them by itself on two cores
    "one thread": {"OMP_NUM_THREADS": "1"},
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    },
    "no vectors": {"ATEN_CPU_CAPABILITY": "default"},
}
NUMERICAL = ("attribution", "experiments", "interventions", "models", "transcoders")
"""Folders of tests whose results depend on kernels."""
OTHERS = (
    *(f"models/test_{name}.py" for name in ("chat", "folders", "hub", "parallel", "token_names")),
    "transcoders/formats",
    "experiments/dissociation/report",
)
"""What of these folders does not: files, refusals, words, drawings, and several processes."""
PARALLEL = ("-n", "logical", "--maxprocesses", "4", "--dist", "loadfile", "--no-loadscope-reorder")


def run(variant: str, *, numerical: bool) -> tuple[int, float]:
    """Exit code and wall seconds of the suite in one variant."""
    places = [f"tests/{name}" for name in NUMERICAL] if numerical else []
    places += [f"--ignore=tests/{name}" for name in OTHERS] if numerical else []
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *PARALLEL, *places],
        cwd=ROOT,
        env={**os.environ, **VARIANTS[variant]},
        check=False,
    )
    return done.returncode, time.perf_counter() - started


def main() -> None:
    """Run the variants one after the other and print what came of them."""
    parser = argparse.ArgumentParser(description="Run the suite in several variants.")
    parser.add_argument("--only", choices=tuple(VARIANTS), help="this variant alone")
    parser.add_argument("--numerical", action="store_true", help="numerical tests alone")
    options = parser.parse_args()
    names = [options.only] if options.only else list(VARIANTS)
    found = {name: run(name, numerical=options.numerical) for name in names}
    for name, (code, seconds) in found.items():
        print(f"{name:<12} {'green' if code == 0 else f'exit {code}':<8} {seconds:6.0f} s")
    sys.exit(any(code for code, _ in found.values()))


if __name__ == "__main__":
    main()
