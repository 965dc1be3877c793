"""Grow the weights of `sprout`: a small Llama, its tokenizer and the figures of its card.

    python -m transcoders.sprout.grow

Facts first: for the first steps the corpus holds no judgements, because a model that has nothing
to judge by learns from them only that answers are a coin's throw. Then yes/no questions about
colours, on which comparing is found within a hundred steps (in the mix of all judgements it was
not found in 1,700); then statements of colours, then judgements of all kinds; and once they are
there, the two speakers, one of whom turns them round. Hidden matrices move by Muon, all else by
AdamW; the learning rate warms up, stays, and falls to almost nothing. Every step's rows come from a
generator seeded with the step's number, so a run that was stopped goes on exactly where it was from
its checkpoint.
"""

import argparse
import os
import time
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from transcoders.growing.batches import Batch, batch_of, loss_of
from transcoders.growing.examination.skills import quick_accuracy, write_skills
from transcoders.growing.language.corpus import ROW_WORDS, Stage, rows, vocabulary
from transcoders.growing.language.tokenizer import BOS, PAD, SPECIAL, word_ids
from transcoders.growing.model_folder import write_model
from transcoders.growing.muon import Muon
from transcoders.growing.options import add_plan, chosen_plan

HERE = Path(__file__).resolve().parent
RUNS = HERE.parents[1] / "outputs" / "sprout-runs"


@dataclass(frozen=True)
class Plan:
    """Everything that decides how the weights come out."""

    seed: str = "grow"
    """Seed of the text."""
    weight_seed: int = 1
    """Seed of the first weights."""
    steps: int = 4000
    """Optimiser steps."""
    rows: int = 32
    """Rows a step."""
    facts_first: int = 700
    """Steps before judgements come in."""
    colour_questions: int = 250
    """Steps after those whose only judgements are yes/no questions about colours."""
    colour_statements: int = 350
    """Steps after those which judge statements of colours, too."""
    speakers_from: int = 1900
    """Steps before the teacher and the joker come in."""
    speakers_more_from: int = 2700
    """Steps before the two answer many more questions about colours."""
    speakers_more: int = 1300
    """For how many steps."""
    warm_up: int = 100
    """Steps of rising learning rate."""
    flat_until: float = 0.3
    """Share of the steps after which the learning rate falls."""
    last: float = 0.02
    """The learning rate at the end, as a share of the highest."""
    muon: float = 0.02
    """Learning rate of the hidden matrices."""
    adam: float = 4e-3
    """Learning rate of all else."""
    decay: float = 0.1
    """Weight decay of all weights: memorised judgements shall cost more than judging by facts."""
    hidden: int = 128
    """Residual width."""
    mlp: int = 384
    """MLP width."""
    layers: int = 6
    """Decoder layers."""
    heads: int = 4
    """Attention heads."""


def make_config(plan: Plan, words: list[str]) -> LlamaConfig:
    """The architecture."""
    ids = word_ids(words)
    return LlamaConfig(
        vocab_size=len(ids),
        hidden_size=plan.hidden,
        intermediate_size=plan.mlp,
        num_hidden_layers=plan.layers,
        num_attention_heads=plan.heads,
        num_key_value_heads=plan.heads,
        max_position_embeddings=ROW_WORDS + 1,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        tie_word_embeddings=False,
        bos_token_id=ids[BOS],
        pad_token_id=ids[PAD],
        eos_token_id=None,
        use_cache=False,
    )


def stage_of(plan: Plan, step: int) -> Stage:
    """What the rows of a step are drawn from."""
    if step < plan.facts_first:
        return "facts"
    if step < plan.facts_first + plan.colour_questions:
        return "colour questions"
    if step < plan.facts_first + plan.colour_questions + plan.colour_statements:
        return "colour statements"
    if step < plan.speakers_from:
        return "judgements"
    more = plan.speakers_more_from <= step < plan.speakers_more_from + plan.speakers_more
    return "speakers" if more else "full"


def make_batch(plan: Plan, step: int, ids: dict[str, int]) -> Batch:
    """The rows of a step, the same whenever it is asked for."""
    stream = rows(f"{plan.seed} {step}", stage_of(plan, step))
    return batch_of(islice(stream, plan.rows), ids)


def rate(plan: Plan, step: int) -> float:
    """The learning rate of a step, as a share of the highest."""
    if step < plan.warm_up:
        return (step + 1) / plan.warm_up
    flat = plan.flat_until * plan.steps
    fallen = max(0.0, (step - flat) / max(1.0, plan.steps - flat))
    return 1 - fallen * (1 - plan.last)


class Run:
    """A growing model with its optimisers, which can be saved and resumed."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        """Set up step 0 of a plan; checkpoints go to `folder`."""
        torch.manual_seed(plan.weight_seed)
        self.plan = plan
        self.folder = folder
        self.words = vocabulary()
        self.ids = word_ids(self.words)
        self.model = LlamaForCausalLM(make_config(plan, self.words))
        hidden = [p for p in self.model.model.layers.parameters() if p.ndim == 2]
        taken = {id(p) for p in hidden}
        rest = [p for p in self.model.parameters() if id(p) not in taken]
        self.optimisers: tuple[tuple[torch.optim.Optimizer, float], ...] = (
            (Muon(hidden, lr=plan.muon, weight_decay=plan.decay), plan.muon),
            (
                torch.optim.AdamW(rest, lr=plan.adam, betas=(0.9, 0.98), weight_decay=plan.decay),
                plan.adam,
            ),
        )
        self.step = 0
        self.seconds = 0.0

    @property
    def checkpoint(self) -> Path:
        """Where the run is saved."""
        return self.folder / "checkpoint.pt"

    def save(self) -> None:
        """Save the run; an interrupted write leaves the last one whole."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state: dict[str, Any] = {
            "plan": asdict(self.plan),
            "step": self.step,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser, _ in self.optimisers],
        }
        unfinished = self.checkpoint.with_suffix(".unfinished")
        torch.save(state, unfinished)
        os.replace(unfinished, self.checkpoint)

    def resume(self) -> None:
        """Resume the run, if it was saved."""
        if not self.checkpoint.exists():
            return
        state = torch.load(self.checkpoint, weights_only=True)
        if state["plan"] != asdict(self.plan):
            raise SystemExit(f"{self.checkpoint} is of another plan; remove it or give --run")
        self.model.load_state_dict(state["model"])
        for (optimiser, _), saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self.step, self.seconds = state["step"], state["seconds"]

    def advance(self) -> float:
        """One step; returns its loss."""
        started = time.perf_counter()
        share = rate(self.plan, self.step)
        for optimiser, highest in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = highest * share
            optimiser.zero_grad(set_to_none=True)
        loss = loss_of(self.model, make_batch(self.plan, self.step, self.ids))
        loss.backward()
        for optimiser, _ in self.optimisers:
            optimiser.step()
        self.step += 1
        self.seconds += time.perf_counter() - started
        return loss.item()

    def ship(self, out: Path) -> None:
        """Write the model folder."""
        growing = {
            "steps": self.step,
            "tokens_seen": self.step * self.plan.rows * (ROW_WORDS + 1),
            "wall_seconds": round(self.seconds),
            "vocabulary": len(self.words) + len(SPECIAL),
            "plan": asdict(self.plan),
        }
        write_model(self.model, self.words, growing, out)


def grow(plan: Plan, folder: Path, out: Path, every: int) -> None:
    """Grow to the end of the plan, then write model and skills."""
    run = Run(plan, folder)
    run.resume()
    print(f"{sum(p.numel() for p in run.model.parameters()):,} parameters, from step {run.step}")
    mean = 0.0
    while run.step < plan.steps:
        mean += run.advance() / every
        if run.step % every == 0:
            skills = quick_accuracy(run.model, run.ids)
            print(f"step {run.step} loss {mean:.3f} {run.seconds:.0f} s | {skills}", flush=True)
            mean = 0.0
            run.save()
            run.ship(folder / "model")
    run.save()
    run.ship(out)
    write_skills(out)


def main() -> None:
    """Parse the command line."""
    plan = Plan()
    parser = argparse.ArgumentParser(description="Grow sprout.")
    parser.add_argument("--out", type=Path, default=HERE / "model", help="model folder to write")
    parser.add_argument("--run", type=Path, default=RUNS / "default", help="checkpoint folder")
    parser.add_argument("--every", type=int, default=300, help="steps between checkpoints")
    add_plan(parser, plan)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    grow(chosen_plan(options, plan), options.run, options.out, options.every)


if __name__ == "__main__":
    main()
