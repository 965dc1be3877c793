"""What a pass needs whatever its caller does: gradients where they are asked for, and no other
thread in the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch

from circuit_tracer.models.wiring import Wiring

P = ParamSpec("P")
R = TypeVar("R")
OfModel = Callable[Concatenate[Any, Wiring, P], R]
"""A function that runs a model, of its nnsight view and its wiring."""


@contextmanager
def gradients_recorded() -> Iterator[None]:
    """Record gradients inside, as a context or a decorator.

    Notebooks turn them off for all that follows (`torch.set_grad_enabled(False)`), or run in
    inference mode, whose tensors no gradient can pass.
    """
    with torch.inference_mode(False), torch.enable_grad():
        yield


def one_at_a_time(run: OfModel[P, R]) -> OfModel[P, R]:
    """The function, made to wait until no other thread is in the model."""

    @wraps(run)
    def waiting(wrapped: Any, wiring: Wiring, /, *args: P.args, **given: P.kwargs) -> R:
        with wiring.passing:
            return run(wrapped, wiring, *args, **given)

    return waiting


def reading(run: OfModel[P, R]) -> OfModel[P, R]:
    """The same for a function that needs no gradients."""
    return one_at_a_time(torch.no_grad()(run))
