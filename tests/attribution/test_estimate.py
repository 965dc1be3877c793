"""What walks are expected to take: torch's own counter of multiplications is the other reader."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from circuit_tracer.attribution import estimate, sweep
from circuit_tracer.attribution.sweep import Sweep
from circuit_tracer.attribution.totals import total_effects
from circuit_tracer.transcoders.neurons import open_neurons
from tests.attribution.frozen import frozen, logit_targets


def added_in_place(_: Any, a: torch.Size, b: torch.Size, **_others: Any) -> int:
    """Of `addmm_`, which torch's counter does not know."""
    return 2 * a.numel() * b[1]


IN_PLACE = {torch.ops.aten.addmm_: added_in_place}


@pytest.fixture(autouse=True)
def _lowest_attention_is_walked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "LARGEST_IMAGE", 0)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("options", [{"dictionary": open_neurons}, {"kind": "plt"}])
@pytest.mark.parametrize("positions", [[3], [7, 8, 2] * 9])
def test_multiplications_of_walks_are_those_that_torch_counts(
    family: str, options: dict[str, Any], positions: list[int]
) -> None:
    both = frozen(family, n_zeroed=0, model_options={"n_layers": 4, "d_model": 64}, **options)
    at = torch.tensor(positions)
    targets = logit_targets(both.model, both.replacement, at, torch.ones_like(at))
    walks, counts = Sweep(both.replacement), list[int]()
    for through in (True, False):
        with FlopCounterMode(display=False, custom_mapping=IN_PLACE) as counter:
            total_effects(both.replacement, targets, sweep=walks, features=False, through=through)
        counts.append(counter.get_total_flops())
    expected = [
        estimate.walk_flops(walks, len(at), max(positions) + 1, directly=directly)
        for directly in (False, True)
    ]
    assert expected == [pytest.approx(counts[0], rel=0.03), pytest.approx(sum(counts), rel=0.03)]
