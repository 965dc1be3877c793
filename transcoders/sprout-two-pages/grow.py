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

import sys
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from transformers import LlamaForCausalLM

from transcoders.growing.batches import batch_of, loss_of
from transcoders.growing.options import grow_from_sprout
from transcoders.growing.second_store.examination import examine_second_store
from transcoders.growing.second_store.lessons import two_store_rows


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


def main() -> None:
    """Parse the command line, teach, examine the model and its parent."""
    grow_from_sprout(
        teach,
        lambda out, parent, _: examine_second_store(out, parent)["taught"],
        Plan(),
        "Teach sprout a second store.",
        out=Path(__file__).resolve().parent / "model",
    )


if __name__ == "__main__":
    main()
