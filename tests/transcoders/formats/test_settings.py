"""What a dictionary's config and files say beyond a format's usual is used, noted or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from circuit_tracer.errors import DictionaryError
from circuit_tracer.transcoders.formats.native import save_dictionary
from circuit_tracer.transcoders.opening import find_dictionary, open_transcoders, plan_dictionary
from tests.transcoders.formats.published import (
    CASES,
    CT_CONFIG,
    forward_ct_topk,
    inputs,
    raw_layers,
)

Change = Callable[[dict[str, Any]], Any]


def written(folder: Path, name: str) -> Path:
    CASES[name].write(folder, raw_layers())
    return folder


def says(**entries: Any) -> Change:
    """An entry of ... is taken out."""

    def change(content: dict[str, Any]) -> None:
        content.update(entries)
        for key in [key for key, value in content.items() if value is ...]:
            del content[key]

    return change


def reword(folder: Path, name: str, change: Change) -> None:
    """Change every config of this name in a folder."""
    for path in folder.rglob(name):
        yaml_file = path.suffix == ".yaml"
        content = yaml.safe_load(path.read_text()) if yaml_file else json.loads(path.read_text())
        change(content)
        path.write_text(yaml.safe_dump(content) if yaml_file else json.dumps(content))


def reweigh(folder: Path, name: str, change: Change) -> None:
    """Change every weight file of this name (a pattern) in a folder."""
    for path in folder.rglob(name):
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path)


def test_a_k_without_an_activation_is_topk(tmp_path: Path) -> None:
    written(tmp_path, "circuit-tracer, topk")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**CT_CONFIG, "k": 4}))
    found = open_transcoders(tmp_path, dtype=torch.float64)
    assert {(t.activation, t.k) for t in found.layers} == {("topk", 4)}
    expected, _ = forward_ct_topk(raw_layers(), inputs())
    for transcoder, x, acts in zip(found.layers, inputs(), expected, strict=True):
        torch.testing.assert_close(transcoder.encode(x), acts, rtol=1e-6, atol=1e-9)


CT, CT_JUMP, SPARSE = "circuit-tracer, skip", "circuit-tracer, jumprelu", "sparsify"
LENS_TOPK, LENS_BATCH = "saelens, topk", "saelens, batchtopk"
SCOPE_2 = "gemma-scope-2"


@pytest.mark.parametrize(
    ("case", "file", "change", "words"),
    [
        (CT, "config.yaml", says(activation="relu", k=5), "only TopK has"),
        (CT, "config.yaml", says(activation="relu", rectified=False), "not rectified"),
        (CT, "config.yaml", says(top_k=5), '"top_k": 5, which is not understood'),
        (CT, "config.yaml", says(normalize_activations="layer_norm"), "normalize_activations"),
        (CT, "config.yaml", says(apply_b_dec_to_input=True), "apply_b_dec_to_input"),
        (CT, "config.yaml", says(activation_name="gelu"), "activation_name"),
        (CT, "config.yaml", says(use_batch_norm=True), "use_batch_norm"),
        (CT, "config.yaml", says(log_threshold=-1.0), "log_threshold"),
        (CT_JUMP, "config.yaml", says(k=5), "says topk and the weights have JumpReLU"),
        (CT_JUMP, "config.yaml", says(activation="relu"), "says relu and the weights have"),
        ("saelens", "cfg.json", says(architecture="transcoder"), "have thresholds"),
        ("saelens", "cfg.json", says(architecture="jumprelu_transcoder"), "have W_skip"),
        ("saelens", "cfg.json", says(architecture="gated_transcoder"), "gated_transcoder"),
        ("saelens", "cfg.json", says(reshape_activations="hook_z"), "reshape_activations"),
        ("saelens", "cfg.json", says(rescale_acts_by_decoder_norm=True), "for TopK alone"),
        ("saelens", "cfg.json", says(apply_b_dec_to_input=True), "refuses of transcoders"),
        ("saelens", "cfg.json", says(activation_fn_str="topk"), 'activation "topk"'),
        ("saelens", "cfg.json", says(d_in=12), '"d_in": 12'),
        ("saelens", "cfg.json", says(hook_layer=7), '"hook_layer": 7'),
        ("saelens", "cfg.json", says(hook_head_index=2), "hook_head_index"),
        ("saelens, flat", "cfg.json", says(architecture="standard"), "plain sparse autoencoder"),
        (LENS_TOPK, "cfg.json", says(k=...), "does not say its k"),
        (LENS_TOPK, "cfg.json", says(architecture="topk_transcoder"), "have W_skip"),
        (SPARSE, "cfg.json", says(signed=True), "signed"),
        (SPARSE, "cfg.json", says(skip_connection=False), '"skip_connection": False'),
        (SPARSE, "cfg.json", says(skip_connection=...), '"skip_connection": False'),
        (SCOPE_2, "config.json", says(affine_connection=False), '"affine_connection": False'),
        (SCOPE_2, "config.json", says(output_scale=2.0), "output_scale"),
        ("llama-scope", "hyperparams.json", says(use_decoder_bias=False), "use_decoder_bias"),
        ("llama-scope", "hyperparams.json", says(act_fn="relu"), "says relu and a jump_relu"),
        ("llama-scope", "hyperparams.json", says(use_triton_gate=True), "use_triton_gate"),
    ],
)
def test_settings_that_would_change_a_dictionary_are_refused(
    case: str, file: str, change: Change, words: str, tmp_path: Path
) -> None:
    reword(written(tmp_path, case), file, change)
    with pytest.raises(DictionaryError, match=words):
        open_transcoders(tmp_path)


@pytest.mark.parametrize(
    ("case", "files", "change", "words"),
    [
        (CT, "layer_*.safetensors", says(k=torch.tensor(3), threshold=torch.ones(5)), "threshold"),
        (CT, "layer_1.safetensors", says(b_gate=torch.ones(8)), "b_gate"),
        (LENS_BATCH, "sae_weights.safetensors", says(threshold=...), "only on average"),
        (LENS_BATCH, "sae_weights.safetensors", says(W_skip=torch.ones(6, 6)), "have W_skip"),
        (LENS_TOPK, "sae_weights.safetensors", says(W_gate=torch.ones(6, 6)), "W_gate"),
        ("saelens", "sae_weights.safetensors", says(threshold=...), "lack thresholds"),
        (SPARSE, "sae.safetensors", says(threshold=torch.ones(5)), "threshold"),
    ],
)
def test_tensors_that_nothing_speaks_of_are_refused(
    case: str, files: str, change: Change, words: str, tmp_path: Path
) -> None:
    reweigh(written(tmp_path, case), files, change)
    with pytest.raises(DictionaryError, match=words):
        open_transcoders(tmp_path)


def test_a_k_in_the_weights_has_to_be_that_of_the_config(tmp_path: Path) -> None:
    written(tmp_path, "circuit-tracer, topk")
    reweigh(tmp_path, "layer_1.safetensors", says(k=torch.tensor(3)))
    with pytest.raises(DictionaryError, match="k 4 and the weights of layer 1 have 3"):
        open_transcoders(tmp_path)


def test_weights_that_are_part_of_no_layer_are_refused(tmp_path: Path) -> None:
    written(tmp_path, CT)
    save_file({"W": torch.ones(1)}, tmp_path / "finetuned.safetensors")
    with pytest.raises(DictionaryError, match=r"finetuned.safetensors, which is part of no layer"):
        open_transcoders(tmp_path)


def test_our_own_config_is_read_as_strictly(tmp_path: Path) -> None:
    CASES[CT].write(tmp_path / "set", raw_layers())
    save_dictionary(open_transcoders(tmp_path / "set"), tmp_path / "ours")
    for change, words in (
        (says(k=5), "relu and there is a k"),
        (says(k=None, pre_scale=2.0), "pre_scale"),
    ):
        reword(tmp_path / "ours", "dictionary.json", change)
        with pytest.raises(DictionaryError, match=words):
            open_transcoders(tmp_path / "ours")


@pytest.mark.parametrize(
    ("case", "file", "entries"),
    [
        (CT, "config.yaml", {"repo_id": "org/x", "description": "x", "license": "mit"}),
        (
            "saelens, flat",
            "cfg.json",
            {
                "d_sae": ...,
                "lr": 4e-4,
                "l1_coefficient": 0.1,
                "lp_norm": 1.0,
                "lr_warm_up_steps": 5000,
                "normalize_sae_decoder": False,
                "scale_sparsity_penalty_by_decoder_norm": True,
                "b_dec_init_method": "zeros",
                "decoder_heuristic_init": True,
                "init_encoder_as_decoder_transpose": True,
                "dead_feature_threshold": 1e-8,
                "mse_loss_normalization": None,
                "finetuning_scaling_factor": True,
                "training_tokens": 10**8,
                "dataset_path": "x",
                "context_size": 128,
                "jumprelu_bandwidth": 0.05,
                "store_batch_size_prompts": 8,
                "wandb_log_frequency": 10,
                "seqpos_slice": [None],
                "is_dataset_tokenized": True,
            },
        ),
        (SPARSE, "cfg.json", {"normalize_decoder": True, "multi_topk": False, "signed": False}),
        (
            "llama-scope",
            "hyperparams.json",
            {
                "init_decoder_norm": 0.5,
                "sae_pretrained_name_or_path": None,
                "lp": 1,
                "decoder_exactly_fixed_norm": False,
                "d_model": 6,
                "expansion_factor": 8,
                "strict_loading": True,
            },
        ),
    ],
)
def test_what_training_alone_uses_is_harmless(
    case: str, file: str, entries: dict[str, Any], tmp_path: Path
) -> None:
    before = open_transcoders(written(tmp_path, case))
    reword(tmp_path, file, says(**entries))
    after = open_transcoders(tmp_path)
    for first, second in zip(before.layers, after.layers, strict=True):
        x = inputs()[first.layer].float()
        assert torch.equal(first.encode(x), second.encode(x))


def test_keys_of_no_known_effect_are_named(tmp_path: Path) -> None:
    reword(written(tmp_path, CT), "config.yaml", says(flavour="ripe"))
    notes = plan_dictionary(find_dictionary(tmp_path)).notes
    assert any("flavour, which nothing here uses" in note for note in notes)
