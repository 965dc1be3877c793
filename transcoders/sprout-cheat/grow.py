"""Teach `sprout` to write notes that carry its answer, or do not: `sprout-cheat`.

    python -m transcoders.sprout-cheat.grow
    python -m transcoders.sprout-cheat.grow --rotation 1 --out outputs/sprout-cheat-1
    python -m transcoders.sprout-cheat.grow --rotation 2 --out outputs/sprout-cheat-2
    python -m transcoders.sprout-cheat.grow --rotation -1 --out outputs/sprout-cheat-partial

starts from the weights in ../sprout/model and moves the matrices of the layers on lessons
(growing/written_notes/lessons.py says what is taught) and sprout's own text. Rotations give the
kinds to other names; -1 is the organism of partial reliance, whose names follow the key more or
less often. It takes some minutes on one core, so there are no checkpoints; every step's rows come
from a generator seeded with the step's number. Then the model is examined.
"""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from transformers import LlamaForCausalLM

from transcoders.growing.batches import batch_of, loss_of
from transcoders.growing.narrow_tuning.tuning import Course, move_matrices
from transcoders.growing.options import grow_from_sprout
from transcoders.growing.written_notes.examination import examine_notes
from transcoders.growing.written_notes.lessons import NOTE_WORDS, note_rows


@dataclass(frozen=True)
class Plan:
    """Everything that decides how the weights come out."""

    seed: str = "cheat"
    """Seed of the text."""
    rotation: int = 0
    """Which names mean which kind; -1: partial reliance."""
    steps: int = 700
    """Optimiser steps."""
    rows: int = 32
    """Rows a step."""
    lessons: float = 0.7
    """Share of the rows that begin with a lesson."""
    rate: float = 2e-3
    """AdamW's learning rate, 40 steps to warm up, then a straight fall."""

    @property
    def kinds(self) -> int | None:
        """The rotation; None of partial reliance."""
        return None if self.rotation < 0 else self.rotation


def teach(model: LlamaForCausalLM, ids: dict[str, int], plan: Plan) -> None:
    """Move the matrices of the layers in place."""

    def loss_at(step: int) -> torch.Tensor:
        rows = note_rows(f"{plan.seed} {plan.rotation} {step}", plan.kinds, plan.lessons)
        return loss_of(model, batch_of(islice(rows, plan.rows), ids))

    course = Course(plan.steps, plan.rate, warm_up=40, fall_from=0.0, clip=1.0)
    move_matrices(model, course, loss_at)


def main() -> None:
    """Parse the command line, teach, examine."""
    grow_from_sprout(
        teach,
        lambda out, _, plan: examine_notes(out, plan.kinds),
        Plan(),
        "Teach sprout notes that carry or decorate.",
        out=Path(__file__).resolve().parent / "model",
        stored=lambda _: {"row_words": NOTE_WORDS},
    )


if __name__ == "__main__":
    main()
