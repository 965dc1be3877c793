"""What the check of sums lets pass as rounding, and what it does not."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from circuit_tracer.attribution.assembly import Assembler
from circuit_tracer.attribution.conservation import TOLERANCE, _residuals, check_conservation
from circuit_tracer.attribution.settings import TraceSettings
from circuit_tracer.attribution.tracing import freeze_prompt, prepare
from circuit_tracer.errors import ConservationError
from circuit_tracer.models import open_model
from circuit_tracer.transcoders.neurons import open_neurons

PROMPT = "lemons taste"


@cache
def swept(dtype: str) -> Assembler:
    """All neurons of a bundled prompt: some gates cancel to 1e-5 of their terms."""
    model = open_model("sprout", device="cpu", dtype=dtype)
    dictionary = open_neurons(model)
    prepared = prepare(model, PROMPT, TraceSettings())
    with torch.no_grad():
        capture = model.capture(list(prepared.ids))
        frozen = freeze_prompt(model, dictionary, prepared, capture, {})
    assembler = Assembler(frozen.model, frozen.chosen)
    everything = np.arange(assembler.n_targets)
    assembler.run(everything, np.ones(len(everything)), batch_size=512)
    return assembler


def test_a_value_that_float32_does_not_know_better_is_no_reason_to_refuse() -> None:
    single, double = swept("float32"), swept("float64")
    assert _residuals(single, 0.01).max() > TOLERANCE["float32"]  # or this tests nothing
    assert check_conservation(single, "float32")[0] <= TOLERANCE["float32"]
    assert check_conservation(double, "float64")[0] <= TOLERANCE["float64"]


@pytest.mark.parametrize("which", ["worst", "logit"])
def test_a_little_more_than_rounding_is_refused(
    monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    single = swept("float32")
    first_logit = int(np.argmin(single.table["target"]))
    row = first_logit if which == "logit" else int(np.argmax(_residuals(single, 0.01)))
    assert (single.table["target"][row] < single.n_logits) == (which == "logit")
    wrong = single.table["constant"].copy()
    wrong[row] += 0.01 * single.table["gross"][row]
    monkeypatch.setitem(single.table.parts, "constant", [wrong])
    with pytest.raises(ConservationError, match="miss its value"):
        check_conservation(single, "float32")
