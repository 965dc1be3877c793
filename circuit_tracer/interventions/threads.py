"""How many threads many small passes are run with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from circuit_tracer.models import Model

SMALL_WIDTH = 512


@contextmanager
def few_threads(model: Model) -> Iterator[None]:
    """One thread for small models: their products gain nothing from more, and where the cores are
    busy the threads wait for each other, by a factor of twenty."""
    before = torch.get_num_threads()
    if model.device.type == "cpu" and model.d_model < SMALL_WIDTH:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
