"""The device of the test run: `CIRCUIT_TRACER_TEST_DEVICE`, any that torch knows, or `fake`.

This is the one place that says which. Random numbers are drawn on the host, so that every device
computes with the same ones, and what is compared is brought to the host by `on_host`.
"""

from __future__ import annotations

import os

import pytest
import torch
from torch import Tensor

from circuit_tracer.errors import reason
from tests import fake_device


def _device(name: str) -> torch.device:
    if name == fake_device.FAKE:
        return fake_device.install()
    try:
        return torch.empty(0, device=name).device  # with its index, as tensors have it
    except (RuntimeError, AssertionError) as error:
        pytest.exit(f'CIRCUIT_TRACER_TEST_DEVICE="{name}" cannot be used here: {reason(error)}', 4)


HOST = torch.device("cpu")
"""Where tests of files work: a file opened elsewhere gives the same weights, not the same sums."""

DEVICE = _device(os.environ.get("CIRCUIT_TRACER_TEST_DEVICE", "cpu"))
"""Where tiny models and dictionaries lie."""


def on_host(tensor: Tensor) -> Tensor:
    """A tensor's numbers, to be compared with others."""
    return tensor.detach().cpu()
