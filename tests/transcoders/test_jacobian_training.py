"""The Jacobian term: its value by autograd, what it changes, and that a stopped run goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from circuit_tracer.errors import UsageError
from circuit_tracer.models.capture import MlpActivity
from circuit_tracer.transcoders.dictionary import Dictionary
from circuit_tracer.transcoders.training import TrainingConfig, train_in_memory
from circuit_tracer.transcoders.training.jacobian import (
    FLOOR,
    Directions,
    DirectionSource,
    jacobian_loss,
)
from circuit_tracer.transcoders.training.losses import batch_loss
from circuit_tracer.transcoders.training.run import _Run, mlp_maps
from circuit_tracer.transcoders.training.stream import ActivityBuffer
from circuit_tracer.transcoders.training.trainer import Trainer
from circuit_tracer.transcoders.training.weights import export_layers
from tests.device import DEVICE, on_host
from tests.mlps import module_output
from tests.tiny import tiny_model
from tests.transcoders.fakes import FakeSource, small_config, text_file

KINDS: list[dict[str, Any]] = [
    {},
    {"kind": "clt"},
    {"skip": True},
    {"kind": "clt", "skip": True, "activation": "jumprelu", "target_l0": 4.0},
    {"activation": "jumprelu", "target_l0": 4.0},
    {"reads": "hook_resid_mid"},
]


def started(
    family: str = "llama", weight: float = 0.1, **settings: Any
) -> tuple[Any, Trainer, MlpActivity]:
    """A tiny model, a trainer of it after some steps, and the batch it has learnt from."""
    model = tiny_model(family)
    config = small_config(jacobian=weight, **settings)
    ids = torch.randint(2, 14, (40, 9), generator=torch.Generator().manual_seed(0))
    activity = model.mlp_activity(ids, config.reads, config.writes)
    batch = MlpActivity(*(part[:, :, 1:].flatten(1, 2) for part in activity))
    trainer = Trainer.start(config, batch, maps=mlp_maps(model, config))
    for _ in range(3):
        trainer.step(batch, 100_000)
    return model, trainer, batch


def by_autograd(model: Any, trainer: Trainer, batch: MlpActivity, directions: Directions) -> Tensor:
    """The same in the model's units: the model's own modules, and the exported dictionary with its
    active features fixed, both differentiated by torch's forward mode."""
    units, config = trainer.units, trainer.config
    layers = export_layers(trainer.weights, units, config)
    total = torch.zeros(())
    masks = [t.encode(x) != 0 for t, x in zip(layers, batch.inputs, strict=True)]
    moved = [v * s for v, s in zip(directions.along, units.input_scale, strict=True)]

    def true_output(layer: int, x: Tensor) -> Tensor:
        return module_output(model, layer, x, config.reads, config.writes)

    def made(written: int, *inputs: Tensor) -> Tensor:
        out = layers[written].skip(inputs[written])
        for t, x, mask in zip(layers, inputs, masks, strict=True):
            if t.layer <= written < t.layer + t.n_written:
                out = out + t.write(t.pre_activations(x) * mask, written)
        return out

    for layer in range(len(layers)):
        there, scale = directions.there[layer], units.output_scale[layer]
        if not bool(there.any()):
            continue
        x, v = batch.inputs[layer], moved[layer]
        wanted = torch.func.jvp(lambda x, i=layer: true_output(i, x), (x,), (v,))[1]
        found = torch.func.jvp(
            lambda *xs, i=layer: made(i, *xs), tuple(batch.inputs), tuple(moved)
        )[1]
        size = (wanted / scale).pow(2).sum(-1)
        error = ((wanted - found) / scale).pow(2).sum(-1) / (size + FLOOR * size[there].mean())
        total = total + on_host(error[there].mean())
    return total


@pytest.mark.parametrize("settings", KINDS, ids=lambda s: " ".join(map(str, s.values())) or "plt")
@pytest.mark.parametrize("kind", ["iso", "dec"])
def test_the_term_is_what_autograd_makes_of_model_and_dictionary(
    settings: dict[str, Any], kind: Any
) -> None:
    model, trainer, batch = started(jacobian_directions=kind, **settings)
    outcome = batch_loss(
        trainer.weights,
        trainer.units.normalise(batch),
        trainer.config,
        dead=[torch.zeros(48, dtype=torch.bool, device=DEVICE)] * 3,
        penalties=[0.0] * 3,
    )
    source = DirectionSource(trainer.config, trainer.units, trainer.maps)
    directions = source.draw(5, trainer.weights, outcome.active, None)
    assert directions.there[0].any() == (kind == "iso")  # nothing is upstream of the first layer
    assert directions.there[1:].any(1).all()
    found = jacobian_loss(
        trainer.weights, outcome.active, batch, trainer.units, trainer.maps, directions
    )
    expected = by_autograd(model, trainer, batch, directions)
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=2e-3)
    gradients = torch.autograd.grad(found, [own.W_enc for own in trainer.weights[1:]])
    own, step = trainer.weights[1].W_enc, 1e-2
    push = torch.randn_like(own)
    with torch.no_grad():  # the mask is fixed, so that the loss is smooth in the encoder
        values = []
        for sign in (step, -2 * step):
            own += sign * push
            values.append(
                float(
                    jacobian_loss(
                        trainer.weights,
                        outcome.active,
                        batch,
                        trainer.units,
                        trainer.maps,
                        directions,
                    )
                )
            )
    slope = (values[0] - values[1]) / (2 * step)
    assert float((gradients[0] * push).sum()) == pytest.approx(slope, rel=0.02, abs=2e-3)


def test_a_decoder_direction_is_an_earlier_features_row_through_the_norm() -> None:
    _, trainer, batch = started(jacobian_directions="dec")
    outcome = batch_loss(
        trainer.weights,
        trainer.units.normalise(batch),
        trainer.config,
        dead=[torch.zeros(48, dtype=torch.bool, device=DEVICE)] * 3,
        penalties=[0.0] * 3,
    )
    source = DirectionSource(trainer.config, trainer.units, trainer.maps)
    directions = source.draw(2, trainer.weights, outcome.active, None)
    rows = torch.cat([trainer.maps[2].seen(own.W_dec.detach()) for own in trainer.weights[:2]])
    nearest = torch.nn.functional.normalize(rows, dim=-1) @ directions.along[2].T
    assert float(nearest.max(0).values.min()) > 1 - 1e-5


def test_without_the_term_nothing_changes(tmp_path: Path) -> None:
    """The fake source has no MLP that could be asked for."""
    path = text_file(tmp_path)
    for settings in ({}, {"kind": "clt", "activation": "jumprelu", "target_l0": 4.0}):
        one, other = (
            train_in_memory(FakeSource(), path, small_config(max_tokens=2000, **settings, **more))
            for more in ({}, {"jacobian": 0.0})
        )
        for ours, theirs in zip(one.layers, other.layers, strict=True):
            assert torch.equal(ours.W_enc, theirs.W_enc)


def fidelity(trainer: Trainer, batch: MlpActivity) -> float:
    """The term over directions that were not trained on."""
    outcome = batch_loss(
        trainer.weights,
        trainer.units.normalise(batch),
        trainer.config,
        dead=[torch.zeros(48, dtype=torch.bool, device=DEVICE)] * 3,
        penalties=[0.0] * 3,
    )
    source = DirectionSource(trainer.config, trainer.units, trainer.maps)
    directions = source.draw(10_001, trainer.weights, outcome.active, None)
    term = jacobian_loss(
        trainer.weights, outcome.active, batch, trainer.units, trainer.maps, directions
    )
    return float(term.detach())


@pytest.mark.parametrize(
    ("settings", "steps"), [*zip(KINDS[1:4], (60, 30, 30), strict=True)], ids=str
)
def test_the_term_brings_the_response_nearer(settings: dict[str, Any], steps: int) -> None:
    found = []
    for weight in (2.0, 1e-12):
        _, trainer, batch = started(**settings, weight=weight)
        for _ in range(steps):
            trainer.step(batch, 20_000)
        found.append(fidelity(trainer, batch))
    assert found[0] < 0.95 * found[1]


@pytest.mark.parametrize("kind", ["dec", "mix"])
def test_a_stopped_run_goes_on_bit_for_bit(tmp_path: Path, kind: Any) -> None:
    class KilledError(Exception):
        pass

    def kill(progress: Any) -> None:
        if progress.step >= 10:
            raise KilledError

    model, path = tiny_model("gemma2"), text_file(tmp_path)
    config = small_config(
        jacobian=0.2, jacobian_directions=kind, checkpoint_steps=7, max_tokens=2600
    )

    def run(name: str, on_progress: Any = None) -> Dictionary:
        one = _Run(model, path, config, tmp_path / name, None, on_progress)
        one.learn()
        return one.dictionary(torch.float32)

    whole = run("whole")
    with pytest.raises(KilledError):
        run("parts", kill)
    resumed = run("parts")
    for ours, theirs in zip(resumed.layers, whole.layers, strict=True):
        assert torch.equal(ours.W_enc, theirs.W_enc)
        assert torch.equal(ours.W_dec, theirs.W_dec)


def test_changes_are_those_of_a_real_pass_with_nothing_before_them(tmp_path: Path) -> None:
    """The first layer sees none, and without any change of features no layer does."""
    model, path = tiny_model("llama"), text_file(tmp_path)
    config = small_config(jacobian=0.1, jacobian_directions="act", max_tokens=600)
    run = _Run(model, path, config, None, None, None)
    run.learn()
    assert run.trainer is not None
    buffer = ActivityBuffer(model, run._reader("training"), config)
    buffer.fill()
    buffer.change(run.trainer.features_now())
    assert buffer.changes is not None
    size = buffer.changes[:, : buffer.filled].norm(dim=-1)
    assert float(size[0].max()) < 1e-5
    assert float(size[1:].median()) > 1e-2
    buffer.change([one.without_features(one.layer, one) for one in run.trainer.upstream])
    assert float(buffer.changes[:, : buffer.filled].abs().max()) < 1e-4


def test_where_it_makes_no_sense_it_is_refused() -> None:
    resid: dict[str, Any] = {"reads": "hook_resid_post", "writes": "hook_resid_post"}
    with pytest.raises(UsageError, match="`jacobian` is for transcoders of MLPs"):
        TrainingConfig(jacobian=0.1, **resid)
    with pytest.raises(UsageError, match="used with `jacobian` alone"):
        TrainingConfig(jacobian_directions="dec")
    with pytest.raises(UsageError, match="at least 0"):
        TrainingConfig(jacobian=-1)
    with pytest.raises(UsageError, match="jacobian_directions"):
        TrainingConfig(jacobian=1, jacobian_directions="up")  # type: ignore[arg-type]
