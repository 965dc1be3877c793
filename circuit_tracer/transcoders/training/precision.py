"""Quicker passes and products of a training run, and where they may be taken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import torch

from circuit_tracer.models import Model
from circuit_tracer.models.devices import multiplies_bfloat16
from circuit_tracer.transcoders.training.config import TrainingConfig


def chosen_precision(
    model: Model, config: TrainingConfig
) -> Literal["fused", "bfloat16", "float32"]:
    """What "auto" is here."""
    if config.precision != "auto":
        return config.precision
    wide = model.torch_dtype == torch.float32
    return "bfloat16" if wide and multiplies_bfloat16(model.device) else "fused"


@contextmanager
def quick_pass(module: Any, products: torch.dtype | None, device: torch.device) -> Iterator[None]:
    """Passes inside use fused attention, which gives no patterns, and multiply in `products`.

    Raises ValueError or ImportError for a model without fused attention.
    """
    module.set_attn_implementation("sdpa")
    try:
        with nullcontext() if products is None else torch.autocast(device.type, products):
            yield
    finally:
        module.set_attn_implementation("eager")
