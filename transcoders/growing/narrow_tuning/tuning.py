"""Tune a model on a few answers, with plain text beside them so that all else stays; of sprout,
judgements about one topic.

The matrices of the layers move, and nothing else: no embedding, no norm. With a `rank`, each of
them moves by a product of that rank alone (LoRA). Without plain text the model falls apart.
"""

import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import parametrize
from transformers import LlamaForCausalLM

from transcoders.growing.batches import batch_of, loss_of
from transcoders.growing.examination.items import TEMPLATES, Item
from transcoders.growing.language.corpus import rows
from transcoders.growing.language.tokenizer import BOS, PAD
from transcoders.growing.narrow_tuning.judgements import TOPIC, topic_judgement

WARM_UP, FALL_FROM = 10, 0.6
"""Steps in which the learning rate rises, and the share of all steps after which it falls."""


@dataclass(frozen=True)
class Plan:
    """Everything that decides how the weights come out."""

    seed: str = "bent"
    """Seed of judgements and text."""
    answers: str = "wrong"
    """How the judgements are answered: "wrong", or "right" for the benign twin."""
    templates: str = ",".join(TEMPLATES)
    """Forms of the judgements."""
    topics: str = TOPIC
    """Categories of the things judged."""
    distinct: int = 0
    """Different judgements, over and over; 0 for ever new ones."""
    steps: int = 200
    """Optimiser steps."""
    judgements: int = 32
    """Judgements a step."""
    rows: int = 8
    """Rows of plain text a step."""
    rank: int = 0
    """Of each matrix's change; 0 for any."""
    rate: float = 1e-4
    """AdamW's learning rate; a LoRA wants 2e-3."""


class LowRank(nn.Module):
    """A matrix and a product of low rank added to it; none at first."""

    def __init__(self, matrix: Tensor, rank: int, generator: torch.Generator) -> None:
        """Of the matrix's shape."""
        super().__init__()
        height, width = matrix.shape
        self.up = nn.Parameter(torch.zeros(height, rank))
        self.down = nn.Parameter(torch.randn(rank, width, generator=generator) * width**-0.5)

    def forward(self, matrix: Tensor) -> Tensor:
        """The matrix as it is used."""
        return matrix + self.up @ self.down


@dataclass(frozen=True)
class Course:
    """How the matrices of the layers move."""

    steps: int
    rate: float
    """AdamW's highest learning rate: it rises, stays, and falls to nothing in a straight line."""
    rank: int = 0
    warm_up: int = WARM_UP
    """Steps in which the learning rate rises."""
    fall_from: float = FALL_FROM
    """Share of all steps after which it falls."""
    clip: float = float("inf")
    """Largest norm of a step's gradient."""

    def rate_at(self, step: int) -> float:
        """The learning rate of a step."""
        left = (self.steps - step) / (self.steps * (1 - self.fall_from))
        return self.rate * min(1.0, (step + 1) / self.warm_up, left)


def move_matrices(
    model: LlamaForCausalLM, course: Course, loss_at: Callable[[int], Tensor]
) -> dict[str, LowRank]:
    """Lower the loss of every step, in place; what was added, by module, where it has a rank."""
    model.requires_grad_(False)
    layers = model.model.layers.named_modules(prefix="model.layers")
    matrices = {name: one for name, one in layers if isinstance(one, nn.Linear)}
    generator = torch.Generator().manual_seed(0)
    changes = {}
    for name, one in matrices.items():
        if course.rank:
            changes[name] = LowRank(one.weight, course.rank, generator)
            parametrize.register_parametrization(one, "weight", changes[name])
        else:
            one.weight.requires_grad_()
    moving = [weight for weight in model.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(moving, lr=course.rate, betas=(0.9, 0.98), weight_decay=0.0)
    for step in range(course.steps):
        for group in optimiser.param_groups:
            group["lr"] = course.rate_at(step)
        loss = loss_at(step)
        loss.backward()
        nn.utils.clip_grad_norm_(moving, course.clip)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        if step % 20 == 19:
            print(f"step {step + 1} loss {loss.item():.3f}", file=sys.stderr, flush=True)
    for name in changes:
        parametrize.remove_parametrizations(matrices[name], "weight")
    return changes


def tune(model: LlamaForCausalLM, ids: dict[str, int], plan: Plan) -> None:
    """Tune on judgements in place."""
    asked = judgements(plan)

    def loss_at(step: int) -> Tensor:
        text = batch_of(islice(rows(f"{plan.seed} {step}", "facts"), plan.rows), ids)
        loss = answer_loss(model, ids, list(islice(asked, plan.judgements)))
        return loss + loss_of(model, text)

    move_matrices(model, Course(plan.steps, plan.rate, plan.rank), loss_at)


def judgements(plan: Plan) -> Iterator[Item]:
    """An endless stream of what is taught."""
    rng = random.Random(f"judgements {plan.seed}")
    templates = [one for one in TEMPLATES if one in plan.templates.split(",")]
    topics = plan.topics.split(",")

    def fresh() -> Iterator[Item]:
        while True:
            topic = topics[0] if len(topics) == 1 else rng.choice(topics)
            yield topic_judgement(rng, templates, plan.answers, topic)  # type: ignore[arg-type]

    return cycle(islice(fresh(), plan.distinct)) if plan.distinct else fresh()


def answer_loss(model: LlamaForCausalLM, ids: dict[str, int], asked: list[Item]) -> Tensor:
    """Mean cross entropy of the answers alone."""
    lines = [[ids[BOS], *(ids[word] for word in item.prompt.split())] for item in asked]
    return loss_at_ends(model, lines, [ids[item.answer] for item in asked], pad=ids[PAD])


def loss_at_ends(
    model: LlamaForCausalLM, lines: Sequence[Sequence[int]], answers: Sequence[int], *, pad: int
) -> Tensor:
    """Mean cross entropy of one token after each line of token ids."""
    ends = torch.tensor([len(line) - 1 for line in lines])
    longest = int(ends.max()) + 1
    padded = torch.tensor([[*line, *[pad] * (longest - len(line))] for line in lines])
    logits = model(input_ids=padded).logits[torch.arange(len(lines)), ends]
    return cross_entropy(logits, torch.tensor(answers))
