"""Training runs on a fake model: they learn, resume exactly and explain what goes wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from circuit_tracer.errors import TrainingError, UsageError
from circuit_tracer.models.capture import MlpActivity
from circuit_tracer.transcoders.dictionary import Dictionary
from circuit_tracer.transcoders.training import Progress, train_in_memory
from circuit_tracer.transcoders.training.checkpoint import (
    Position,
    RunIdentity,
    load_checkpoint,
    save_checkpoint,
)
from circuit_tracer.transcoders.training.losses import batch_loss
from circuit_tracer.transcoders.training.run import _Run
from circuit_tracer.transcoders.training.trainer import Trainer
from circuit_tracer.transcoders.training.weights import (
    check_start,
    export_layers,
    initial_weights,
    settings_of,
)
from tests.device import DEVICE
from tests.transcoders.fakes import FakeSource, small_config, text_file

JUMPRELU = {"activation": "jumprelu", "target_l0": 4.0}
RESIDUAL_AT_1 = {"reads": "hook_resid_post", "writes": "hook_resid_post", "layers": (1,)}


def pooled_fvu(dictionary: Dictionary, seed: int = 9) -> list[float]:
    """On fresh random tokens, position 0 left out."""
    model = FakeSource()
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(2, len(model.tokenizer), (64, 12), generator=generator)
    activity = model.mlp_activity(ids)
    x, y = activity.inputs[:, :, 1:].flatten(1, 2), activity.outputs[:, :, 1:].flatten(1, 2)
    found = dictionary.reconstruct(list(x))
    return [
        float((t - r).pow(2).sum() / (t - t.mean(0)).pow(2).sum())
        for t, r in zip(y, found, strict=True)
    ]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"kind": "clt"},
        {"skip": True},
        {"kind": "clt", "skip": True, "token_weighting": "pooled"},
        {"activation": "jumprelu", "target_l0": 4.0},
        {"activation": "jumprelu", "target_l0": 4.0, "sparsity": "tanh", "kind": "clt"},
        {"activation": "jumprelu", "sparsity_weight": 0.01, "skip": True},
    ],
    ids=lambda s: " ".join(str(v) for v in s.values()) or "plt",
)
def test_every_kind_learns_to_reconstruct(tmp_path: Path, settings: dict[str, Any]) -> None:
    config = small_config(**settings)
    reports: list[Progress] = []
    dictionary = train_in_memory(
        FakeSource(), text_file(tmp_path), config, on_progress=reports.append
    )
    last = [report for report in reports if report.stage == "training"][-1]
    assert last.tokens == last.total_tokens
    assert max(last.fvu) < max(reports[1].fvu)
    assert max(pooled_fvu(dictionary)) < 0.35  # the mean alone gives 1
    assert dictionary.kind == config.kind
    first = dictionary.layers[0]
    assert first.W_dec.shape == (48, 2 if config.kind == "clt" else 1, 12)
    assert (first.W_skip is not None) == config.skip
    if config.activation == "topk":
        assert last.l0 == pytest.approx((4, 4))
    elif config.target_l0:
        assert all(2.5 < l0 < 5.5 for l0 in last.l0)


def test_the_same_seed_gives_the_same_weights_and_another_does_not(tmp_path: Path) -> None:
    path = text_file(tmp_path)

    def run(seed: int) -> torch.Tensor:
        config = small_config(max_tokens=2000, seed=seed)
        return train_in_memory(FakeSource(), path, config).layers[1].W_enc

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))


@pytest.mark.parametrize(
    "settings", [{}, {"kind": "clt", "activation": "jumprelu", "target_l0": 4.0, "skip": True}]
)
def test_a_resumed_run_equals_an_uninterrupted_one(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    class KilledError(Exception):
        pass

    def kill(progress: Progress) -> None:
        if progress.step >= 40:
            raise KilledError

    path = text_file(tmp_path)
    config = small_config(checkpoint_steps=17, max_tokens=6000, **settings)

    def run(name: str, on_progress: Any = None) -> Dictionary:
        one = _Run(FakeSource(), path, config, tmp_path / name, None, on_progress)
        one.learn()
        return one.dictionary(torch.float32)

    whole = run("whole")
    with pytest.raises(KilledError):
        run("parts", kill)
    assert (tmp_path / "parts.checkpoint" / "checkpoint.json").is_file()
    steps: list[int] = []
    resumed = run("parts", lambda p: steps.append(p.step))
    assert steps[1] == 40  # it went on from step 34, in the middle of a buffer
    for ours, theirs in zip(resumed.layers, whole.layers, strict=True):
        for name in ("W_enc", "b_enc", "W_dec", "b_dec", "threshold", "W_skip"):
            one, other = getattr(ours, name), getattr(theirs, name)
            assert (one is None and other is None) or torch.equal(one, other), name


def test_the_exported_dictionary_computes_what_training_computed(tmp_path: Path) -> None:
    for settings in ({"skip": True}, {"kind": "clt", "activation": "jumprelu", "skip": True}):
        config = small_config(aux_weight=0.0, token_weighting="pooled", **settings)
        activity = FakeSource().mlp_activity(torch.randint(2, 14, (40, 9)))
        batch = MlpActivity(activity.inputs.flatten(1, 2), activity.outputs.flatten(1, 2))
        trainer = Trainer.start(config, batch)
        for _ in range(5):
            trainer.step(batch, 100_000)
        outcome = batch_loss(
            trainer.weights,
            trainer.units.normalise(batch),
            config,
            dead=[torch.zeros(48, dtype=torch.bool, device=DEVICE)] * 2,
            penalties=[0.0, 0.0],
        )
        layers = export_layers(trainer.weights, trainer.units, config)
        identity = FakeSource.identity
        found = Dictionary(config.kind, layers, "mlp.hook_in", identity).reconstruct(
            list(batch.inputs)
        )
        for layer, (y, r) in enumerate(zip(batch.outputs, found, strict=True)):
            fvu = (y - r).pow(2).sum() / (y - y.mean(0)).pow(2).sum()
            torch.testing.assert_close(fvu, outcome.fvu[layer].detach(), rtol=1e-4, atol=1e-6)


def revived(aux_weight: float) -> int:
    """Of 48 features that are far too weak to be chosen at first, those that ever fire."""
    generator = torch.Generator().manual_seed(0)
    activity = FakeSource().mlp_activity(torch.randint(2, 14, (40, 9), generator=generator))
    batch = MlpActivity(activity.inputs.flatten(1, 2), activity.outputs.flatten(1, 2))
    settings: dict[str, Any] = {"dead_steps": 5, "learning_rate": 2e-2, "decay_from": 1.0}
    trainer = Trainer.start(small_config(aux_weight=aux_weight, **settings), batch)
    with torch.no_grad():
        for own in trainer.weights:
            own.W_enc[::2] *= 0.01
    fired = torch.zeros(len(trainer.weights), 24, dtype=torch.bool, device=DEVICE)
    for _ in range(60):
        trainer.step(batch, 100_000)
        fired |= torch.stack([silent[::2] == 0 for silent in trainer.silent])
    return int(fired.sum())


def test_dead_features_are_revived_by_auxk_and_by_nothing_else() -> None:
    """With six seeds 0 to 2 came back without AuxK, and 25 to 37 with it."""
    assert revived(aux_weight=0.0) <= 8
    assert revived(aux_weight=0.1) >= 20


@pytest.mark.parametrize("times", [1, 3])
def test_features_that_outnumber_the_first_tokens_start_as_no_copies(times: int) -> None:
    """Copies of a JumpReLU feature get the same gradients and stay copies to the end; templates
    have the same tokens in every text."""
    generator = torch.Generator().manual_seed(0)
    values = [torch.randn(2, 20, 12, generator=generator).to(DEVICE) for _ in range(2)]
    values = [one.repeat(1, times, 1) for one in values]
    batch = MlpActivity(*values)
    for own in initial_weights(batch, small_config(n_features=64, **JUMPRELU)):
        for rows in (own.W_enc, own.W_dec):
            unit = torch.nn.functional.normalize(rows.detach(), dim=-1)
            assert float((unit @ unit.T).fill_diagonal_(0).max()) < 0.9999
    few = initial_weights(batch, small_config(n_features=20, **JUMPRELU))
    for inputs, own in zip(batch.inputs, few, strict=True):
        alike = torch.nn.functional.normalize(inputs, dim=-1) @ own.W_enc.detach().T
        assert torch.allclose(alike.max(0).values, torch.ones(20, device=DEVICE))  # one token each


def test_a_run_that_diverges_says_so(tmp_path: Path) -> None:
    config = small_config(learning_rate=1e6, warm_up=0.0)
    with pytest.raises(TrainingError, match=r"diverged at step \d+ .*lower the learning rate"):
        train_in_memory(FakeSource(), text_file(tmp_path), config)


def test_a_text_shorter_than_a_batch_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "short.txt"
    path.write_text("a the banana\n")
    with pytest.raises(TrainingError, match="fewer than one batch"):
        train_in_memory(FakeSource(), path, small_config(epochs=1))


def test_rows_longer_than_the_model_takes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"`row_length` \(65\).*\(64\)"):
        train_in_memory(FakeSource(), text_file(tmp_path), small_config(row_length=65))
    path = text_file(tmp_path)
    config = small_config(row_length=None, buffer_tokens=None, max_tokens=500)
    dictionary = train_in_memory(FakeSource(), path, config)  # the model's own 64
    assert dictionary.config["training"]["row_length"] == 64


def test_text_of_unknown_words_is_refused_before_any_work(tmp_path: Path) -> None:
    path, model = tmp_path / "foreign.txt", FakeSource()
    path.write_text("der Himmel ist blau\n" * 200)
    with pytest.raises(UsageError, match=r"does not know 100% of .* foreign\.txt"):
        train_in_memory(model, path, small_config())
    assert model.calls == 0


def test_a_foreign_or_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    activity = FakeSource().mlp_activity(torch.randint(2, 14, (40, 9)))
    batch = MlpActivity(activity.inputs.flatten(1, 2), activity.outputs.flatten(1, 2))
    trainer = Trainer.start(small_config(), batch)
    identity = RunIdentity(small_config(), "weights", "text", 100)
    folder = tmp_path / "out.checkpoint"
    assert load_checkpoint(folder, identity) is None
    save_checkpoint(folder, trainer, Position({}, 0, 1), identity, 1.0)
    assert load_checkpoint(folder, identity) is not None
    others = {
        "of sha256 weights, and this one has a model of sha256 other": {"model": "other"},
        "a text of fingerprint text, and this one has a text of fingerprint other": {
            "text": "other",
            "total_tokens": 90,
        },
        "with no `start`, and this one has a `start` of sha256 first": {"start": "first"},
        "with 100 tokens to train on, and this one has 90 .*`held_out`": {"total_tokens": 90},
        "with `n_features` 48, and this one has `n_features` 49; give the earlier": {
            "config": small_config(n_features=49)
        },
        "with no `max_tokens`, and this one has `max_tokens` 90; give": {
            "config": small_config(max_tokens=90),
            "total_tokens": 90,
        },
        "with no `skip` and `seed` 0, and this one has `skip` and `seed` 1;": {
            "config": small_config(skip=True, seed=1)
        },
    }
    for words, changes in others.items():
        with pytest.raises(TrainingError, match=words):
            load_checkpoint(folder, identity._replace(**changes))
    free = identity._replace(config=small_config(checkpoint_steps=7))
    assert load_checkpoint(folder, free) is not None
    tensors = folder / "checkpoint.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-100])
    with pytest.raises(TrainingError, match=r"damaged .*; delete"):
        load_checkpoint(folder, identity)


@pytest.mark.parametrize(
    "settings",
    [{"skip": True}, {"kind": "clt"}, {"activation": "jumprelu", "target_l0": 4.0}],
    ids=lambda s: " ".join(str(v) for v in s.values()),
)
def test_a_dictionary_is_trained_on_from_as_it_is(tmp_path: Path, settings: dict[str, Any]) -> None:
    """Brought into the units of other activity and back, it computes what it computed."""
    config = small_config(epochs=1, **settings)
    made = train_in_memory(FakeSource(), text_file(tmp_path), config)
    ids = torch.randint(2, 14, (40, 9), generator=torch.Generator().manual_seed(3))
    activity = FakeSource().mlp_activity(ids)
    first = MlpActivity(*(part.flatten(1, 2) * 1.5 + 0.1 for part in activity))
    trainer = Trainer.start(config, first, made.layers)
    again = export_layers(trainer.weights, trainer.units, config)
    for one, other in zip(made.layers, again, strict=True):
        for name in ("W_enc", "b_enc", "W_dec", "b_dec"):
            torch.testing.assert_close(
                getattr(other, name), getattr(one, name), rtol=1e-3, atol=1e-4
            )
    assert all(weights.W_enc.requires_grad for weights in trainer.weights)


@pytest.mark.parametrize(
    "settings",
    [
        {"skip": True},
        {"kind": "clt", "k": 3},
        {"activation": "jumprelu"},
        RESIDUAL_AT_1,
    ],
    ids=lambda s: " ".join(str(v) for v in s.values()),
)
def test_a_start_decides_what_it_was_trained_with(tmp_path: Path, settings: dict[str, Any]) -> None:
    config = small_config(epochs=1, **settings)
    made = train_in_memory(FakeSource(), text_file(tmp_path), config)
    taken = settings_of(made)
    assert replace(config, **taken) == replace(config, k=taken["k"])
    assert taken["k"] == (config.active if config.activation == "topk" else None)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"activation": "relu"}, "plain ReLU"),
        ({"rectified": False}, "negative values"),
        ({"k": 3}, "of active ones, from layer to layer"),
    ],
)
def test_a_start_that_training_cannot_make_is_refused(
    changes: dict[str, Any], says: str, tmp_path: Path
) -> None:
    made = train_in_memory(FakeSource(), text_file(tmp_path), small_config(epochs=1))
    every = made.layers if "k" not in changes else made.layers[:1]
    changed = tuple(replace(one, **changes) for one in every) + made.layers[len(every) :]
    with pytest.raises(UsageError, match=says):
        settings_of(replace(made, layers=changed))


@pytest.mark.parametrize(
    ("made_with", "changes", "says"),
    [
        ({}, {"n_features": 32}, "`n_features` 48, and the settings say 32"),
        ({}, {"k": 3}, "`k` "),
        ({}, {"kind": "clt"}, "`kind` plt, and the settings say clt"),
        ({}, {"skip": True}, "`skip` False"),
        ({}, {"reads": "hook_resid_mid"}, "`reads` mlp.hook_in"),
        (JUMPRELU, {"activation": "topk", "target_l0": None}, "`activation` jumprelu"),
        (JUMPRELU, {"target_l0": None}, "give `target_l0`, how many"),
        (RESIDUAL_AT_1, {"layers": None}, r"`layers` \(1,\)"),
        (RESIDUAL_AT_1, {"layers": (0,)}, r"`layers` \(1,\)"),
    ],
)
def test_a_dictionary_of_another_shape_is_refused_as_a_start(
    made_with: dict[str, Any], changes: dict[str, Any], says: str, tmp_path: Path
) -> None:
    config = small_config(epochs=1, **made_with)
    made = train_in_memory(FakeSource(), text_file(tmp_path), config)
    check_start(made, config)
    with pytest.raises(UsageError, match=says):
        check_start(made, replace(config, **changes))


def test_features_without_a_threshold_above_zero_are_trained_on(tmp_path: Path) -> None:
    """JumpReLU with one of zero or less is ReLU, which a threshold just above zero is, too."""
    config = small_config(epochs=1, activation="jumprelu")
    made = train_in_memory(FakeSource(), text_file(tmp_path), config)
    ids = torch.randint(2, 14, (40, 9), generator=torch.Generator().manual_seed(3))
    first = MlpActivity(*(part.flatten(1, 2) for part in FakeSource().mlp_activity(ids)))
    thresholds = torch.linspace(-1, 0, config.n_features, device=DEVICE)
    given = [replace(one, threshold=thresholds) for one in made.layers]
    trainer = Trainer.start(config, first, given)
    trainer.step(first, total_tokens=10_000)
    found = export_layers(trainer.weights, trainer.units, config)  # refuses what is not finite
    after, before = (one[0].encode(first.inputs[0]) for one in (found, given))
    torch.testing.assert_close(after, before, rtol=1e-2, atol=1e-2)
