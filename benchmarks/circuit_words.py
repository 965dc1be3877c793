"""Does a circuit's description in words predict interventions that nobody used to find it?

    python -m benchmarks.circuit_words [--write]

The circuit: the features that tell "a banana is" from "a tomato is", all else taken from the
latter. The description was made of its features' cards, and the ten predictions below of the
description, before any of them was run. Each exchanges the circuit's features, and nothing else,
for what they are in another prompt of as many tokens, or sets them to zero: predicted is which part
of the difference between two answers is left. `--write` puts the table into docs/circuit.md.
"""

from __future__ import annotations

from itertools import islice
from statistics import fmean
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks import pages
from benchmarks.pages import put, table
from circuit_tracer.experiments.circuit.components import Components
from circuit_tracer.experiments.circuit.judging import Judge, Level, asked
from circuit_tracer.experiments.circuit.reference import reference_of
from circuit_tracer.experiments.circuit.run import CircuitSettings, find_circuit, random_masks
from circuit_tracer.render.numbers import percent
from circuit_tracer.workbench.opening import open_pair

PROMPT, CONTRAST = "a banana is", "a tomato is"
WORDS = """Where the colour of a thing is due, two of them say "yellow", three say "red" and one,
below, reads "red"; of a yellow thing the first are active, of a red one the others, of things of
another colour and of sentences without one none that matters. The seventh keeps articles away."""
RANDOM = 20
"""Sets of as many random features."""
FALLS, STAYS = (-np.inf, 0.5), (0.9, 1.1)
"""Parts of a difference that are left where it falls, and where it stays."""


class Prediction(NamedTuple):
    """An intervention and what it is to do."""

    prompt: str
    values_of: str | None
    """The prompt that the features' values are taken from; None sets them to zero."""
    answer: str
    against: str
    left: tuple[float, float]
    """Least and most part of the difference."""


PREDICTIONS = (
    Prediction("a lemon is", "a cherry is", "yellow", "red", FALLS),
    Prediction("a cherry is", "a lemon is", "red", "yellow", FALLS),
    Prediction("a canary is", "a pizza is", "yellow", "red", FALLS),
    Prediction("a pizza is", "a canary is", "red", "yellow", FALLS),
    Prediction("what colour is a curry ?", "what colour is a scarf ?", "yellow", "red", FALLS),
    Prediction("teacher : a pineapple is", "teacher : a scarf is", "yellow", "red", FALLS),
    Prediction("a lemon is", "a canary is", "yellow", "red", STAYS),
    Prediction("a cherry is", "a pizza is", "red", "yellow", STAYS),
    Prediction("a frog is", "a crow is", "green", "yellow", STAYS),
    Prediction("rome is the capital of", None, "italy", "france", STAYS),
)


def parts_left(components: Components, numbers: Tensor, one: Prediction) -> tuple[float, float]:
    """Of the difference of two answers, with other values for some features; and the mean with
    those of as many random ones of their layers in their place."""
    how = "zero" if one.values_of is None else "resample"
    judge = Judge(
        components,
        [asked(components.model, one.prompt, one.answer, one.against)],
        reference_of(components, how, None, one.values_of),
        Level(),
    )
    own = components.mask(numbers).to(components.dtype)
    generator = torch.Generator(device="cpu").manual_seed(0)
    others = islice(random_masks(components, own, generator), RANDOM)
    own_left, *left = judge.kept(1 - torch.stack([own, *others])).share[:, 0].tolist()
    return own_left, fmean(left)


def row(one: Prediction, left: float, random: float) -> tuple[tuple[str, ...], bool]:
    """A line of the table, and whether it came out as predicted."""
    least, most = one.left
    is_so = least <= left <= most
    predicted = "at most half" if one.left == FALLS else "within a tenth"
    difference = f"{one.answer} − {one.against}"
    cells = (
        one.prompt,
        one.values_of or "zero",
        difference,
        predicted,
        percent(left),
        percent(random),
    )
    return (*cells, "yes" if is_so else "no"), is_so


def main() -> None:
    """Find the circuit, make the interventions, print the table."""
    parser = pages.parser(__doc__)
    is_written = parser.parse_args().write
    torch.set_num_threads(1)
    opened = open_pair("sprout", "plt", device="cpu")
    settings = CircuitSettings(basis="features", ablation="resample", contrast_prompt=CONTRAST)
    prompt = [asked(opened.model, PROMPT, None, None)]
    report, components, numbers = find_circuit(
        opened.model, opened.dictionary, prompt, [], settings
    )
    rows = [row(one, *parts_left(components, numbers, one)) for one in PREDICTIONS]
    names = ", ".join(one.name for one in report.components)
    heads = (
        "prompt",
        "values of",
        "difference",
        "predicted part left",
        "left",
        "of random ones",
        "so",
    )
    lines = [
        f"{names}: {percent(report.prompts[0].share)} of the difference kept, by random sets "
        f"{percent(report.random_share)}.",
        *("", WORDS, ""),
        *table(heads, [cells for cells, _ in rows]),
        *("", f"As predicted: {sum(is_so for _, is_so in rows)} of {len(rows)}.", ""),
    ]
    print("\n".join(lines))
    if is_written:
        put("circuit.md", "circuit_words", lines)


if __name__ == "__main__":
    main()
