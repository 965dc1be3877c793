"""Step 6 of `diff`: the edges into an answer, a feature and the contrast, base against tuned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from circuit_tracer.experiments.diff.report.edges import tables
from circuit_tracer.experiments.diff.step import Earlier
from circuit_tracer.experiments.diff.steps import edges, features, shift
from circuit_tracer.experiments.diff.study import Study, unreported
from circuit_tracer.experiments.kit.passes import contrasts
from circuit_tracer.models import Model
from tests.experiments.diff.small import small_study, tiny_pair
from tests.tiny import residual_dictionary

LAYER = 1


def shaken(model: Model, part: str) -> None:
    """Random changes of the parameters whose names hold a part."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, one in model.module.named_parameters():
            if part in name:
                change = torch.randn(one.shape, generator=generator, dtype=torch.float64)
                one += 0.1 * one.std() * change.to(one)


def measured(folder: Path, part: str) -> tuple[Study, edges.Edges]:
    base, tuned = tiny_pair()
    shaken(tuned, part)
    study = small_study(folder, base, tuned, most_split=1)
    study = replace(study, dictionaries=(residual_dictionary(base, LAYER),))
    earlier = Earlier()
    for step in (shift, features):
        earlier.add(step.measure(study, earlier, unreported))
    return study, edges.measure(study, earlier, unreported)


@pytest.fixture(scope="module")
def all_layers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, edges.Edges]:
    """Every layer's weights changed."""
    return measured(tmp_path_factory.mktemp("edges"), "layers")


def test_values_are_the_models_own_and_parts_sum_to_their_change(
    all_layers: tuple[Study, edges.Edges],
) -> None:
    study, found = all_layers
    answer, feature, contrast = found.targets
    asks = edges.edge_asks(study)
    assert {study.role(ask.item) for ask in asks} == {"test"}
    for side in ("base", "tuned"):
        model = study.model(side)
        np.testing.assert_allclose(getattr(answer, side), -contrasts(model, asks), atol=1e-6)
        ends = shift.ends(model, asks)[:, LAYER]
        sae = features.residual(study)
        assert sae is not None
        place = int(feature.name.rpartition("/")[2])
        screened = features.measure(study, Earlier(), unreported).screening
        assert place == screened.feature[0]
        row, bias = (getattr(sae.layers[LAYER], n)[place].cpu().numpy() for n in ("W_enc", "b_enc"))
        np.testing.assert_allclose(getattr(feature, side), ends @ row + bias, atol=1e-6)
        earlier = shift.measure(study, Earlier(), unreported).contrast[LAYER]
        values = ends @ (earlier / np.linalg.norm(earlier))
        np.testing.assert_allclose(getattr(contrast, side), values, atol=1e-6)
    for one in found.targets:
        np.testing.assert_allclose(one.parts.sum((1, 2, 3)), one.change, atol=1e-5)
        np.testing.assert_allclose(one.effects.sum(1), one.change, atol=1e-4)
    result = edges.result(study, found)
    for target, one in zip(result.targets, found.targets, strict=True):
        assert target.change.value == pytest.approx(one.change.mean())
        modules = sum(row.parts.change for row in target.modules)
        assert modules == pytest.approx(one.change.mean(), abs=1e-5)
        heads = sum(row.parts.change for row in target.modules if row.module == "head")
        assert sum(row.parts.change for row in target.sources) == pytest.approx(heads)
        assert {row.token for row in target.sources} > {"BOS", "is", "the", edges.OTHERS}


@pytest.mark.parametrize(
    ("part", "here", "kind"),
    [
        ("layers.1.self_attn.o_proj", "values_output", "values and output"),
        ("layers.1.self_attn.q_proj", "queries_keys", "queries and keys"),
        ("layers.1.mlp.down_proj", "mlps", "MLP"),
        ("layers.0.self_attn.v_proj", "", "values and output"),
    ],
)
def test_a_share_goes_to_the_weights_that_changed(
    tmp_path: Path, part: str, here: str, kind: str
) -> None:
    """Those of layer 1 write to the stream after it; of layer 0 much comes as changed input."""
    study, found = measured(tmp_path, part)
    one = next(t for t in found.targets if t.layer == LAYER)
    signs = np.sign(one.change)
    same = replace(one, base=one.base * signs, tuned=one.tuned * signs,
                   parts=one.parts * signs[:, None, None, None],
                   effects=one.effects * signs[:, None])  # fmt: skip
    result = edges.result(study, edges.Edges((same,))).targets[0]
    down = result.weights_of(kind)
    assert down is not None
    assert down.value == pytest.approx(1, abs=1e-3)
    assert {share.kind for share in result.weights} == {kind}
    if here and "mlp" not in part:
        read_on = result.input.value + result.cross.value  # by the layer's own MLP
        assert getattr(result, here).value + read_on == pytest.approx(1, abs=1e-5)
    elif here:
        assert getattr(result, here).value == pytest.approx(1, abs=1e-5)
    else:
        assert abs(result.input.value) > 1e-3


def test_two_copies_of_a_model_have_no_shares(tmp_path: Path) -> None:
    study, found = measured(tmp_path, "nothing")
    result = edges.result(study, found)
    for one in result.targets:
        assert one.change.value == 0
        assert one.miss == one.weights_miss == 0
        assert np.isnan(one.values_output.value)
        assert one.weights == ()
    shown = list(tables(result))
    assert [len(table.rows) for table in shown[:2]] == [2, 0]  # no feature has changed


def test_every_measurement_is_a_row(all_layers: tuple[Study, edges.Edges]) -> None:
    study, found = all_layers
    rows = list(edges.rows(study, found))
    for one in found.targets:
        own = [row for row in rows if str(row["name"]).startswith(f"{one.name}: ")]
        parts = sum(float(row["value"]) for row in own if ": weights, " not in str(row["name"]))  # type: ignore[arg-type]
        assert parts == pytest.approx(one.change.sum(), abs=1e-5)
    shown = list(tables(edges.result(study, found)))
    assert all(len(row) == len(table.columns) for table in shown for row in table.rows)
    assert len(shown) == 5
