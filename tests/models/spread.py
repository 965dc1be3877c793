"""Run by every process of a test: the largest difference between a cut model and the whole one."""

from __future__ import annotations

import sys

import torch

from circuit_tracer.models import Model, open_model
from circuit_tracer.models.check import check_wiring

_ACTIVATIONS = ("embeddings", "resid_pre", "attention_out", "mlp_in", "mlp_out", "logits")


def largest_difference(cut: Model, whole: Model) -> float:
    """Over a captured pass, the losses and the weights of neurons."""
    ids = whole.tokenize("the banana is yellow")
    ours, theirs = cut.capture(ids), whole.capture(ids)
    check_wiring(ours, cut.wiring)
    rows = torch.tensor([ids])
    pairs = [(getattr(ours, name), getattr(theirs, name)) for name in _ACTIVATIONS]
    pairs += list(zip(ours.patterns, theirs.patterns, strict=True))
    pairs.append((cut.loss(rows, _nothing), whole.loss(rows, _nothing)))
    pairs.append((cut.mlp_activity(rows).outputs, whole.mlp_activity(rows).outputs))
    pairs.append((cut.wiring.mlp_weights(1).down, whole.wiring.mlp_weights(1).down))
    return max(float((a - b).abs().max()) for a, b in pairs)


def _nothing(layer: int, x: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(x)


def main() -> None:
    """One number a folder."""
    for folder in sys.argv[1:]:
        spread = open_model(folder, dtype="float64", tensor_parallel=True)
        print(largest_difference(spread, open_model(folder, dtype="float64", device="cpu")))
