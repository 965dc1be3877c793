"""Step 6 of `diff`: the edges into an answer, a feature and the contrast, base against tuned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from circuit_tracer.experiments.diff import edges, features, shift
from circuit_tracer.experiments.diff.edges import EdgesResult
from circuit_tracer.experiments.diff.study import SIDES, Earlier, Study
from circuit_tracer.experiments.kit.passes import OTHERS, contrasts, streams_at
from circuit_tracer.experiments.kit.stages import Row
from circuit_tracer.models.devices import as_floats
from tests.experiments.diff.small import measured, shaken, small_study, tiny_pair, values
from tests.experiments.diff.test_persona import report
from tests.tiny import residual_dictionary

LAYER = 1


def of_change(folder: Path, part: str) -> tuple[Study, EdgesResult, list[Row]]:
    """The edges after a random change of some parameters."""
    base, tuned = tiny_pair()
    shaken(tuned, part, 0.02)
    study = small_study(folder, base, tuned)
    study = replace(study, dictionaries=(residual_dictionary(base, LAYER),))
    before = [measured(study, step)[0] for step in (shift.STEP, features.STEP)]
    return study, *measured(study, edges.STEP, before)


@pytest.fixture(scope="module")
def all_layers(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Study, EdgesResult, list[Row]]:
    """Every layer's weights changed."""
    return of_change(tmp_path_factory.mktemp("edges"), "layers")


def test_values_are_the_models_own_and_parts_sum_to_their_change(
    all_layers: tuple[Study, EdgesResult, list[Row]],
) -> None:
    study, result, rows = all_layers
    feature = result.targets[1]
    asks = study.split
    assert {study.role(ask.item) for ask in asks} == {"test"}
    sae, turned = study.residual, shift.contrast(study)
    assert sae is not None
    assert turned is not None
    place = int(feature.name.rpartition("/")[2])
    assert place == measured(study, features.STEP)[0].rows[0].feature
    row, bias = (getattr(sae.layers[LAYER], n)[place].cpu().numpy() for n in ("W_enc", "b_enc"))
    direction = turned[:, LAYER].mean(0) / np.linalg.norm(turned[:, LAYER].mean(0))
    changes = []
    for side in SIDES:
        model = study.model(side)
        ends = as_floats(streams_at(model, asks, ("verdict",)))[:, 0, LAYER + 1]
        expected = (-contrasts(model, asks), ends @ row + bias, ends @ direction)
        for target, own in zip(result.targets, expected, strict=True):
            assert values(rows, model=side, name=target.name) == pytest.approx(own, abs=1e-6)
            assert getattr(target, side).value == pytest.approx(own.mean(), abs=1e-6)
        changes.append(expected)
    for target, before, after in zip(result.targets, *changes, strict=True):
        change = (after - before).mean()
        assert target.change.value == pytest.approx(change, abs=1e-6)
        assert target.miss < 1e-5
        assert target.weights_miss < 1e-4
        modules = sum(row.parts.change for row in target.modules)
        assert modules == pytest.approx(change, abs=1e-5)
        heads = sum(row.parts.change for row in target.modules if row.module == "head")
        assert sum(row.parts.change for row in target.sources) == pytest.approx(heads)
        assert {row.token for row in target.sources} > {"BOS", "is", "the", OTHERS}
        own = [row for row in rows if str(row["name"]).startswith(f"{target.name}: ")]
        for of_weights in (False, True):
            parts = [row["value"] for row in own if (": weights, " in row["name"]) == of_weights]
            assert sum(parts) == pytest.approx(change * len(asks), abs=1e-4)
    shown = list(edges.tables(result))
    assert all(len(row) == len(table.columns) for table in shown for row in table.rows)
    assert len(shown) == 5


def test_the_feature_that_induces_most_is_a_target_beside_the_first_by_screening(
    all_layers: tuple[Study, EdgesResult, list[Row]],
) -> None:
    study, result, _ = all_layers
    earlier = Earlier()
    for step in (shift.STEP, features.STEP):
        earlier.add(measured(study, step)[0])
    tested = report().doses
    assert tested is not None
    inducing = tested.edit("one that induces most", "induce")
    assert inducing is not None

    def names(place: tuple[int, int]) -> list[str]:
        edits = (replace(inducing, features=(place,)),)
        earlier.add(replace(tested, edits=edits))
        return [one.name for one in edges.directions(study, earlier)]

    first = earlier.of(features.FeaturesResult).rows[0].feature
    before = [one.name for one in result.targets[1:]]
    assert names((LAYER, first)) == before
    first_name, contrast = before
    other = first_name.replace(f"/{first}", f"/{first - 1}")
    assert names((LAYER, first - 1)) == [first_name, other, contrast]


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
    _, result, _ = of_change(tmp_path, part)
    one = next(target for target in result.targets if target.layer == LAYER)
    assert {share.kind for share in one.weights} == {kind}
    assert one.weights_of(kind).value == pytest.approx(1, abs=1e-3)
    if here and "mlp" not in part:
        read_on = one.input.value + one.cross.value  # by the layer's own MLP
        assert getattr(one, here).value + read_on == pytest.approx(1, abs=1e-5)
    elif here:
        assert getattr(one, here).value == pytest.approx(1, abs=1e-5)
    else:
        assert abs(one.input.value) > 1e-3


def test_two_copies_of_a_model_have_no_shares(tmp_path: Path) -> None:
    _, result, _ = of_change(tmp_path, "nothing")
    for one in result.targets:
        assert one.change.value == 0
        assert one.miss == one.weights_miss == 0
        assert np.isnan(one.values_output.value)
        assert one.weights == ()
    shown = list(edges.tables(result))
    assert [len(table.rows) for table in shown[:2]] == [2, 0]  # no feature has changed
