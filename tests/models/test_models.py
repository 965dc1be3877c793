"""Opening models and capturing forward passes, against the Hugging Face module itself."""

from __future__ import annotations

import ctypes
import json
import platform
import resource
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import BloomConfig, BloomForCausalLM

from circuit_tracer.attribution.replacement import freeze_read
from circuit_tracer.errors import ModelError, PromptError, UsageError
from circuit_tracer.models import Model, open_model
from circuit_tracer.models.check import check_wiring
from circuit_tracer.models.devices import parse_device, parse_dtype
from circuit_tracer.processes import reuse_memory
from tests.device import DEVICE, HOST
from tests.tiny import tiny_llama, tiny_module, tiny_tokenizer

PROMPT = "the banana is yellow yes a lemon is blue"


def saved(model: Model, folder: Path) -> Path:
    model.module.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return folder


def test_capture_is_what_the_model_computes() -> None:
    model = tiny_llama(attention_bias=True)
    ids = model.tokenize(PROMPT)
    capture = model.capture(ids)
    output = model.module(
        torch.tensor([ids], device=DEVICE), output_hidden_states=True, output_attentions=True
    )
    assert torch.equal(capture.logits, output.logits[0])
    assert torch.equal(capture.embeddings, output.hidden_states[0][0])
    assert torch.equal(torch.stack(capture.patterns), torch.cat(output.attentions))
    following = torch.cat([*output.hidden_states[1:-1]])
    assert torch.equal(capture.resid_pre[1:], following)
    rebuilt = capture.resid_mid + capture.mlp_out
    assert torch.allclose(rebuilt[:-1], following, atol=1e-6)
    assert torch.allclose(rebuilt[-1], capture.resid_final, atol=1e-6)


def test_mlp_activity_of_a_batch_is_that_of_its_rows() -> None:
    model = tiny_llama(dtype=torch.float64)
    rows = [model.tokenize(PROMPT), model.tokenize("a lemon is blue the sky is blue yes")]
    activity = model.mlp_activity(torch.tensor(rows))
    for i, row in enumerate(rows):
        capture = model.capture(row)
        assert torch.allclose(activity.inputs[:, i], capture.mlp_in, atol=1e-12)
        assert torch.allclose(activity.outputs[:, i], capture.mlp_out, atol=1e-12)


@pytest.mark.parametrize("reads", ["mlp.hook_in", "ln2.hook_normalized", "hook_resid_mid"])
def test_reading_points_are_the_same_in_both_kinds_of_pass(reads: str) -> None:
    model = tiny_llama(dtype=torch.float64)
    ids = model.tokenize(PROMPT)
    capture = model.capture(ids)
    activity = model.mlp_activity(torch.tensor([ids]), reads)  # type: ignore[arg-type]
    for layer in range(model.n_layers):
        seen = model.wiring.read(
            reads,  # type: ignore[arg-type]
            layer,
            capture.resid_mid[layer],
            capture.mlp_in[layer],
        )
        assert torch.allclose(activity.inputs[layer, 0], seen)
        frozen = freeze_read(model.wiring, reads, layer, capture.resid_mid[layer])  # type: ignore[arg-type]
        assert torch.allclose(frozen.apply(capture.resid_mid[layer]), seen, atol=1e-12)


def test_loss_with_mlps_replaced_by_themselves_and_by_nothing() -> None:
    model = tiny_llama()
    rows = torch.tensor([model.tokenize(PROMPT)], device=DEVICE)
    outputs = model.mlp_activity(rows).outputs
    expected = torch.nn.functional.cross_entropy(
        model.module(rows).logits[0, :-1], rows[0, 1:], reduction="none"
    )
    assert torch.allclose(model.loss(rows)[0], expected)
    assert torch.allclose(model.loss(rows, lambda layer, x: outputs[layer])[0], expected)
    silent = model.loss(rows, lambda layer, x: torch.zeros_like(x))[0]
    assert (silent - expected).abs().max() > 0.05


def test_float64_computes_norms_in_float64() -> None:
    model = tiny_llama(dtype=torch.float64)
    capture = model.capture(model.tokenize(PROMPT))
    norm = model.wiring.norm("mlp_norm", 0)
    assert norm is not None
    scale = (capture.resid_mid[0].pow(2).mean(-1, keepdim=True) + norm.epsilon).rsqrt()
    exact = capture.resid_mid[0] * scale * norm.weight
    assert (capture.mlp_in[0] - exact).abs().max() < 1e-14


def test_a_saved_folder_opens_again_the_same(tmp_path: Path) -> None:
    model = tiny_llama(device=HOST)
    opened = open_model(str(saved(model, tmp_path / "mine")), device="cpu")
    ids = opened.tokenize(PROMPT)
    assert ids == model.tokenize(PROMPT)
    assert torch.equal(opened.capture(ids).logits, model.capture(ids).logits)
    assert opened.identity.name == "mine"
    assert len(opened.identity.sha256) == 64
    assert str(tmp_path) not in str(opened.identity)


def test_nnsight_does_not_see_our_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["circuit-tracer", "-v"])
    model = tiny_llama()
    model.capture(model.tokenize(PROMPT))
    assert sys.argv == ["circuit-tracer", "-v"]
    from nnsight import CONFIG

    assert not CONFIG.APP.DEBUG


def test_bos_is_put_in_front_where_the_tokenizer_does_not() -> None:
    model = tiny_llama()
    model.tokenizer.backend_tokenizer.post_processor = None
    assert model.tokenize("a lemon")[0] == model.bos_id


@pytest.mark.parametrize(
    ("text", "expected"), [("yellow", "yellow"), (" yellow", "yellow"), ("yes", "yes")]
)
def test_a_target_is_one_token(text: str, expected: str) -> None:
    model = tiny_llama()
    assert model.token_text(model.token_id(text)) == expected


@pytest.mark.parametrize("text", ["yellow blue", "purple", "", " "])
def test_a_target_that_is_not_one_token_is_refused(text: str) -> None:
    with pytest.raises(PromptError):
        tiny_llama().token_id(text)


def test_references_that_are_no_model_get_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "empty").mkdir()
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_text("{}")
    (pickled / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "config.json").write_text("{}")
    (tmp_path / "model.pt").write_bytes(b"\x80\x04.")
    for reference, says in [
        ("", "empty"),
        ("./nowhere", "no folder"),
        (str(tmp_path / "empty"), "config.json is missing"),
        (str(pickled), "pickle"),
        (str(bare), "no weights"),
        (str(tmp_path / "model.pt"), "can run code"),
        (str(tmp_path / "model.pkl"), "can run code"),
        (str(tmp_path / "none.gguf"), "no GGUF file"),
    ]:
        with pytest.raises(ModelError, match=says):
            open_model(reference)


def test_an_unsupported_architecture_is_named(tmp_path: Path) -> None:
    module = BloomForCausalLM(BloomConfig(n_layer=1, hidden_size=8, n_head=2, vocab_size=24))
    module.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"Bloom.* not supported yet.*Olmo2.*Wiring"):
        open_model(str(tmp_path))


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    model = tiny_llama()
    folder = saved(model, tmp_path / "m")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="cannot be read"):
        open_model(str(folder))
    with torch.no_grad():
        model.module.lm_head.weight[0, 0] = float("nan")
    saved(model, folder)
    with pytest.raises(ModelError, match=r"NaN or infinite weights in lm_head"):
        open_model(str(folder))


def test_damaged_config_is_refused(tmp_path: Path) -> None:
    folder = saved(tiny_llama(), tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config)[:-20])
    with pytest.raises(ModelError, match="cannot be read"):
        open_model(str(folder))


def test_half_precision_rounds_the_weights_and_computes_in_float32(tmp_path: Path) -> None:
    model = tiny_llama(device=HOST)
    opened = open_model(str(saved(model, tmp_path / "m")), dtype="bfloat16", device="cpu")
    assert opened.torch_dtype is torch.float32
    assert opened.weights_dtype == "bfloat16"
    rounded = model.unembedding.bfloat16().float()
    assert torch.equal(opened.unembedding, rounded)
    assert not torch.equal(rounded, model.unembedding)


def test_dtypes_and_devices_have_names() -> None:
    assert parse_dtype("fp64") is torch.float64
    assert parse_dtype("bfloat16") is torch.bfloat16
    with pytest.raises(UsageError, match="float32"):
        parse_dtype("int8")
    with pytest.raises(UsageError, match="cannot be used here"):
        parse_device("warp")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_module_in_half_precision_is_computed_with_in_float32(dtype: torch.dtype) -> None:
    model = Model.from_module(tiny_module("llama", dtype=dtype), tiny_tokenizer(24))
    assert model.torch_dtype == torch.float32
    assert model.weights_dtype == str(dtype).removeprefix("torch.")
    rounded = Model.from_module(tiny_module("llama", dtype=dtype).float(), tiny_tokenizer(24))
    ids = model.tokenize("a banana is")
    assert torch.equal(model.capture(ids).logits, rounded.capture(ids).logits)


@pytest.mark.skipif(platform.system() != "Linux", reason="asked of glibc alone")
@pytest.mark.parametrize(("at_most", "kept"), [(None, 2**31 - 1), (1 << 27, 1 << 27)])
def test_no_more_is_kept_than_was_said(
    at_most: int | None, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[int, int] = {}
    library = SimpleNamespace(mallopt=asked.__setitem__)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    reuse_memory(at_most=at_most)
    trim_threshold, mmap_max = -1, -4  # as in malloc.h
    assert asked[trim_threshold] == kept
    assert (mmap_max in asked) == (at_most is None)  # without maps the largest would be kept, too


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries do as they like")
def test_large_blocks_are_taken_again() -> None:
    reuse_memory()
    blocks, pages = 20, 48_000_000 // resource.getpagesize()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(blocks):
        torch.ones(12_000_000, dtype=torch.float32, device=HOST)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    assert faults < blocks * pages / 2  # all of them, where each block is mapped by itself


def test_wiring_is_checked_at_few_positions_of_the_vocabulary() -> None:
    model = tiny_llama()
    capture = model.capture([1, *range(4, 13)])
    early, late = capture.logits.clone(), capture.logits.clone()
    early[:-4], late[-1] = torch.nan, 0.0
    check_wiring(replace(capture, logits=early), model.wiring)
    with pytest.raises(ModelError, match="its logits"):
        check_wiring(replace(capture, logits=late), model.wiring)
