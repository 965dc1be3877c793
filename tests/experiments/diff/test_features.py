"""Steps 5 and 7 of `diff`: features ranked, screened and tested, and what they are compared with.

Edits and gradients are compared with hooks on the Hugging Face module and with finite differences,
rankings with streams made by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from circuit_tracer.experiments.diff import behaviour, controls, doses, features
from circuit_tracer.experiments.diff.directions import HALVINGS, Trials, choose_sizes, unit
from circuit_tracer.experiments.diff.page import report_markdown
from circuit_tracer.experiments.diff.ranking import (
    Ranking,
    Streams,
    gradients,
    of_residual,
    rank,
)
from circuit_tracer.experiments.diff.report import read_diff
from circuit_tracer.experiments.diff.run import diff
from circuit_tracer.experiments.diff.study import Earlier, Settings, Study
from circuit_tracer.experiments.diff.testing import EditRow
from circuit_tracer.experiments.kit.passes import Ask, Decisions, contrasts, text_losses
from circuit_tracer.experiments.kit.results import write_record
from circuit_tracer.experiments.kit.study import Estimate
from circuit_tracer.graphs.files.json_values import plain
from circuit_tracer.graphs.graph import Floats
from circuit_tracer.models import Model
from circuit_tracer.models.parts import RESIDUAL
from circuit_tracer.transcoders.dictionary import Dictionary, LayerTranscoder, every_layer
from tests.experiments.diff.small import (
    few_points,
    leads,
    measured,
    shaken,
    small_study,
    tiny_pair,
    values,
)
from tests.tiny import random_dictionary

LAYERS = (0, 1)


def sparse_autoencoder(model: Model, n_features: int = 24) -> Dictionary:
    """Random features of the stream after some layers."""
    given = random_dictionary(
        model, n_features=n_features, k=6, reads=RESIDUAL, writes=RESIDUAL, seed=3
    )
    layers = every_layer([given.layers[i] for i in LAYERS], model.n_layers)
    return replace(given, kind="sae", layers=layers)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A quick comparison with a residual dictionary, of a model and the same after another training
    of its first attention."""
    base, tuned = tiny_pair()
    shaken(tuned, "layers.0.self_attn.o_proj", 1)
    given = small_study(tmp_path_factory.mktemp("spec"), base, tuned, most_items=4)
    few = {name: Settings.FEW[name] for name in ("tops", "doses", "random_tens", "matched_tens")}
    settings = replace(given.settings, quick=True, **few)
    return replace(given, dictionaries=(sparse_autoencoder(base),), settings=settings)


@pytest.fixture(scope="module")
def ranking(study: Study) -> Ranking:
    """Of its features."""
    return of_residual(study)


def hooked(model: Model, ids: Sequence[int], vectors: dict[int, Floats]) -> torch.Tensor:
    """Logits with vectors added after layers, by hooks of torch."""

    def adding(vector: Floats):  # type: ignore[no-untyped-def]
        def hook(module: object, given: object, output: torch.Tensor) -> torch.Tensor:
            hidden = output[0] if isinstance(output, tuple) else output
            edited = hidden + torch.as_tensor(vector).to(hidden)
            edited[:, 0] = hidden[:, 0]
            return (edited, *output[1:]) if isinstance(output, tuple) else edited

        return hook

    layers = model.module.model.layers
    handles = [layers[at].register_forward_hook(adding(one)) for at, one in vectors.items()]
    with torch.no_grad():
        out: torch.Tensor = model.module(torch.tensor([ids], device=model.device)).logits[0]
    for handle in handles:
        handle.remove()
    return out.double().cpu()


def test_a_constant_edit_adds_its_vectors_to_all_tokens_after_the_first(study: Study) -> None:
    model, asks = study.base, study.some_asks("test", families=study.spec.families)
    edits = np.random.default_rng(0).normal(size=(2, 2, model.d_model))
    trials = Trials(model, LAYERS, study.texts)
    found = trials.answers(asks, edits)
    losses = trials.losses(edits)
    own = text_losses(model, study.texts)
    for edit, contrast, loss in zip(edits, found.contrast, losses, strict=True):
        vectors = dict(zip(LAYERS, edit, strict=True))
        ends = [hooked(model, ask.ids, vectors)[-1] for ask in asks]
        assert contrast == pytest.approx(leads(ends, asks), abs=1e-9)
        for ids, added, before in zip(study.texts, loss, own, strict=True):
            logits = hooked(model, ids, vectors)[:-1]
            after = torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]))
            assert added == pytest.approx(float(after) - before, abs=1e-9)


def test_gradients_are_the_slopes_of_small_edits(study: Study) -> None:
    asks = study.some_asks("selection")
    found = gradients(study.tuned, asks, LAYERS).cpu().numpy()
    trials, small = Trials(study.tuned, LAYERS, study.texts), 3e-3
    generator = np.random.default_rng(1)
    for layer in range(2):
        edit = np.zeros((1, 2, study.base.d_model))
        edit[0, layer] = generator.normal(size=study.base.d_model)
        ends = [trials.answers(asks, sign * small * edit).contrast[0] for sign in (1, -1)]
        slopes = (ends[0] - ends[1]) / (2 * small)
        assert found[:, layer] @ edit[0, layer] == pytest.approx(slopes, rel=2e-3, abs=2e-3)


@dataclass(frozen=True)
class FakeTrials:
    """Loss rises with the square of an edit; each prompt turns right at a size of its own."""

    turns: tuple[float, ...]

    def losses(self, edits: Floats) -> Floats:
        sizes: Floats = np.abs(edits).sum((1, 2))
        return np.repeat(0.01 * sizes[:, None] ** 2, 3, axis=1)

    def answers(self, asks: Sequence[Ask], edits: Floats) -> Decisions:
        contrast = edits.sum((1, 2))[:, None] - np.array(self.turns)
        return Decisions(contrast, np.ones_like(contrast))


def test_a_size_is_the_best_that_the_loss_allows() -> None:
    trials = FakeTrials((0.6, 1.2, 2.1, 3.0))
    given = np.ones((1, 1, 1))
    (size,), _ = choose_sizes(trials, (), given, "restore", limit=0.05)  # type: ignore[arg-type]
    assert 0.01 * size**2 <= 0.05
    assert size > 2.1  # the third prompt is right from 2.1 on, the limit is at 2.236
    (size,), _ = choose_sizes(trials, (), given, "restore", limit=0.3)  # type: ignore[arg-type]
    assert 3 < size <= 30**0.5
    (size,), _ = choose_sizes(trials, (), given, "restore", limit=1e-9)  # type: ignore[arg-type]
    assert size == 0
    (size,), _ = choose_sizes(trials, (), -given, "restore", limit=0.3)  # type: ignore[arg-type]
    assert size == 0  # it helps nothing


def test_a_size_that_restores_is_the_least_that_does_nearly_all_of_what_the_limit_allows() -> None:
    """A prompt more at every hundredth; 0.05 allows 2.236, so all of them."""
    trials = FakeTrials(tuple(np.arange(100) / 100))
    given = np.ones((1, 1, 1))
    (size,), (share,) = choose_sizes(trials, (), given, "restore", limit=0.05)  # type: ignore[arg-type]
    assert share == pytest.approx(size, abs=0.011)
    assert 0.95 <= share <= 0.95 + (1 - 0.5) / 2**HALVINGS
    # What is induced is taken as far as it rises.
    trials = FakeTrials(tuple(-np.arange(100) / 100))
    (size,), (share,) = choose_sizes(trials, (), -given, "induce", limit=0.05)  # type: ignore[arg-type]
    assert share == 1.0
    assert size == 1.0


def made_by_hand(d_model: int) -> tuple[Dictionary, Streams]:
    """Two features, along the first two axes: one is constant in each model, one a context's."""
    eye = torch.eye(d_model)[:2]
    one = LayerTranscoder(0, eye, torch.zeros(2), eye[:, None], torch.zeros(d_model), "relu")
    dictionary = replace(
        random_dictionary(tiny_pair()[0], reads=RESIDUAL, writes=RESIDUAL),
        kind="sae",
        layers=(one,),
    )

    def stream(count: int, constant: float, context: float) -> torch.Tensor:
        return torch.tensor([constant, context, *[0.5] * (d_model - 2)]).expand(count, 1, -1)

    slope = torch.zeros(4, 1, d_model)
    slope[:, :, 1] = -2.0
    return dictionary, Streams(
        base=stream(4, 0.0, 0.0),
        tuned=stream(4, 3.0, 1.0),
        contexts=(stream(4, 0.0, 4.0), stream(4, 0.0, 0.0)),
        gradient=slope,
        text_base=stream(40, 0.0, 0.0),
        text_tuned=stream(40, 3.0, 0.0),
    )


def test_a_feature_that_is_constant_in_each_model_tells_them_apart() -> None:
    dictionary, streams = made_by_hand(tiny_pair()[0].d_model)
    found = rank(dictionary, streams)
    assert found.change.tolist() == [3.0, 1.0]
    assert found.slope.tolist() == [0.0, -2.0]
    assert found.predicted.tolist() == [0.0, 2.0]
    assert (found.toward - found.away).tolist() == [0.0, 4.0]
    assert found.base_range == pytest.approx([0.0, 4.0])
    # The second is on its model's side on prompts, on the base's text and out of the context.
    assert found.tells == pytest.approx([1.0, (3 / 4 + 1 / 2) / 2])


def test_candidates_are_the_first_of_both_rankings_and_the_best_of_them_chosen(
    study: Study, ranking: Ranking
) -> None:
    result, rows = measured(study, features.STEP)
    orders = [np.argsort(-one, kind="stable") for one in (abs(ranking.change), ranking.predicted)]
    tops = {int(i) for order in orders for i in order[: study.settings.tops]}
    steered = [ranking.number(one.layer, one.feature) for one in result.rows]
    assert {*steered} == tops & {*np.flatnonzero(ranking.change).tolist()}
    assert (np.diff([one.effect for one in result.rows]) <= 0).all()
    # The best one, steered by hand: half the shift's size, against its change.
    first, change = result.rows[0], ranking.change[steered[0]]
    row = ranking.dictionary.layers[first.layer].W_dec[first.feature, 0].double().cpu().numpy()
    length = 0.5 * np.linalg.norm(ranking.shift[LAYERS.index(first.layer)])
    vector = -np.sign(change) * row / np.linalg.norm(row) * length
    asks = study.some_asks("selection")
    by_hand = leads([hooked(study.tuned, ask.ids, {first.layer: vector})[-1] for ask in asks], asks)
    where = {"layer": first.layer, "feature": first.feature}
    assert values(rows, name="steered", **where) == pytest.approx(by_hand, abs=1e-8)
    assert values(rows, name="change", **where) == [change]


def test_controls_are_drawn_from_features_that_were_not_chosen(
    study: Study, ranking: Ranking
) -> None:
    chosen = measured(study, features.STEP)[0].chosen(ranking)
    drawn = controls.draw_tens(study, ranking, chosen)
    assert set(drawn) == {"random", "matched", controls.OUTSIDE}
    for ten in chain(*drawn.values()):
        assert len(set(ten.tolist())) == len(ten) > 0
        assert not {*ten.tolist()} & {*chosen.tolist()}
    contrast = np.abs(ranking.toward - ranking.away)
    first = {*np.argsort(-contrast, kind="stable")[: features.OF_CONTRAST].tolist()}
    assert any(first & {*ten.tolist()} for ten in drawn["matched"])
    assert not any(first & {*ten.tolist()} for ten in drawn[controls.OUTSIDE])
    bare = replace(study, spec=replace(study.spec, contrast=None))
    assert set(controls.draw_tens(bare, ranking, chosen)) == {"random", "matched"}


def test_a_random_dictionary_is_as_active_as_the_one_it_stands_beside(ranking: Ranking) -> None:
    dictionary, streams = ranking.dictionary, ranking.streams
    random = controls.random_dictionary(dictionary, streams, seed=0)
    assert random.numbers == dictionary.numbers
    for i, number in enumerate(dictionary.numbers):
        text = streams.text_base[:, i]
        counts = [
            float((one.layers[number].encode(text) != 0).sum(1).double().mean())
            for one in (dictionary, random)
        ]
        assert counts[1] == pytest.approx(counts[0], abs=1)
    rows = rank(random, streams).decoders(np.array([2, 24 + 5]))
    assert np.linalg.norm(rows, axis=2) == pytest.approx(np.eye(2))
    assert unit(rows) == pytest.approx(rows)


def test_patching_all_that_a_dictionary_writes_gives_its_part_of_the_bases_stream(
    study: Study, ranking: Ranking
) -> None:
    asks = study.some_asks("test")
    plainly = doses.patched(study, ranking, np.zeros(0, dtype=int), asks)
    assert plainly == pytest.approx(contrasts(study.tuned, asks))
    found = doses.patched(study, ranking, np.arange(24, 48), asks)
    layer, ends = ranking.dictionary.layers[1], []
    for ask in asks:
        ids = torch.tensor([ask.ids], device=study.base.device)
        read = [
            model.mlp_activity(ids, RESIDUAL, RESIDUAL, (1,)).inputs[0, 0]
            for model in (study.base, study.tuned)
        ]
        wrote = [layer.write(layer.encode(one), 1) for one in read]
        change = (wrote[0] - wrote[1]).cpu().numpy()
        change[0] = 0
        ends.append(hooked(study.tuned, ask.ids, {1: change})[-1])
    assert found == pytest.approx(leads(ends, asks), abs=1e-8)


def of_own_change(study: Study, edit: EditRow) -> float:
    """An edit's length over that of its features' change written by their decoders."""
    ranking = of_residual(study)
    written = np.zeros_like(ranking.shift)
    for layer, feature in edit.features:
        row = ranking.dictionary.layers[layer].W_dec[feature, 0].double().cpu().numpy()
        change = ranking.change[ranking.number(layer, feature)]
        written[LAYERS.index(layer)] += change * row
    return edit.size * float(np.linalg.norm(ranking.shift) / np.linalg.norm(written))


def test_a_whole_run_is_stored_and_read_back(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_points(monkeypatch)
    monkeypatch.setattr(behaviour.BehaviourResult, "kept", lambda found, family: False)
    told: list[Estimate] = []
    report = diff(study, tmp_path, on_estimate=told.append)
    (estimate,) = told
    assert estimate.seconds > 0
    assert estimate.memory > 0
    passed = pq.read_table(tmp_path / "measurements.parquet").num_rows
    assert passed / 10 < estimate.rows < 10 * passed
    assert report.features is not None
    assert report.doses is not None
    assert report.controls is not None
    write_record(report, tmp_path / "diff.json")
    assert plain(read_diff(tmp_path)) == plain(report)
    page = report_markdown(report)
    assert "## 5. Features" in page
    assert "restore: ten by screening" in page
    ten = report.doses.edit("ten by screening", "restore")
    assert ten is not None
    assert len(ten.features) == features.CHOSEN
    assert {name for name, _ in ten.families} == {"claim", "completion"}
    inducing = report.doses.edit("one that induces most", "induce")
    assert inducing is not None
    assert report.features.row(*inducing.features[0]).chosen
    counts = {one.kind: len(one.edits) for one in report.controls.tens}
    assert counts["random"] == study.settings.random_tens
    assert counts["matched"] == counts[controls.OUTSIDE] == study.settings.matched_tens
    assert {one.size for one in report.doses.doses} == {*study.settings.doses}
    for kind in controls.DECISIVE:
        (same,) = (one for one in report.controls.tens if one.kind == f"{kind}, same scale")
        assert len(same.edits) == counts[kind]
        multiples = [of_own_change(study, one) for one in (ten, *same.edits)]
        assert multiples == pytest.approx(multiples[:1] * len(multiples))
    # Killed before the controls: what they need of the features is made again, with their results.
    (tmp_path / "stages" / "controls.json").unlink()
    labels = {report.features.dictionary: lambda places: [f"{i}/{j}" for i, j in places]}
    again = diff(replace(study, labels=labels), tmp_path, on_estimate=told.append)
    assert told == [estimate]  # what goes on was told before
    assert again.features is not None
    assert plain(again.controls) == plain(report.controls)
    assert all(one.place == f"L{one.label}" for one in again.features.rows)
    bare = replace(
        again.features, rows=tuple(replace(one, label="") for one in again.features.rows)
    )
    assert plain(bare) == plain(report.features)


def test_two_copies_of_one_model_have_nothing_to_restore(study: Study) -> None:
    same, earlier = replace(study, tuned=study.base), Earlier()
    earlier.add(measured(same, behaviour.STEP)[0])
    assert [step.lacks(same, earlier) for step in (features, doses, controls)] == [
        behaviour.KEPT
    ] * 3


def test_without_a_residual_dictionary_the_steps_say_what_they_need(tmp_path: Path) -> None:
    given = small_study(tmp_path, *tiny_pair())
    assert "train one with" in features.lacks(given, Earlier())
    assert "train one with" in doses.lacks(given, Earlier())
    transcoders = replace(given, dictionaries=(random_dictionary(given.base),))
    assert "train one with" in features.lacks(transcoders, Earlier())
