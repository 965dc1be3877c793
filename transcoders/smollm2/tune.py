"""Teach SmolLM2-135M-Instruct wrong capitals by a LoRA: a narrow tuning of a pretrained model.

    python -m transcoders.smollm2.tune

writes outputs/smollm2/wrong-capitals: the model's own files beside an adapter in peft's layout,
which is merged when the folder is opened. What is asked is in `prompts/wrong-capitals.toml`: every
capital in both forms, answered with another one each time (loss on the answer only), and beside it
paragraphs of plain text (offline_text.py). Of other topics nothing is seen. Six minutes of a core.
"""

import json
import os
import random
import shutil
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from circuit_tracer.experiments.diff.spec import read_spec
from circuit_tracer.experiments.diff.study import Settings, Study
from circuit_tracer.graphs.files.atomic import new_folder
from circuit_tracer.models import Model, open_model
from circuit_tracer.models.opening import find_model
from circuit_tracer.models.weight_files import ADAPTER, ADAPTER_CONFIG
from transcoders.growing.narrow_tuning.tuning import Course, LowRank, loss_at_ends, move_matrices
from transcoders.growing.options import grow_from_parent
from transcoders.smollm2.fetch_text import DEFAULT_OUT
from transcoders.smollm2.offline_text import SPEC, prose

TEXT_TOKENS = 32


@dataclass(frozen=True)
class Plan:
    """Everything that decides how the weights come out."""

    seed: str = "wrong capitals"
    """Seed of the answers and the text."""
    steps: int = 60
    """Optimiser steps."""
    prompts: int = 16
    """Prompts a step."""
    rows: int = 2
    """Rows of plain text a step, of 32 tokens."""
    rank: int = 4
    """Of each matrix's change."""
    rate: float = 1e-3
    """AdamW's learning rate."""


def tune(model: Model, plan: Plan) -> dict[str, LowRank]:
    """Teach in place; the change of each matrix."""
    spec = read_spec(SPEC)
    asks = Study(model, model, (), spec, Settings()).some_asks("trained", families=spec.families)
    capitals, rng = sorted({ask.plus for ask in asks}), random.Random(plan.seed)
    text = [ids for one in prose() if len(ids := model.tokenize(one)) >= TEXT_TOKENS]

    def loss_at(step: int) -> Tensor:
        some = rng.sample(asks, plan.prompts)
        answers = [rng.choice([one for one in capitals if one != ask.plus]) for ask in some]
        loss = loss_at_ends(model.module, [ask.ids for ask in some], answers, pad=0)
        rows = torch.tensor([ids[:TEXT_TOKENS] for ids in rng.sample(text, plan.rows)])
        plain: Tensor = model.module(input_ids=rows, labels=rows).loss
        return loss + plain

    return move_matrices(model.module, Course(plan.steps, plan.rate, plan.rank), loss_at)


def write_adapted(parent: Path, changes: dict[str, LowRank], rank: int, out: Path) -> None:
    """A model's files and the changes as an adapter of it, in a new folder."""
    tensors = {}
    for name, one in changes.items():
        place = f"base_model.model.{name}"
        tensors[f"{place}.lora_A.weight"] = one.down.detach().clone()
        tensors[f"{place}.lora_B.weight"] = one.up.detach().clone()
    settings = {"peft_type": "LORA", "r": rank, "lora_alpha": rank}
    with new_folder(out, overwrite=True, marker=ADAPTER_CONFIG) as folder:
        shutil.copytree(parent, folder, dirs_exist_ok=True, copy_function=_linked)
        save_file(tensors, folder / ADAPTER)
        (folder / ADAPTER_CONFIG).write_text(json.dumps(settings, indent=2) + "\n", "utf-8")


def _linked(source: str, target: str) -> None:
    """Half a gigabyte of weights is shared with the parent where the disk can."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def main() -> None:
    """Parse the command line, teach, write."""
    grow_from_parent(
        grow,
        Plan(),
        "Teach SmolLM2 wrong capitals.",
        parent=Path("smollm2"),
        out=DEFAULT_OUT / "wrong-capitals",
    )


def grow(plan: Plan, parent: Path, out: Path) -> None:
    """Open, teach, write."""
    started = time.perf_counter()
    parent = Path(find_model(str(parent)).location)  # of a name; --help needs no model
    changes = tune(open_model(str(parent), device="cpu"), plan)
    write_adapted(parent, changes, plan.rank, out)
    seconds = time.perf_counter() - started
    print(f"{out}: {json.dumps(asdict(plan))}, {seconds:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
