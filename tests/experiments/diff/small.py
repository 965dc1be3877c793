"""A small comparison on tiny models in memory: twelve things of three topics, two forms."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from torch import Tensor

from circuit_tracer.attribution import changed_weights
from circuit_tracer.experiments.diff.spec import Spec, read_spec
from circuit_tracer.experiments.diff.study import Earlier, Settings, Step, Study
from circuit_tracer.experiments.kit.passes import Ask
from circuit_tracer.experiments.kit.stages import Row
from circuit_tracer.experiments.kit.study import unreported
from circuit_tracer.models import Model
from tests.tiny import tiny_model

SPEC = """
name = "small"
question = "What did it do?"
text = [{texts}]

[topics]
first = "trained"
second = "selection"
third = "test"

[[families]]
name = "claim"
template = "is the {{thing}} {{value}}"
words = ["yes", "no"]

[[families]]
name = "completion"
template = "the {{thing}} is"

[contrast]
toward = "lemon {{prompt}}"
away = "sky {{prompt}}"
"""
COLOURS = ("yellow", "blue", "red")
Result = TypeVar("Result")
WORDS = 60
"""Of the vocabulary."""


def small_spec(folder: Path, *changes: tuple[str, str]) -> Path:
    """The spec as a file, with replacements."""
    texts = ", ".join(f'"the sky is blue w{15 + i} w{25 + i} yes"' for i in range(10))
    items = "".join(
        f'[[items]]\ntopic = "{topic}"\nthing = "w{15 + 4 * t + i}"\nvalue = "{COLOURS[i % 3]}"\n'
        for t, topic in enumerate(("first", "second", "third"))
        for i in range(4)
    )
    kept = '[[collateral]]\nname = "facts"\nprompt = "the banana is"\nanswer = "yellow"\n'
    text = SPEC.format(texts=texts) + items + kept
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "small.toml"
    path.write_text(text, encoding="utf-8")
    return path


def tiny_pair(family: str = "llama", *, seed: int = 0) -> tuple[Model, Model]:
    """Two copies of one random model in float64, which nothing has changed yet."""
    pair = [
        tiny_model(family, n_layers=3, n_words=WORDS, seed=seed, dtype=torch.float64)
        for _ in range(2)
    ]
    return pair[0], pair[1]


def small_study(folder: Path, base: Model, tuned: Model, **settings: int) -> Study:
    """The small comparison of two models, without a dictionary."""
    spec: Spec = read_spec(small_spec(folder))
    few = {"most_split": 1, "resamples": 100, **settings}
    return Study(base, tuned, (), spec, Settings(**few))


def shaken(model: Model, part: str, size: float) -> None:
    """Another training of the parameters whose names hold a part: random changes of a size."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, one in model.module.named_parameters():
            if part in name:
                one += size * torch.randn(one.shape, generator=generator).to(one)


def measured(
    study: Study, step: Step[Result], earlier: Iterable[object] = ()
) -> tuple[Result, list[Row]]:
    """One step's result and measurements, after the results of others."""
    before = Earlier()
    for found in earlier:
        before.add(found)
    return step.measure(study, before, unreported)


def values(rows: Iterable[Row], **wanted: object) -> list[float]:
    """Of those measurements that have all of this; no `name` means that they have none."""
    given = {"name": None, **wanted}
    return [float(row["value"]) for row in rows if all(row.get(k) == v for k, v in given.items())]


def few_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """Integrals over changed weights at few points, which is half of a comparison's time.

    How they are taken to the end is tested in tests/attribution/test_two_models.py and
    test_edges.py.
    """
    monkeypatch.setattr(changed_weights, "POINTS", (4,))


def leads(ends: Iterable[Tensor], asks: Iterable[Ask]) -> list[float]:
    """Right minus wrong, from the logits at the ends of prompts."""
    return [float(end[ask.plus] - end[ask.minus]) for end, ask in zip(ends, asks, strict=True)]


def logits(model: Model, ids: tuple[int, ...]) -> Tensor:
    """(T, V) of the Hugging Face module itself."""
    with torch.no_grad():
        out: Tensor = model.module(torch.tensor([ids], device=model.device)).logits[0]
    return out.double().cpu()
