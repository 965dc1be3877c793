"""Evaluation against independent, obvious computations on a tiny Llama."""

from __future__ import annotations

from dataclasses import replace
from math import isnan
from pathlib import Path

import pytest
import torch

from circuit_tracer.errors import OutputError, UsageError
from circuit_tracer.models import Model
from circuit_tracer.transcoders.evaluation import Evaluation, evaluate, replacement
from circuit_tracer.transcoders.formats.native import read_config, save_dictionary
from circuit_tracer.transcoders.opening import open_transcoders
from circuit_tracer.transcoders.rows import RowReader
from circuit_tracer.transcoders.training import Progress, train
from circuit_tracer.transcoders.validation import validate
from tests.rope import SWITCH, rope_model
from tests.tiny import plain_tokenizer, random_dictionary, tiny_llama
from tests.transcoders.fakes import small_config, text_file


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_llama()


@pytest.mark.parametrize(("kind", "bos_id"), [("plt", 0), ("clt", 0), ("plt", None)])
def test_figures_equal_a_computation_on_all_tokens_at_once(
    tmp_path: Path, model: Model, kind: str, bos_id: int | None
) -> None:
    if bos_id is None:
        model = replace(model, tokenizer=plain_tokenizer())
    dictionary = random_dictionary(model, kind=kind, skip=True)  # type: ignore[arg-type]
    path = text_file(tmp_path, documents=60)
    said: list[tuple[str, int, int]] = []
    found = evaluate(
        model,
        dictionary,
        path,
        max_tokens=10_000,
        row_length=16,
        on_progress=lambda *now: said.append(now),
    )
    assert said == sorted(said, key=lambda now: (now[0] == "measuring", now[1]))
    assert {now[0] for now in said} == {"taking means", "measuring"}
    assert {now[2] for now in said} == {10_000}

    rows = RowReader(path, model.tokenizer, bos_id=bos_id, row_length=16).next_rows(1000)
    assert rows is not None
    real = rows.real()
    activity = model.mlp_activity(rows.token_ids)
    x, y = activity.inputs[:, real], activity.outputs[:, real]
    assert found.tokens == int(real.sum()) == int(rows.lengths.sum()) - len(real) * rows.first
    for layer, r in enumerate(dictionary.reconstruct(list(x))):
        error = ((y[layer] - r) ** 2).sum(-1)
        variance = ((y[layer] - y[layer].mean(0)) ** 2).sum(-1)
        figures = found.layers[layer]
        assert figures.fvu == pytest.approx(float((error / variance).mean()), rel=1e-3)
        assert figures.fvu_median == pytest.approx(float((error / variance).median()), rel=1e-3)
        assert figures.fvu_pooled == pytest.approx(float(error.sum() / variance.sum()), rel=1e-3)
        active = dictionary.layers[layer].encode(x[layer]) > 0
        assert figures.l0 == pytest.approx(float(active.sum(-1).float().mean()))
        assert figures.dead == pytest.approx(1 - float(active.any(0).float().mean()))
    predicted = torch.arange(1, 16)[None] < rows.lengths[:, None]
    loss = float(model.loss(rows.token_ids)[predicted].mean())
    assert found.loss_original == pytest.approx(loss, rel=1e-4)
    means = y.mean(1)

    def by_mean(layer: int, mlp_in: torch.Tensor) -> torch.Tensor:
        out = means[layer].expand_as(mlp_in).clone()
        out[:, : rows.first] = activity.outputs[layer, :, : rows.first]
        return out

    rise = (model.loss(rows.token_ids, replace=by_mean) - model.loss(rows.token_ids))[predicted]
    assert found.effect == pytest.approx(float(rise.mean()), rel=1e-2, abs=1e-6)
    error = float(rise.double().std()) / len(rise) ** 0.5
    assert found.effect_error == pytest.approx(error, rel=1e-3)


@pytest.mark.parametrize(
    ("original", "replaced", "ablated", "error", "recovered"),
    [
        (1.0, 1.5, 3.0, 0.1, 0.75),
        (1.0, 1.5, 1.21, 0.1, -0.29 / 0.21),  # a real effect, and a dictionary that destroys it
        (1.0, 1.5, 1.19, 0.1, None),  # within two standard errors
        (1.0, 1.5, 0.2, 0.1, None),  # ablation helps: nothing there to recover
        (1.0, 1.0, 1.0, 0.0, None),
        (1.0, 1.0, 9.0, float("inf"), None),  # one token
        (float("nan"), 1.0, 1.0, 0.1, None),
    ],
)
def test_a_share_is_recovered_only_of_an_effect_that_is_no_noise(
    original: float, replaced: float, ablated: float, error: float, recovered: float | None
) -> None:
    found = Evaluation(100, (), original, replaced, ablated, error)
    assert found.as_json()["recovered"] == (recovered and pytest.approx(recovered))
    assert isnan(found.recovered) == (recovered is None)


def test_a_model_that_has_learned_nothing_has_no_share_to_recover(
    tmp_path: Path, model: Model
) -> None:
    path = text_file(tmp_path, documents=60)
    found = evaluate(model, random_dictionary(model), path, max_tokens=10_000, row_length=16)
    assert isnan(found.recovered)


def test_mlps_of_one_constant_output_leave_no_variance_to_explain(tmp_path: Path) -> None:
    silent = tiny_llama()
    for layer in silent.module.model.layers:
        torch.nn.init.zeros_(layer.mlp.down_proj.weight)
    dictionary = random_dictionary(silent)
    found = evaluate(silent, dictionary, text_file(tmp_path), max_tokens=500, row_length=16)
    assert all(isnan(f.fvu) and isnan(f.fvu_median) and isnan(f.fvu_pooled) for f in found.layers)
    save_dictionary(replace(dictionary, config={"evaluation": found.as_json()}), tmp_path / "mine")
    stored = read_config(tmp_path / "mine")["evaluation"]
    assert stored["layers"][0]["fvu"] is None
    checked = validate(silent, dictionary, ("the banana is yellow",))
    assert all("has no FVU" in warning for warning in checked.warnings)
    assert len(checked.warnings) == silent.n_layers


def test_replacing_with_a_cross_layer_dictionary_adds_up_what_layers_wrote(model: Model) -> None:
    dictionary = random_dictionary(model, kind="clt", skip=True)
    ids = torch.randint(2, 14, (3, 7))
    activity = model.mlp_activity(ids)
    replace_mlp = replacement(dictionary, activity.outputs, 1)
    expected = dictionary.reconstruct(list(activity.inputs))
    for _ in range(2):  # a second pass starts afresh
        for layer in range(model.n_layers):
            out = replace_mlp(layer, activity.inputs[layer])
            torch.testing.assert_close(out[:, 1:], expected[layer][:, 1:])
            torch.testing.assert_close(out[:, 0], activity.outputs[layer][:, 0])


def test_a_dictionary_that_says_the_mean_recovers_nothing(tmp_path: Path, model: Model) -> None:
    path = text_file(tmp_path, documents=60)
    rows = RowReader(path, model.tokenizer, bos_id=0, row_length=16).next_rows(1000)
    assert rows is not None
    mean = model.mlp_activity(rows.token_ids).outputs[:, rows.real()].mean(1)
    made = random_dictionary(model)
    silent = replace(
        made,
        layers=tuple(
            replace(t, W_dec=torch.zeros_like(t.W_dec), b_dec=mean[t.layer]) for t in made.layers
        ),
    )
    found = evaluate(model, silent, path, max_tokens=10_000, row_length=16)
    assert found.loss_replaced == pytest.approx(found.loss_mean_ablated, abs=1e-6)
    for figures in found.layers:
        assert figures.fvu == pytest.approx(1, abs=1e-3)
        assert figures.fvu_pooled == pytest.approx(1, abs=1e-3)


def test_a_text_of_blanks_is_refused(tmp_path: Path, model: Model) -> None:
    path = tmp_path / "blank.txt"
    path.write_text("  \n \n")
    with pytest.raises(UsageError, match="no tokens"):
        evaluate(model, random_dictionary(model), path)


def test_training_leaves_an_evaluated_dictionary_and_no_checkpoint(
    tmp_path: Path, model: Model
) -> None:
    out = tmp_path / "mine"
    summary = train(model, text_file(tmp_path), small_config(checkpoint_steps=20, epochs=6), out)
    assert sorted(f.name for f in tmp_path.iterdir() if f.is_dir()) == ["mine"]
    stored = open_transcoders(out, model)
    assert stored.config["evaluation"] == summary.evaluation.as_json()
    assert stored.config["training"]["trained_tokens"] == summary.tokens
    assert max(figures.fvu_pooled for figures in summary.evaluation.layers) < 0.6
    assert read_config(out)["model"]["name"] == model.identity.name
    with pytest.raises(UsageError, match="already holds something"):
        train(model, text_file(tmp_path), small_config(), tmp_path)


def test_a_finished_dictionary_is_only_replaced_when_asked_and_a_stopped_run_goes_on(
    tmp_path: Path, model: Model
) -> None:
    class StoppedError(Exception):
        pass

    def stop(progress: Progress) -> None:
        if progress.step >= 20:
            raise StoppedError

    out, text = tmp_path / "mine", text_file(tmp_path, documents=120)
    config = small_config(checkpoint_steps=8, epochs=3)
    train(model, text, config, out)
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    (out / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="is there already; add `overwrite` to replace it"):
        train(model, text, config, out, on_progress=stop)
    with pytest.raises(StoppedError):
        train(model, text, replace(config, seed=5), out, on_progress=stop, overwrite=True)
    assert (out / "layer_0.safetensors").read_bytes() == before["layer_0.safetensors"]
    steps: list[int] = []
    seeded = replace(config, seed=5)
    train(model, text, seeded, out, on_progress=lambda p: steps.append(p.step))
    assert min(step for step in steps if step) >= 16  # from the checkpoint on
    assert (out / "layer_0.safetensors").read_bytes() != before["layer_0.safetensors"]
    assert (out / "notes.txt").read_text() == "mine"


def test_text_of_unknown_words_is_refused(tmp_path: Path, model: Model) -> None:
    path = tmp_path / "foreign.txt"
    path.write_text("der Himmel ist the blau\n" * 9)
    with pytest.raises(UsageError, match="does not know 80% of the words"):
        evaluate(model, random_dictionary(model), path)


def test_where_a_dictionary_reads_does_not_change_what_it_computes(
    tmp_path: Path, model: Model
) -> None:
    text = text_file(tmp_path, documents=20)
    inside = random_dictionary(model)
    scaled = tuple(
        replace(t, W_enc=t.W_enc * model.wiring.norm("mlp_norm", t.layer).weight)
        for t in inside.layers
    )
    outside = replace(inside, layers=scaled, reads="ln2.hook_normalized")
    one, other = (evaluate(model, d, text, row_length=16) for d in (inside, outside))
    assert one.loss_replaced == pytest.approx(other.loss_replaced, abs=1e-5)
    assert one.layers[1].fvu == pytest.approx(other.layers[1].fvu, rel=1e-4)
    elsewhere = evaluate(model, replace(inside, reads="hook_resid_mid"), text, row_length=16)
    assert abs(elsewhere.loss_replaced - one.loss_replaced) > 1e-4


def test_rows_stay_where_their_length_turns_no_position(tmp_path: Path) -> None:
    """Padding a row must not change what is read in it."""
    model, path = rope_model("longrope", "llama"), text_file(tmp_path, documents=20)
    dictionary = random_dictionary(model)
    long = evaluate(model, dictionary, path, row_length=16)
    short = evaluate(model, dictionary, path, row_length=SWITCH)
    assert long.as_json() == short.as_json()
    with pytest.raises(UsageError, match=r"`row_length` \(16\) .*length \(6\)"):
        train(model, path, small_config(row_length=16), tmp_path / "mine")
