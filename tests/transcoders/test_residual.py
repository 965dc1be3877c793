"""Sparse autoencoders of the residual stream: trained, stored, opened and measured.

What they read is compared with Hugging Face's own hidden states, what they compute with the plain
formula.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from circuit_tracer.attribution.tracing import trace
from circuit_tracer.errors import CircuitTracerError, DictionaryError, UsageError
from circuit_tracer.models import Model
from circuit_tracer.transcoders.card_making import make_cards
from circuit_tracer.transcoders.cards import load_cards
from circuit_tracer.transcoders.evaluation import evaluate
from circuit_tracer.transcoders.formats.native import save_dictionary
from circuit_tracer.transcoders.opening import open_transcoders
from circuit_tracer.transcoders.training import TrainingConfig, train, train_in_memory
from circuit_tracer.transcoders.validation import validate
from tests.tiny import FAMILIES, tiny_llama, tiny_model
from tests.transcoders.fakes import FakeSource, small_config, text_file

IDS = torch.tensor([[0, 3, 4, 7, 9, 5], [0, 8, 7, 2, 2, 6]])
RESIDUAL = {"reads": "hook_resid_post", "writes": "hook_resid_post"}


def residual_config(**overrides: Any) -> TrainingConfig:
    """A short run on the residual stream."""
    return small_config(**RESIDUAL, **overrides)


def hidden_states(model: Model, ids: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Hugging Face's: the stream after layer i at i + 1, but for the last, which is normalised."""
    with torch.no_grad():
        found = model.module(ids.to(model.device), output_hidden_states=True).hidden_states
    return tuple(found)


def by_hand(folder: Path, layer: int, k: int, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Activations and reconstruction from the raw file, feature by feature in float64."""
    raw = {n: t.double() for n, t in load_file(folder / f"layer_{layer}.safetensors").items()}
    pre = x.double() @ raw["W_enc"].T + raw["b_enc"]
    kept = torch.zeros_like(pre)
    for token in range(len(pre)):
        for feature in pre[token].argsort(descending=True)[:k]:
            kept[token, feature] = max(float(pre[token, feature]), 0.0)
    return kept, kept @ raw["W_dec"][:, 0] + raw["b_dec"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Path]:
    """A model and a sparse autoencoder trained on two of its layers."""
    folder = tmp_path_factory.mktemp("residual")
    model = tiny_llama()
    config = residual_config(layers=(0, 1), epochs=2, evaluation_tokens=400)
    train(model, text_file(folder), config, folder / "sae")
    return model, folder / "sae"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_stream_read_is_hugging_faces(family: str) -> None:
    model = tiny_model(family)
    read = model.mlp_activity(IDS, "hook_resid_post", "hook_resid_post")
    states = hidden_states(model, IDS)
    for layer in range(model.n_layers - 1):
        torch.testing.assert_close(read.inputs[layer], states[layer + 1])
    capture = model.capture(IDS[0].tolist())
    streams = torch.stack([capture.resid_post(i) for i in range(model.n_layers)])
    torch.testing.assert_close(streams, read.inputs[:, 0])
    some = model.mlp_activity(IDS, "hook_resid_post", "hook_resid_post", (1,))
    torch.testing.assert_close(some.inputs, read.inputs[1:2])


def test_it_learns_the_stream_of_chosen_layers(tmp_path: Path) -> None:
    dictionary = train_in_memory(
        FakeSource(), text_file(tmp_path), residual_config(layers=(1,), epochs=6)
    )
    assert (dictionary.kind, dictionary.reads, dictionary.writes) == (
        *("sae", "hook_resid_post", "hook_resid_post"),
    )
    assert dictionary.numbers == (1,)
    assert [t.n_features for t in dictionary.layers] == [0, 48]
    x = FakeSource().mlp_activity(IDS, "hook_resid_post").inputs[:, :, 1:].flatten(1, 2)
    found = dictionary.reconstruct(list(x))[1]
    error, variance = (x[1] - found).pow(2).sum(), (x[1] - x[1].mean(0)).pow(2).sum()
    assert float(error / variance) < 0.35


def test_stored_weights_compute_the_plain_formula(trained: tuple[Model, Path]) -> None:
    model, folder = trained
    dictionary = open_transcoders(folder, model)
    states = hidden_states(model, IDS)
    for layer in (0, 1):
        x = states[layer + 1][0, 1:].cpu()
        acts, rebuilt = by_hand(folder, layer, 4, x)
        found = dictionary.layers[layer].encode(x.to(model.device))
        torch.testing.assert_close(found.cpu().double(), acts, atol=1e-4, rtol=1e-4)
        inputs = [x.to(model.device)] * model.n_layers
        again = dictionary.reconstruct(inputs)[layer].cpu().double()
        torch.testing.assert_close(again, rebuilt, atol=1e-3, rtol=1e-4)


def test_it_comes_back_with_and_without_its_model(trained: tuple[Model, Path]) -> None:
    model, folder = trained
    for dictionary in (open_transcoders(folder, model), open_transcoders(folder)):
        assert dictionary.n_layers == model.n_layers
        assert dictionary.numbers == (0, 1)
        assert dictionary.identity.kind == "sae"
    assert not (folder / "layer_2.safetensors").exists()


def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    model, text = tiny_llama(), text_file(tmp_path)
    config = residual_config(layers=(1,), checkpoint_steps=2, epochs=1, evaluation_tokens=200)

    def run(name: str, stop: bool) -> dict[str, torch.Tensor]:
        def on_progress(now: Any) -> None:
            if stop and now.step >= 10:
                raise KeyboardInterrupt

        train(model, text, config, tmp_path / name, on_progress=on_progress)
        return load_file(tmp_path / name / "layer_1.safetensors")

    whole = run("whole", stop=False)
    with pytest.raises(KeyboardInterrupt):
        run("stopped", stop=True)
    assert (tmp_path / "stopped.checkpoint").is_dir()
    resumed = run("stopped", stop=False)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_the_loss_is_that_of_replaced_streams(trained: tuple[Model, Path], tmp_path: Path) -> None:
    model, folder = trained
    dictionary = open_transcoders(folder, model)
    path = tmp_path / "one.txt"
    path.write_text("the banana is yellow\n", encoding="utf-8")
    figures = evaluate(model, dictionary, path)
    assert [layer.layer for layer in figures.layers] == [0, 1]
    assert "the residual stream after layers 0, 1 replaced" in figures.summary
    ids = torch.tensor([model.tokenize("the banana is yellow")], device=model.device)

    def hook(layer: int) -> Any:
        def replaced(_module: Any, _inputs: Any, output: Any) -> Any:
            out = output[0] if isinstance(output, tuple) else output
            out = out.clone()
            inputs = [out[0, 1:]] * model.n_layers
            out[0, 1:] = dictionary.reconstruct(inputs)[layer]
            return (out, *output[1:]) if isinstance(output, tuple) else out

        return model.module.model.layers[layer].register_forward_hook(replaced)

    handles = [hook(layer) for layer in (0, 1)]
    with torch.no_grad():
        logits = model.module(ids).logits
    for handle in handles:
        handle.remove()
    expected = torch.nn.functional.cross_entropy(logits[0, :-1], ids[0, 1:])
    assert figures.loss_replaced == pytest.approx(float(expected), rel=1e-4)
    assert figures.loss_replaced != pytest.approx(figures.loss_original, rel=1e-6)


def test_cards_and_validation_skip_layers_without_features(
    trained: tuple[Model, Path], tmp_path: Path
) -> None:
    model, folder = trained
    dictionary = open_transcoders(folder, model)
    make_cards(model, dictionary, text_file(tmp_path, documents=60), tmp_path)
    card = load_cards(tmp_path).cards([(1, 0)])[0]
    assert (card.layer, card.feature) == (1, 0)
    with pytest.raises(CircuitTracerError):
        load_cards(tmp_path).cards([(2, 0)])
    found = validate(model, dictionary, ("the banana is yellow", "a lemon is red"))
    assert [layer.layer for layer in found.layers] == [0, 1]


def test_no_graph_is_traced_through_it(trained: tuple[Model, Path]) -> None:
    model, folder = trained
    with pytest.raises(DictionaryError, match=r"stands for no MLP.*steer or ablate.*a target"):
        trace(model, open_transcoders(folder, model), "the banana is")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"reads": "hook_resid_post"}, "`reads` hook_resid_post and `writes` mlp.hook_out clash"),
        ({"layers": (1,)}, "`layers` is for sparse autoencoders"),
        ({**RESIDUAL, "skip": True}, "`skip`"),
        ({**RESIDUAL, "kind": "clt"}, "`kind`"),
        ({**RESIDUAL, "layers": (2, 1)}, "rising order"),
        ({**RESIDUAL, "layers": ()}, "rising order"),
    ],
)
def test_settings_that_clash_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        TrainingConfig(**settings)


def test_a_layer_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="`layers` 7 is no layer of"):
        train_in_memory(FakeSource(), text_file(tmp_path), residual_config(layers=(7,)))


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"layers": [0, 9]}, "a list of layers from 0 to 2"),
        ({"layers": [0]}, "1 layers but 2 numbers"),
        ({"layers": [0, 2]}, "lacks layer_2.safetensors"),
        ({"writes": "mlp.hook_out"}, "sae exactly where hook_resid_post"),
    ],
)
def test_a_damaged_config_gets_its_sentence(
    trained: tuple[Model, Path], tmp_path: Path, entries: dict[str, Any], words: str
) -> None:
    save_dictionary(open_transcoders(trained[1]), tmp_path / "copy")
    path = tmp_path / "copy" / "dictionary.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))
    with pytest.raises(DictionaryError, match=words):
        open_transcoders(tmp_path / "copy")
