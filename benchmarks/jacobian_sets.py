"""The dictionaries that benchmarks/jacobian.py compares: with the Jacobian term and without.

    python -m benchmarks.jacobian_sets NAME [NAME ...]

trains those of sprout into `outputs/jacobian/`, each but once; a run that was stopped goes on. From
scratch on 400,000 tokens, or on with 256,000 from the first stage of what ships, which was trained
without the term on 2.4 million (transcoders/sprout/dictionaries.py).
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from circuit_tracer.models import Model, open_model
from circuit_tracer.transcoders.formats.native import read_config
from circuit_tracer.transcoders.training import TrainingConfig, train
from transcoders.growing.dictionary_building import COMMON, Workshop
from transcoders.growing.language.corpus import ROW_WORDS, rows
from transcoders.sprout.dictionaries import first_stage

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "outputs" / "jacobian"
SHOP = Workshop(folder=WORK, work=WORK, rows=rows)
SCRATCH, ON, LONG = 400_000, 256_000, 2_400_000
"""Tokens."""
SEEDS = (1, 2, 3)


@dataclass(frozen=True)
class Run:
    """One dictionary to be trained."""

    config: TrainingConfig
    goes_on: bool = False
    """From the first stage of what ships."""


def _runs() -> dict[str, Run]:
    plt = replace(COMMON, kind="plt", evaluation_tokens=20_000)
    terms: dict[str, dict[str, Any]] = {
        "none": {},
        "iso": {"jacobian": 0.1, "jacobian_directions": "iso"},
        "dec": {"jacobian": 0.1, "jacobian_directions": "dec"},
        "mix": {"jacobian": 0.1, "jacobian_directions": "mix"},
        "mix-strong": {"jacobian": 0.3, "jacobian_directions": "mix"},
    }
    found = {}
    for term, more in terms.items():
        scratch = replace(plt, max_tokens=SCRATCH, **more)
        for seed in SEEDS:
            on = replace(plt, max_tokens=ON, seed=seed + 3, **more)
            found[f"on-{term}-{seed}"] = Run(on, goes_on=True)
            found[f"{term}-{seed}"] = Run(replace(scratch, seed=seed))
            mid = replace(scratch, seed=seed, reads="hook_resid_mid")
            found[f"mid-{term}-{seed}"] = Run(mid)
            found[f"mid-{term}-long-{seed}"] = Run(replace(mid, max_tokens=LONG))
            found[f"skip-{term}-{seed}"] = Run(replace(scratch, seed=seed, skip=True))
            found[f"clt-{term}-{seed}"] = Run(replace(scratch, seed=seed, kind="clt"))
    return found


RUNS = _runs()


def held_out() -> Path:
    """The text that every set is evaluated on."""
    return SHOP.text("held_out", 22_000)


def built(name: str, model: Model) -> Path:
    """A dictionary's folder, trained if it is not there yet."""
    folder, run = WORK / name, RUNS[name]
    if (folder / "dictionary.json").is_file():
        return folder
    count = -(-(run.config.max_tokens or 0) // ROW_WORDS) + 1
    begun = time.perf_counter()
    train(
        model,
        SHOP.text("train", count * (ROW_WORDS + 1)),
        run.config,
        folder,
        held_out=held_out(),
        start=first_stage() if run.goes_on else None,
    )
    found = read_config(folder)["evaluation"]
    fvu = " ".join(f"{layer['fvu']:.3f}" for layer in found["layers"])
    seconds = time.perf_counter() - begun
    print(f"{name}: {seconds:.0f} s, FVU {fvu}, recovered {found['recovered']:.4f}", flush=True)
    return folder


def main() -> None:
    """Train what was named."""
    parser = argparse.ArgumentParser(description="Train sets for benchmarks/jacobian.py.")
    parser.add_argument("names", nargs="+", choices=list(RUNS), metavar="NAME")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = open_model("sprout", device="cpu")
    for name in options.names:
        built(name, model)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
