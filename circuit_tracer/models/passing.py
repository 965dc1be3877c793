"""What a pass needs whatever its caller does: gradients where they are asked for, and no other
thread in the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
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
    with torch.inference_mode(False), torch.enable_grad(), _on_host():
        yield


def _on_host() -> AbstractContextManager[object]:
    """What others make in here without naming a device is the host's, whatever is set for that
    (`torch.set_default_device`)."""
    is_usual = torch.get_default_device().type == "cpu"  # a context of its own slows every call
    return nullcontext() if is_usual else torch.device("cpu")


def one_at_a_time(run: OfModel[P, R]) -> OfModel[P, R]:
    """The function, made to wait until no other thread is in the model."""

    @wraps(run)
    def waiting(wrapped: Any, wiring: Wiring, /, *args: P.args, **given: P.kwargs) -> R:
        with wiring.passing, _on_host():
            return run(wrapped, wiring, *args, **given)

    return waiting


def reading(run: OfModel[P, R]) -> OfModel[P, R]:
    """The same for a function that needs no gradients."""
    return one_at_a_time(torch.no_grad()(run))
