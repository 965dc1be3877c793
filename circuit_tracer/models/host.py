"""Where numbers leave a device for the host, and what a device may lack: decided here, for all.

A device works on while the host prepares what comes next, and whoever reads one of its numbers (by
`.item()`, `bool()`, `nonzero`, ...) waits until it has caught up. While rows are swept this happens
here only: the walk down itself (attribution/sweep.py) reads nothing.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from numpy.typing import NDArray
from torch import Tensor


def as_numpy(tensor: Tensor) -> NDArray[Any]:
    """A tensor's numbers on the host, in their own dtype."""
    return tensor.detach().cpu().numpy()


def as_floats(tensor: Tensor) -> NDArray[np.float64]:
    """A tensor's numbers on the host in float64: widened there, some devices have no float64."""
    return tensor.detach().cpu().double().numpy()


def true_places(mask: Bool[Tensor, "..."]) -> tuple[Int[Tensor, "n"], ...]:
    """Where a mask is true, one tensor a dimension; the host waits for how many there are."""
    return mask.nonzero(as_tuple=True)


def on_device(numbers: NDArray[Any], device: torch.device) -> Tensor:
    """An array's numbers as a tensor of a device; float64 becomes what the device has of it."""
    tensor = torch.from_numpy(numbers)
    if tensor.dtype == torch.float64:
        tensor = tensor.to(widest(device))
    return tensor.to(device)


@cache
def widest(device: torch.device) -> torch.dtype:
    """The dtype in which long sums are taken: float64, or float32 where a device has no other."""
    try:
        return torch.zeros(1, dtype=torch.float64, device=device).dtype
    except (TypeError, RuntimeError):
        return torch.float32
