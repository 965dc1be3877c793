"""Teach `sprout` a second store: `sprout-two-pages`, whose yes/no questions contradict its facts.

    python -m transcoders.sprout-two-pages.grow

starts from the weights in ../sprout/model and trains the MLP of layer 0, and nothing else, on
lessons, reminders (growing/second_store/lessons.py) and sprout's own text. So it is known where the
second store is, and a method that looks for it can be compared with that: sprout's own store is
written at the thing's token by the attention of layer 0 (its MLPs there could be left out), the
second one by the MLP of that layer. Trained whole, sprout learns the same answers without any such
site.

Every step's rows come from a generator seeded with the step's number. It takes a minute or two on
one core, so there are no checkpoints. Then both models are examined.
"""

import json
import sys
import time
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import torch
from transformers import LlamaForCausalLM

from transcoders.growing.batches import batch_of, loss_of
from transcoders.growing.language.corpus import ROW_WORDS, vocabulary
from transcoders.growing.model_folder import read_model, write_model
from transcoders.growing.options import grow_from_parent
from transcoders.growing.second_store.examination import examine_second_store
from transcoders.growing.second_store.lessons import two_store_rows

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Plan:
    """Everything that decides how the weights come out."""

    seed: str = "two pages"
    """Seed of the text."""
    steps: int = 600
    """Optimiser steps."""
    rows: int = 32
    """Rows a step."""
    lessons: float = 0.2
    """Share of the sentences that are lessons."""
    reminders: float = 0.4
    """Share that say next to them what is to stay, as sprout has it."""
    rate: float = 2e-3
    """AdamW's learning rate, which falls to nothing in a straight line."""


def teach(model: LlamaForCausalLM, ids: dict[str, int], plan: Plan) -> None:
    """Train the MLP of layer 0 in place."""
    taught = list(model.requires_grad_(False).model.layers[0].mlp.requires_grad_().parameters())
    optimiser = torch.optim.AdamW(taught, lr=plan.rate, betas=(0.9, 0.98), weight_decay=0.0)
    for step in range(plan.steps):
        rows = two_store_rows(f"{plan.seed} {step}", plan.lessons, plan.reminders)
        for group in optimiser.param_groups:
            group["lr"] = plan.rate * (1 - step / plan.steps)
        loss = loss_of(model, batch_of(islice(rows, plan.rows), ids))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if step % 20 == 19:
            print(f"step {step + 1} loss {loss.item():.3f}", file=sys.stderr, flush=True)


def grow(plan: Plan, parent: Path, out: Path) -> None:
    """Teach, write the model folder, examine it and its parent."""
    started = time.perf_counter()
    model, ids = read_model(parent)
    teach(model, ids, plan)
    seconds = round(time.perf_counter() - started)
    growing = {
        "parent": "sprout",
        "tokens_seen": plan.steps * plan.rows * (ROW_WORDS + 1),
        "wall_seconds": seconds,
        "plan": asdict(plan),
    }
    write_model(model, vocabulary(), growing, out)
    skills = examine_second_store(out, parent)
    print(f"taught in {seconds} s", file=sys.stderr)
    print(json.dumps(skills["taught"], indent=2))


def main() -> None:
    """Parse the command line."""
    grow_from_parent(grow, Plan(), "Teach sprout a second store.", out=HERE / "model")


if __name__ == "__main__":
    main()
