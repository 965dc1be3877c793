"""Damaged and hostile files end in one sentence; nothing is run, allocated or followed."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from circuit_tracer.errors import DictionaryError
from circuit_tracer.transcoders.opening import find_dictionary, open_transcoders, plan_dictionary
from tests.transcoders.formats.published import CASES, FakeModel, raw_layers, save

Damage = Callable[[Path], None]
NPZ = "layer_0/width_16k/average_l0_60/params.npz"


def header(path: Path, content: Any, body: bytes = b"") -> None:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def with_header(change: Callable[[dict[str, Any]], Any]) -> Damage:
    """layer_1.safetensors with another header over the same bytes."""

    def damage(folder: Path) -> None:
        path = folder / "layer_1.safetensors"
        data = path.read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        content = json.loads(data[8 : 8 + length])
        header(path, change(content) or content, data[8 + length :])

    return damage


def put(name: str, content: bytes) -> Damage:
    return lambda folder: (folder / name).write_bytes(content) and None


def tensors(name: str, change: Callable[[dict[str, torch.Tensor]], Any]) -> Damage:
    def damage(folder: Path) -> None:
        found = load_file(folder / name)
        change(found)
        save(folder / name, found)

    return damage


def config(text: str) -> Damage:
    return lambda folder: (folder / "config.yaml").write_text(text) and None


def claim(name: str, key: str, value: Any) -> Damage:
    return with_header(lambda c: c[name].update({key: value}))


def npz(name: str, array: Any, **more: Any) -> Damage:
    def damage(folder: Path) -> None:
        with np.load(folder / NPZ) as archive:
            arrays = dict(archive)
        arrays[name] = array
        np.savez(folder / NPZ, **arrays, **more)

    return damage


def lying_npz(folder: Path) -> None:
    """An array that claims a terabyte, in an archive of a few bytes."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": "<f4", "fortran_order": False, "shape": (1 << 19, 1 << 19)}
    )
    with zipfile.ZipFile(folder / NPZ, "w") as archive:
        archive.writestr("W_enc.npy", stream.getvalue())


def link_out(folder: Path) -> None:
    outside = folder.parent / "outside.safetensors"
    (folder / "layer_1.safetensors").rename(outside)
    (folder / "layer_1.safetensors").symlink_to(outside)


def link_in_a_circle(folder: Path) -> None:
    (folder / "layer_1.safetensors").unlink()
    (folder / "layer_1.safetensors").symlink_to(folder / "layer_1.safetensors")


SETS: list[tuple[str, Damage, str]] = [
    ("circuit-tracer, skip", put("layer_1.safetensors", b""), "cut off or damaged"),
    ("circuit-tracer, skip", put("layer_1.safetensors", b"\xff" * 8), "cut off or damaged [(]"),
    (
        "circuit-tracer, skip",
        put("layer_1.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n"),
        "damaged [(]it is a pointer of Git LFS",
    ),
    (
        "circuit-tracer, skip",
        put("layer_1.safetensors", b"\x02" + b"\0" * 7 + b"[]"),
        "cut off or damaged [(]",
    ),
    (
        "circuit-tracer, skip",
        put("layer_1.safetensors", b"\x02" + b"\0" * 7 + b"{x"),
        "cut off or damaged [(]",
    ),
    ("circuit-tracer, skip", claim("W_enc", "shape", [1 << 19, 1 << 19]), "cut off or damaged [(]"),
    ("circuit-tracer, skip", claim("W_enc", "shape", [-1, 6]), "cut off or damaged [(]"),
    ("circuit-tracer, skip", claim("W_enc", "shape", "big"), "cut off or damaged [(]"),
    (
        "circuit-tracer, skip",
        claim("W_enc", "data_offsets", [0, 1 << 40]),
        "cut off or damaged [(]",
    ),
    ("circuit-tracer, skip", claim("W_enc", "data_offsets", [9]), "cut off or damaged [(]"),
    ("circuit-tracer, skip", claim("W_enc", "data_offsets", [64, 0]), "cut off or damaged [(]"),
    ("circuit-tracer, skip", claim("b_enc", "dtype", "I64"), "cut off or damaged [(]"),
    ("circuit-tracer, skip", with_header(lambda c: {**c, "x": 3}), "cut off or damaged [(]"),
    (
        "circuit-tracer, skip",
        lambda f: (
            (f / "layer_1.safetensors").write_bytes((f / "layer_1.safetensors").read_bytes()[:-3])
            and None
        ),
        "cut off or damaged",
    ),
    ("circuit-tracer, skip", config("a: !!python/object/apply:os.system ['true']"), "plain YAML"),
    ("circuit-tracer, skip", config("a: [" * 5000), "plain YAML"),
    ("circuit-tracer, skip", config("- a"), "not a table"),
    ("circuit-tracer, skip", config("x" * (17 << 20)), "too many for settings"),
    ("circuit-tracer, skip", put("config.yaml", b"\xff\xfe\x00"), "cannot be read as plain YAML"),
    ("circuit-tracer, skip", config("model_kind: sae"), "transcoder_set and cross_layer"),
    ("circuit-tracer, skip", config("model_kind: transcoder_set"), "say the feature_input_hook"),
    (
        "circuit-tracer, skip",
        config("{feature_input_hook: hook_resid_post, feature_output_hook: hook_mlp_out}"),
        'read at "hook_resid_post".*known: hook_mlp_in, hook_resid_mid',
    ),
    (
        "circuit-tracer, topk",
        config("{feature_input_hook: mlp, feature_output_hook: mlp, activation: topk}"),
        "does not say its k",
    ),
    (
        "circuit-tracer, topk",
        config("{feature_input_hook: mlp, feature_output_hook: mlp, activation: gelu}"),
        '"activation": gelu',
    ),
    (
        "circuit-tracer, jumprelu",
        config("{feature_input_hook: mlp, feature_output_hook: mlp, activation: relu}"),
        "says relu and the weights have JumpReLU",
    ),
    ("circuit-tracer, skip", config("{transcoders: [layer_9.safetensors]}"), "not in the folder"),
    ("circuit-tracer, skip", config("{transcoders: [[]]}"), "names no file"),
    (
        "circuit-tracer, skip",
        lambda f: (f / "layer_1.safetensors").unlink(),
        "lacks layer_1.safetensors: a dictionary has every layer",
    ),
    ("circuit-tracer, skip", lambda f: (f / "config.yaml").unlink(), "holds no dictionary"),
    ("circuit-tracer, clt", lambda f: (f / "W_dec_2.safetensors").unlink(), "lacks W_dec_2"),
    ("circuit-tracer, clt", lambda f: (f / "config.yaml").unlink(), "lacks config.yaml, which"),
    ("circuit-tracer, skip", link_out, "is a link that leaves"),
    ("circuit-tracer, skip", link_in_a_circle, "is a link that leaves"),
    (
        "circuit-tracer, skip",
        tensors("layer_1.safetensors", lambda t: t.update(W_enc=t["W_enc"].T.contiguous())),
        "transpose it",
    ),
    (
        "circuit-tracer, skip",
        tensors("layer_1.safetensors", lambda t: t.update(b_dec=torch.zeros(5))),
        r"W_enc .* has shape \[8, 6\] where \[8, 5\]",
    ),
    (
        "circuit-tracer, skip",
        tensors("layer_1.safetensors", lambda t: t.pop("W_skip")),
        r"layer 1 of .* lacks a skip connection that layer 0 has",
    ),
    (
        "circuit-tracer, skip",
        tensors("layer_1.safetensors", lambda t: t.update(gate=torch.zeros(5))),
        "holds a tensor gate that",
    ),
    (
        "circuit-tracer, skip",
        tensors("layer_1.safetensors", lambda t: t["W_dec"].fill_(float("inf"))),
        "W_dec .* holds NaN or infinite",
    ),
    ("gemma-scope", npz("W_enc", np.array([{}, []], dtype=object)), "pickled objects"),
    ("gemma-scope", npz("W_enc", np.zeros((6, 5), dtype=">f4")), "dtype >f4"),
    ("gemma-scope", npz("W_enc", np.zeros((6, 5), dtype=np.int32)), "dtype I32"),
    ("gemma-scope", npz("more", np.zeros(3)), "holds a tensor more"),
    ("gemma-scope", lying_npz, "claims 1,099,511,627,776 bytes"),
    ("gemma-scope", put(NPZ, b"PK\x03\x04 not really"), "cut off or damaged"),
    (
        "gemma-scope",
        lambda f: (f / NPZ).write_bytes((f / NPZ).read_bytes()[:-40]) and None,
        "cut off or damaged",
    ),
    ("gemma-scope", lambda f: (f / NPZ).unlink(), r"lacks layer_0/.../params.npz"),
]


@pytest.mark.parametrize(("case", "damage", "words"), SETS)
def test_every_damage_gets_its_sentence(
    case: str, damage: Damage, words: str, tmp_path: Path
) -> None:
    folder = tmp_path / "set"
    CASES[case].write(folder, raw_layers())
    damage(folder)
    tracemalloc.start()
    with pytest.raises(DictionaryError, match=words) as caught:
        open_transcoders(folder, FakeModel())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 80 << 20
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def edit(folder: Path, name: str, **entries: Any) -> None:
    content = json.loads((folder / name).read_text())
    kept = {k: v for k, v in {**content, **entries}.items() if v is not ...}
    (folder / name).write_text(json.dumps(kept))


CONFIGS: list[tuple[str, str, dict[str, Any], str]] = [
    ("sparsify", "layers.1.mlp/cfg.json", {"transcode": False}, "plain sparse autoencoder"),
    ("sparsify", "layers.1.mlp/cfg.json", {"k": ...}, '"k": null where it needs a whole number'),
    ("sparsify", "layers.1.mlp/cfg.json", {"k": 0}, '"k": 0 where'),
    ("sparsify", "layers.1.mlp/cfg.json", {"activation": "groupmax"}, "groupmax"),
    ("sparsify", "layers.1.mlp/cfg.json", {"num_latents": 9}, "9 features and width 6"),
    (
        "sparsify",
        "layers.1.mlp/cfg.json",
        {"num_latents": 0, "expansion_factor": 2},
        "12 features and width 6",
    ),
    ("saelens", "a/cfg.json", {"architecture": "jumprelu"}, "plain sparse autoencoder"),
    ("saelens", "a/cfg.json", {"normalize_activations": "layer_norm"}, "token by token"),
    (
        "saelens",
        "a/cfg.json",
        {"normalize_activations": "expected_average_only_in"},
        "without saying its factor",
    ),
    ("saelens", "a/cfg.json", {"metadata": {}}, "does not say where the transcoder reads"),
    (
        "saelens",
        "a/cfg.json",
        {"metadata": {"hook_name": "blocks.0.mlp.hook_in", "hook_name_out": "blocks.0.mlp"}},
        "two folders of set are layer 0",
    ),
    ("saelens, flat", "layer1/cfg.json", {"activation_fn_str": "tanh-relu"}, "tanh-relu"),
    ("saelens, flat", "layer1/cfg.json", {"activation_fn_kwargs": {}}, "does not say its k"),
    (
        "llama-scope",
        "Llama3_1-8B-Base-L1TC-8x/hyperparams.json",
        {"norm_activation": "token-wise"},
        "token by token",
    ),
    (
        "llama-scope",
        "Llama3_1-8B-Base-L1TC-8x/hyperparams.json",
        {"dataset_average_activation_norm": {"in": 0, "out": 1}},
        "average norm of 0",
    ),
    (
        "llama-scope",
        "Llama3_1-8B-Base-L1TC-8x/hyperparams.json",
        {"dataset_average_activation_norm": ...},
        "lacks dataset_average_activation_norm",
    ),
    (
        "llama-scope",
        "Llama3_1-8B-Base-L1TC-8x/hyperparams.json",
        {"use_glu_encoder": True},
        "gated encoder",
    ),
    (
        "llama-scope",
        "Llama3_1-8B-Base-L1TC-8x/hyperparams.json",
        {"hook_point_out": "blocks.1.ln2.hook_normalized"},
        "plain sparse autoencoder",
    ),
    (
        "llama-scope",
        "Llama3_1-8B-Base-L1TC-8x/hyperparams.json",
        {"jump_relu_threshold": "low"},
        "where it needs a number",
    ),
    (
        "gemma-scope-2",
        "transcoder_all/layer_1_width_16k_l0_small_affine/config.json",
        {"type": "sae"},
        "plain sparse autoencoder",
    ),
    (
        "gemma-scope-2",
        "transcoder_all/layer_1_width_16k_l0_small_affine/config.json",
        {"hf_hook_point_in": "model.layers.2.pre_feedforward_layernorm.output"},
        "in another layer",
    ),
    (
        "gemma-scope-2",
        "transcoder_all/layer_1_width_16k_l0_small_affine/config.json",
        {"hf_hook_point_in": "model.layers.1.post_attention_layernorm.output"},
        "is not before the MLP",
    ),
]


@pytest.mark.parametrize(("case", "name", "entries", "words"), CONFIGS)
def test_configs_that_mean_something_else_are_refused(
    case: str, name: str, entries: dict[str, Any], words: str, tmp_path: Path
) -> None:
    folder = tmp_path / "set"
    CASES[case].write(folder, raw_layers())
    edit(folder, name, **entries)
    with pytest.raises(DictionaryError, match=words) as caught:
        plan_dictionary(find_dictionary(folder))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ae.pt", "plain sparse autoencoder"),
        ("resid/trainer_0/ae.pt", "plain sparse autoencoder"),
        ("layer3.sae.pt", "plain sparse autoencoder"),
        ("weights.bin", "pickle-based file, which can run code"),
        ("cfg.json", "put the weights there"),
        ("readme.md", "holds no dictionary"),
    ],
)
def test_what_is_no_transcoder_is_refused_unopened(name: str, words: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"cos\nsystem\n(S'touch hacked'\ntR.")
    with pytest.raises(DictionaryError, match=words):
        open_transcoders(tmp_path)


def test_a_cross_layer_decoder_must_not_write_backwards(tmp_path: Path) -> None:
    CASES["gemma-scope-2, clt"].write(tmp_path / "set", raw_layers())
    tensors(
        "clt/width_262k_l0_big_affine/params_layer_2.safetensors",
        lambda t: t["w_dec"][:, 0].fill_(1),
    )(tmp_path / "set")
    with pytest.raises(DictionaryError, match="writes to layers before layer 2"):
        open_transcoders(tmp_path / "set")


def test_another_depth_or_width_is_refused_before_weights_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    CASES["sparsify"].write(tmp_path / "set", raw_layers())
    monkeypatch.setattr(
        "circuit_tracer.transcoders.formats.tensors.Stored.read", lambda self: pytest.fail("read")
    )
    for name, value in (("n_layers", 4), ("d_model", 8)):
        model = FakeModel()
        setattr(model, name, value)
        with pytest.raises(DictionaryError, match="made for this model"):
            open_transcoders(tmp_path / "set", model)


def test_one_threshold_may_stand_for_all_features(tmp_path: Path) -> None:
    CASES["circuit-tracer, jumprelu"].write(tmp_path / "set", raw_layers())
    for layer in range(3):
        tensors(
            f"layer_{layer}.safetensors",
            lambda t: t.update({"activation_function.threshold": torch.tensor(0.25)}),
        )(tmp_path / "set")
    found = open_transcoders(tmp_path / "set")
    assert all(torch.equal(t.threshold, torch.full((t.n_features,), 0.25)) for t in found.layers)
