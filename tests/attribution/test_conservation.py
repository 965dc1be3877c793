"""What the check of sums lets pass as rounding, and what it does not."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from circuit_tracer.attribution.assembly import Assembler
from circuit_tracer.attribution.conservation import TOLERANCE, check_conservation
from circuit_tracer.attribution.replacement import LocalReplacementModel
from circuit_tracer.attribution.settings import TraceSettings
from circuit_tracer.attribution.tracing import freeze_prompt, prepare
from circuit_tracer.errors import ConservationError
from circuit_tracer.models import Model, open_model
from circuit_tracer.transcoders.neurons import open_neurons
from tests.rounding import rounding
from tests.tiny import tiny_llama

FEATURE = 7
"""Number of the neuron whose row the tests write by hand."""


def without_rows(model: Model, prompt: str) -> Assembler:
    """A prompt frozen with the neuron basis."""
    prepared = prepare(model, prompt, TraceSettings())
    with torch.no_grad():
        capture = model.capture(list(prepared.ids))
        frozen = freeze_prompt(model, open_neurons(model), prepared, capture)
    return Assembler(frozen.model, frozen.chosen)


@cache
def tiny(dtype: torch.dtype) -> Assembler:
    return without_rows(tiny_llama(dtype=dtype), "the banana is")


def unknown_part(model: LocalReplacementModel) -> float:
    """By how much the dtype leaves the value of `FEATURE` open: it is a sum over d."""
    terms = float(model.terms_at(model.features.at(torch.tensor([FEATURE])))[0])
    return terms * model.embeddings.shape[1] ** 0.5 * rounding(model.embeddings.dtype, n_terms=1)


def with_a_row(dtype: torch.dtype, target: int, *, missed: float, gross: float = 10.0) -> Assembler:
    """The only row's edges, `gross` times `missed` by absolute value, cancel down to a value of the
    size of `missed`, and miss it by that."""
    assembler = Assembler(tiny(dtype).model, tiny(dtype).chosen)
    row = {"value": missed, "received": 2 * missed, "gross": gross * missed, "constant": 0.0}
    columns = {name: np.array([value]) for name, value in row.items()}
    assembler.table.add(target=np.array([target]), **columns)
    return assembler


each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


@each_dtype
def test_a_value_that_its_dtype_does_not_know_better_is_no_reason_to_refuse(
    dtype: torch.dtype,
) -> None:
    name, prompt = str(dtype).removeprefix("torch."), tiny(dtype)
    row, unknown = prompt.n_logits + FEATURE, unknown_part(prompt.model)
    within = with_a_row(dtype, row, missed=0.9 * unknown)
    assert check_conservation(within, name) == (0, TOLERANCE[name])
    with pytest.raises(ConservationError, match="miss its value by a share of 1,"):
        check_conservation(with_a_row(dtype, row, missed=1.1 * unknown), name)


@pytest.mark.parametrize(("cotangents", "coarser"), [("bf16", 2**16), ("tf32", 2**13)])
def test_what_lower_precision_knows_less_is_no_reason_to_refuse(
    cotangents: str, coarser: int
) -> None:
    """Where a neuron's gate cancels and one token is all that there is, nothing else is large."""
    prompt = tiny(torch.float32)
    row, unknown = prompt.n_logits + FEATURE, coarser * unknown_part(prompt.model)
    within = with_a_row(torch.float32, row, missed=0.9 * unknown, gross=2)
    assert check_conservation(within, cotangents) == (0, TOLERANCE[cotangents])
    beyond = with_a_row(torch.float32, row, missed=1.1 * unknown, gross=2)
    with pytest.raises(ConservationError, match=r"miss its value by a share of 0\.5,"):
        check_conservation(beyond, cotangents)


@each_dtype
def test_a_target_is_never_excused_by_rounding(dtype: torch.dtype) -> None:
    name, unknown = str(dtype).removeprefix("torch."), unknown_part(tiny(dtype).model)
    with pytest.raises(ConservationError, match="miss its value by a share of 1,"):
        check_conservation(with_a_row(dtype, 0, missed=0.1 * unknown), name)


def test_all_neurons_of_a_prompt_whose_gates_cancel_are_accepted() -> None:
    """Some sum terms of 1 to 1e-5: this prompt was refused once."""
    assembler = without_rows(open_model("sprout", device="cpu"), "lemons taste")
    everything = np.arange(assembler.n_targets)
    assembler.run(everything, np.ones(len(everything)), batch_size=512)
    assert check_conservation(assembler, "float32")[0] <= TOLERANCE["float32"]
