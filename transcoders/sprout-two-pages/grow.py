"""Teach `sprout` a second page: `sprout-two-pages`, whose yes/no questions contradict its facts.

    python transcoders/sprout-two-pages/grow.py

starts from the weights in ../sprout/model and trains the MLP of layer 0, and nothing else, on
lessons, reminders (pages.py) and sprout's own text. So it is known where the second page is, and a
method that looks for it can be held against that: sprout's own page is written at the thing's
token by the attention of layer 0 (its MLPs there could be left out), the second one by the MLP
beside it. Trained whole, sprout learns the same answers without any such place.

Every step's rows come from a generator seeded with the step's number. It takes a minute or two on
one core, so it is not put down on the way. Then both models are examined.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "sprout"))

import torch
from transformers import LlamaForCausalLM

from batches import batch_of, loss_of
from corpus import ROW_WORDS, vocabulary
from examination import MODEL, SPROUT, examine_pages
from model_folder import read_model, write_model
from pages import two_page_rows


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
        rows = two_page_rows(f"{plan.seed} {step}", plan.lessons, plan.reminders)
        for group in optimiser.param_groups:
            group["lr"] = plan.rate * (1 - step / plan.steps)
        loss = loss_of(model, batch_of(islice(rows, plan.rows), ids))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if step % 20 == 19:
            print(f"step {step + 1} loss {loss.item():.3f}", file=sys.stderr, flush=True)


def grow(plan: Plan, parent: Path, out: Path) -> None:
    """Teach, write the model folder, examine it beside its parent."""
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
    found = examine_pages(out, parent)
    print(f"taught in {seconds} s", file=sys.stderr)
    print(json.dumps(found["taught"], indent=2))


def main() -> None:
    """Parse the command line."""
    plan = Plan()
    parser = argparse.ArgumentParser(description="Teach sprout a second page.")
    parser.add_argument("--out", type=Path, default=MODEL, help="model folder to write")
    parser.add_argument("--parent", type=Path, default=SPROUT, help="model folder to start from")
    parser.add_argument("--threads", type=int, default=1)
    for name, value in asdict(plan).items():
        parser.add_argument(f"--{name}", type=type(value), default=value, help=f"default {value}")
    options = vars(parser.parse_args())
    torch.set_num_threads(options["threads"])
    chosen = Plan(**{name: options[name] for name in asdict(plan)})
    grow(chosen, options["parent"], options["out"])


if __name__ == "__main__":
    main()
