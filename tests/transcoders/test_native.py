"""Our file format: bit for bit there and back, and a sentence for every way it can be broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from circuit_tracer.errors import DictionaryError, OutputError
from circuit_tracer.graphs.graph import Identity
from circuit_tracer.transcoders.dictionary import Dictionary, LayerTranscoder, check_fits
from circuit_tracer.transcoders.formats.native import (
    save_dictionary,
    update_config,
)
from circuit_tracer.transcoders.opening import (
    find_dictionary,
    is_made_for,
    open_transcoders,
)
from tests.device import on_host
from tests.transcoders.fakes import FakeSource


def make(
    *, kind: Any = "plt", activation: Any = "topk", skip: bool = False, L: int = 2, d: int = 12
) -> Dictionary:
    torch.manual_seed(0)
    layers = tuple(
        LayerTranscoder(
            layer=layer,
            W_enc=torch.randn(5, d),
            b_enc=torch.randn(5),
            W_dec=torch.randn(5, 1 if kind == "plt" else L - layer, d),
            b_dec=torch.randn(d),
            activation=activation,
            threshold=torch.rand(5) if activation == "jumprelu" else None,
            k=2 if activation == "topk" else None,
            W_skip=torch.randn(d, d) if skip else None,
        )
        for layer in range(L)
    )
    return Dictionary(
        kind=kind,
        layers=layers,
        reads="mlp.hook_in",
        identity=Identity("made", "memory", "", kind),
        config={"model": {"name": "fake", "sha256": "fake-weights"}, "training": {"seed": 1}},
    )


def tensors_of(dictionary: Dictionary) -> list[torch.Tensor]:
    names = ("W_enc", "b_enc", "W_dec", "b_dec", "threshold", "W_skip")
    found = [getattr(t, name) for t in dictionary.layers for name in names]
    return [tensor for tensor in found if tensor is not None]


@pytest.mark.parametrize("kind", ["plt", "clt"])
@pytest.mark.parametrize("activation", ["topk", "jumprelu", "relu"])
@pytest.mark.parametrize("skip", [True, False])
def test_a_dictionary_comes_back_bit_for_bit(
    tmp_path: Path, kind: str, activation: str, skip: bool
) -> None:
    made = make(kind=kind, activation=activation, skip=skip)
    identity = save_dictionary(made, tmp_path / "mine")
    found = open_transcoders(tmp_path / "mine", FakeSource())
    assert found.identity == identity
    assert (found.kind, found.reads, found.config) == (made.kind, made.reads, made.config)
    assert [(t.activation, t.k, t.layer) for t in found.layers] == [
        (t.activation, t.k, t.layer) for t in made.layers
    ]
    for ours, theirs in zip(tensors_of(found), tensors_of(made), strict=True):
        assert torch.equal(on_host(ours), on_host(theirs))
    assert is_made_for(found, FakeSource())


def test_matrices_can_be_stored_small_and_opened_wide(tmp_path: Path) -> None:
    made = make().to(device="cpu", dtype=torch.bfloat16)
    save_dictionary(made, tmp_path / "mine")
    found = open_transcoders(tmp_path / "mine", dtype=torch.float64)
    assert found.layers[0].W_enc.dtype == torch.float64
    assert torch.equal(found.layers[0].W_enc, made.layers[0].W_enc.double())
    assert torch.equal(found.layers[0].b_enc, made.layers[0].b_enc.double())
    assert (tmp_path / "mine" / "layer_0.safetensors").stat().st_mode & 0o077


def test_saving_replaces_a_dictionary_but_nothing_else(tmp_path: Path) -> None:
    save_dictionary(make(L=2), tmp_path / "mine")
    save_dictionary(make(L=1), tmp_path / "mine")
    assert sorted(f.name for f in (tmp_path / "mine").iterdir()) == [
        "dictionary.json",
        "layer_0.safetensors",
    ]
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("keep me")
    with pytest.raises(OutputError, match="no earlier result"):
        save_dictionary(make(), tmp_path / "letters")
    assert sorted(f.name for f in tmp_path.iterdir()) == ["letters", "mine"]


def test_a_failed_save_leaves_the_old_dictionary(tmp_path: Path) -> None:
    save_dictionary(make(), tmp_path / "mine")
    before = {f.name: f.read_bytes() for f in (tmp_path / "mine").iterdir()}
    broken = replace(make(), config={"model": object()})
    with pytest.raises(TypeError):
        save_dictionary(broken, tmp_path / "mine")
    assert {f.name: f.read_bytes() for f in (tmp_path / "mine").iterdir()} == before
    assert [f.name for f in tmp_path.iterdir()] == ["mine"]


Damage = Callable[[Path], None]


def with_config(**entries: Any) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / "dictionary.json"
        config = {**json.loads(path.read_text()), **entries}
        path.write_text(json.dumps({k: v for k, v in config.items() if v is not ...}))

    return damage


def with_tensor(name: str, change: Callable[[torch.Tensor], torch.Tensor | None]) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / "layer_1.safetensors"
        tensors = load_file(path)
        changed = change(tensors.pop(name, torch.zeros(3)))
        if changed is not None:
            tensors[name] = changed.contiguous()
        save_file(tensors, path)
        with_config(sha256=...)(folder)

    return damage


def with_file(name: str, change: Callable[[bytes], bytes | None]) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / name
        content = change(path.read_bytes() if path.exists() else b"")
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)

    return damage


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (with_file("dictionary.json", lambda b: None), "dictionary.json is missing"),
        (with_file("dictionary.json", lambda b: b[:40]), "cannot be read as JSON"),
        (with_file("dictionary.json", lambda b: b"\xff\xfe"), "cannot be read as JSON"),
        (with_file("dictionary.json", lambda b: b"[]"), "not one of ours"),
        (with_config(format="sae"), "not one of ours"),
        (with_config(version=2), "version 2 .* reads version 1"),
        (with_config(n_layers=0), '"n_layers": 0 .* whole number'),
        (with_config(kind="vae"), '"kind": "vae" .* plt or clt or sae'),
        (with_config(kind="sae"), '"kind": "sae" .* exactly where hook_resid_post'),
        (with_config(n_features=[5]), "2 layers but 1 numbers"),
        (with_config(n_features="many"), "a list with the number"),
        (with_config(k=...), "topk but not its k"),
        (with_config(reads="somewhere"), '"reads": "somewhere"'),
        (with_config(model="gpt2"), '"model": "gpt2" where it needs an object'),
        (with_config(evaluation=[1]), '"evaluation": .* where it needs an object'),
        (with_config(evaluation={"layers": [{"fvu": "good"}]}), "needs figures of every layer"),
        (with_file("more.pkl", lambda b: b"x"), "more.pkl is a pickle-based file"),
        (with_file("layer_0.pt", lambda b: b"x"), "layer_0.pt is a pickle-based file"),
        (with_file("layer_1.safetensors", lambda b: None), "lacks layer_1.safetensors"),
        (
            with_file("layer_2.safetensors", lambda b: b"x"),
            "has layer_2.safetensors but .* 2 layers",
        ),
        (with_file("layer_1.safetensors", lambda b: b[:-7]), "cut off or damaged"),
        (with_file("layer_1.safetensors", lambda b: b""), "cut off or damaged"),
        (with_file("layer_0.safetensors", lambda b: b[:-1] + b"\x07"), "sha256 differs"),
        (with_tensor("W_enc", lambda t: t.T), "transpose it"),
        (with_tensor("W_dec", lambda t: t[:, 0]), r"shape \[5, 12\] where \[5, 1, 12\]"),
        (with_tensor("b_dec", lambda t: None), "lacks the tensor b_dec"),
        (with_tensor("extra", lambda t: t), "tensor extra that .* does not announce"),
        (with_tensor("b_enc", lambda t: t.int()), "dtype I32; store it as"),
        (with_tensor("b_enc", lambda t: t * float("nan")), "b_enc .* holds NaN"),
        (with_tensor("W_enc", lambda t: t * float("inf")), "W_enc .* holds NaN or infinite"),
    ],
)
def test_every_damage_gets_its_sentence(tmp_path: Path, damage: Damage, words: str) -> None:
    folder = tmp_path / "mine"
    save_dictionary(make(), folder)
    damage(folder)
    with pytest.raises(DictionaryError, match=words) as caught:
        open_transcoders(folder, FakeSource())
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("name", ["weights.pt", "model.pkl", "dictionary.bin"])
def test_pickles_are_refused_unopened(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"cos\nsystem\n(S'touch hacked'\ntR.")
    for reference in (tmp_path / name, tmp_path):
        with pytest.raises(DictionaryError, match="pickle-based file, which can run code"):
            open_transcoders(reference)


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("", "name is empty"),
        ("nowhere", 'no dictionary "nowhere"'),
        ("sprout/nothing", 'no dictionary "sprout/nothing"'),
        ("../../no/such", "no dictionary"),
    ],
)
def test_references_that_lead_nowhere(reference: str, words: str) -> None:
    with pytest.raises(DictionaryError, match=words):
        find_dictionary(reference, FakeSource())


def test_a_slash_at_the_end_changes_nothing_and_advice_is_true() -> None:
    sprout = FakeSource()
    sprout.identity = Identity("sprout", "bundled", "x", "llama")
    assert find_dictionary("clt/", sprout) == find_dictionary("clt", sprout)
    assert find_dictionary("sprout/clt/").source == "bundled"
    with pytest.raises(DictionaryError) as caught:
        find_dictionary("nowhere", FakeSource())
    assert "neuron" not in str(caught.value)


def test_device_and_dtype_are_the_models_by_default(tmp_path: Path) -> None:
    save_dictionary(make(), tmp_path / "mine")
    wide = FakeSource()
    wide.torch_dtype = torch.float64
    assert open_transcoders(tmp_path / "mine", wide).layers[0].W_enc.dtype == torch.float64
    narrow = open_transcoders(tmp_path / "mine", wide, dtype=torch.bfloat16)
    assert narrow.layers[0].W_enc.dtype == torch.bfloat16
    assert open_transcoders(tmp_path / "mine").layers[0].W_enc.dtype == torch.float32


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"")
    with pytest.raises(DictionaryError, match="give the folder"):
        find_dictionary(tmp_path / "a.safetensors")


def test_a_dictionary_of_another_shape_than_the_model_is_refused() -> None:
    model = FakeSource()
    check_fits("mine", (2, 12), model)
    with pytest.raises(DictionaryError, match=r"3 layers and the model fake has 2.*made for other"):
        check_fits("mine", (3, 12), model, made_for="other")
    with pytest.raises(DictionaryError, match="16 dimensions and the model fake has 12"):
        check_fits("mine", (2, 16), model)


def test_figures_can_be_added_later(tmp_path: Path) -> None:
    save_dictionary(make(), tmp_path / "mine")
    update_config(tmp_path / "mine", evaluation={"tokens": 3})
    assert open_transcoders(tmp_path / "mine").config["evaluation"] == {"tokens": 3}
