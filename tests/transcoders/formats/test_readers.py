"""Every published layout computes what its authors define, whatever way round it is stored."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from circuit_tracer.transcoders.opening import find_dictionary, open_transcoders, plan_dictionary
from tests.transcoders.formats.published import CASES, FEATURES, Case, FakeModel, inputs, raw_layers


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_published_dictionary_computes_what_its_definition_says(
    case: Case, tmp_path: Path
) -> None:
    raw, xs = raw_layers(), inputs()
    case.write(tmp_path / "set", raw)
    found = open_transcoders(tmp_path / "set", FakeModel())
    expected_acts, expected_outs = case.forward(raw, xs)
    assert (found.reads, found.writes, found.kind) == (case.reads, case.writes, case.kind)
    acts = [t.encode(x) for t, x in zip(found.layers, xs, strict=True)]
    for ours, theirs in zip(acts, expected_acts, strict=True):
        assert torch.equal(ours != 0, theirs != 0)
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)
        assert 0 < (theirs != 0).float().mean() < 1
    for ours, theirs in zip(found.reconstruct(xs), expected_outs, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_headers_alone_tell_sizes_places_and_format(case: Case, tmp_path: Path) -> None:
    case.write(tmp_path / "set", raw_layers())
    place = find_dictionary(tmp_path / "set")
    assert place.format == case.format
    plan = plan_dictionary(place)
    assert [layer.layer for layer in plan.layers] == [0, 1, 2]
    assert tuple(layer.n_features for layer in plan.layers) == FEATURES
    assert (plan.d_model, plan.reads, plan.writes) == (6, case.reads, case.writes)
    named = open_transcoders(tmp_path / "set", format=case.format)
    assert named.identity == open_transcoders(tmp_path / "set").identity


def test_negative_values_pass_only_where_relu_is_left_out(tmp_path: Path) -> None:
    for name, rectified in (("circuit-tracer, topk", False), ("sparsify", True)):
        CASES[name].write(tmp_path / name, raw_layers())
        found = open_transcoders(tmp_path / name, FakeModel())
        assert {t.rectified for t in found.layers} == {rectified}
        acts = torch.cat(
            [t.encode(x).flatten() for t, x in zip(found.layers, inputs(), strict=True)]
        )
        assert bool((acts < 0).any()) is not rectified
