"""Everything in a model's folder is used, known to be harmless, or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from circuit_tracer.errors import ModelError
from circuit_tracer.models import Model, open_model
from tests.device import HOST
from tests.tiny import tiny_model, tiny_module, tiny_tokenizer

WEIGHTS = "model.safetensors"
Tensors = dict[str, Tensor]


def saved(folder: Path, family: str = "llama", **options: Any) -> Path:
    """A tiny model's folder as transformers writes it."""
    tiny_module(family, n_layers=2, **options).save_pretrained(folder)
    tiny_tokenizer(24).save_pretrained(folder)
    return folder


def rewrite(folder: Path, change: Callable[[Tensors], Any], name: str = WEIGHTS) -> None:
    tensors = load_file(folder / name)
    change(tensors)
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, folder / name)


def configure(folder: Path, **entries: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    config = {key: value for key, value in {**config, **entries}.items() if value is not ...}
    (folder / "config.json").write_text(json.dumps(config))


def opened(folder: Path, **options: Any) -> Model:
    return open_model(str(folder), device="cpu", **options)


def logits(model: Model) -> Tensor:
    return model.capture(model.tokenize("a banana is")).logits


# Tensors that the model does not take


def add(name: str, *shape: int) -> Callable[[Tensors], Any]:
    return lambda tensors: tensors.update({name: torch.randn(*shape)})


@pytest.mark.parametrize(
    ("family", "name", "shape"),
    [
        ("llama", "model.layers.0.self_attn.q_proj.bias", (16,)),
        ("llama", "model.layers.1.self_attn.q_norm.weight", (4,)),
        ("llama", "model.layers.2.mlp.up_proj.weight", (32, 16)),
        ("llama", "lm_head.bias", (24,)),
        ("llama", "v_head.summary.weight", (1, 16)),
        ("llama", "model.layers.0.self_attn.rotary_emb.inv_freq", (2,)),  # of other angles
        ("gpt2", "transformer.h.0.attn.bias", (48,)),  # hidden by transformers' own list
        ("gpt2", "transformer.h.0.attn.bias", (1, 1, 8, 8)),  # a mask that is not causal
        ("gpt2", "transformer.h.0.crossattention.bias", (1, 1, 8, 8)),
        ("gpt2", "wte.weight", (24, 16)),  # the same under the base model's name
        ("gpt_neox", "gpt_neox.layers.0.attention.bias", (16,)),
        ("gpt_neox", "lm_head.weight", (24, 16)),  # files have it as embed_out
        ("qwen3", "model.layers.0.mlp.gate_proj.weight_scale_inv", (1, 1)),
    ],
)
def test_a_tensor_that_the_model_does_not_take_is_refused(
    tmp_path: Path, family: str, name: str, shape: tuple[int, ...]
) -> None:
    rewrite(saved(tmp_path, family), add(name, *shape))
    with pytest.raises(ModelError, match=r"the weights of .* hold") as caught:
        opened(tmp_path)
    assert name.split(".")[-1] in str(caught.value) or "more tensors" in str(caught.value)


def test_buffers_that_say_what_the_model_computes_anyway_are_harmless(tmp_path: Path) -> None:
    causal = torch.ones(8, 8).tril()[None, None]

    def gpt2(tensors: Tensors) -> None:
        for name in list(tensors):  # GPT-2 is published under the base model's names
            tensors[name.removeprefix("transformer.")] = tensors.pop(name)
        tensors |= {"h.0.attn.bias": causal, "h.0.attn.masked_bias": torch.tensor(-1e4)}

    def neox(tensors: Tensors) -> None:
        place = "gpt_neox.layers.0.attention"
        tensors[f"{place}.bias"] = causal.bool()
        tensors[f"{place}.masked_bias"] = torch.tensor(-1e9)
        tensors[f"{place}.rotary_emb.inv_freq"] = torch.tensor([1.0])

    def llama(tensors: Tensors) -> None:
        angles = 10000.0 ** (-torch.arange(0, 4, 2) / 4)
        tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = angles.half()
        tensors["mtp.layers.0.mlp.up_proj.weight"] = torch.ones(4, 4)
        tensors["model.vision_tower.embeddings.position_ids"] = torch.arange(3)

    for family, change in (("gpt2", gpt2), ("gpt_neox", neox), ("llama", llama)):
        folder = saved(tmp_path / family, family)
        before = logits(opened(folder))
        rewrite(folder, change)
        assert torch.equal(logits(opened(folder)), before)


def test_a_head_that_differs_from_its_tied_embedding_is_used(tmp_path: Path) -> None:
    folder = saved(tmp_path, "qwen2")
    head = torch.randn(24, 16)
    rewrite(folder, lambda tensors: tensors.update({"lm_head.weight": head}))
    assert torch.equal(opened(folder).unembedding, head)


# Which files


def sharded(folder: Path) -> Path:
    saved(folder)
    tensors = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    names = sorted(tensors)
    where = {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file)
        where |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": where}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps(index))
    return folder


def test_shards_are_the_files_of_the_index(tmp_path: Path) -> None:
    whole, parts = opened(saved(tmp_path / "whole")), opened(sharded(tmp_path / "parts"))
    assert torch.equal(logits(whole), logits(parts))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (WEIGHTS, "two versions"),
        ("model-00003-of-00003.safetensors", "not among the weights"),
        ("value_head.safetensors", "not among the weights"),
    ],
)
def test_other_weight_files_are_refused(tmp_path: Path, name: str, says: str) -> None:
    folder = sharded(tmp_path)
    save_file({"x": torch.zeros(1)}, folder / name)
    with pytest.raises(ModelError, match=says):
        opened(folder)


def test_a_tensor_in_two_shards_and_a_missing_shard_are_refused(tmp_path: Path) -> None:
    folder = sharded(tmp_path)
    second = folder / "model-00002-of-00002.safetensors"
    rewrite(folder, add("lm_head.weight", 24, 16), second.name)
    with pytest.raises(ModelError, match=r"both hold lm_head.weight"):
        opened(folder)
    second.unlink()
    with pytest.raises(ModelError, match="which is missing"):
        opened(folder)


def test_other_forms_of_the_weights_are_left_alone_and_out_of_the_identity(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    before = opened(folder).identity.sha256
    save_file({"tok_embeddings.weight": torch.zeros(1)}, folder / "consolidated.safetensors")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    (folder / "modeling_llama.py").write_text("raise SystemExit\n")
    assert opened(folder).identity.sha256 == before


# Quantised weights

BLOCK = (12, 10)  # divides neither side


def quantise(folder: Path, *, by_matrix: bool = False) -> Tensors:
    """Store all projections in float8 in Qwen3-FP8's layout; the weights that means."""
    meant: Tensors = {}

    def change(tensors: Tensors) -> None:
        for name, weight in list(tensors.items()):
            if "_proj.weight" not in name:
                continue
            rows, columns = weight.shape if by_matrix else BLOCK
            scale = torch.zeros(-(-weight.shape[0] // rows), -(-weight.shape[1] // columns))
            small, meant[name] = torch.zeros_like(weight), torch.zeros_like(weight)
            for i in range(scale.shape[0]):
                for j in range(scale.shape[1]):
                    part = slice(i * rows, (i + 1) * rows), slice(j * columns, (j + 1) * columns)
                    scale[i, j] = weight[part].abs().max() / 448
                    small[part] = weight[part] / scale[i, j]
                    rounded = small[part].to(torch.float8_e4m3fn).float()
                    meant[name][part] = rounded * scale[i, j]
            tensors[name] = small.to(torch.float8_e4m3fn)
            tensors[f"{name}_scale_inv"] = scale.reshape(()) if by_matrix else scale

    rewrite(folder, change)
    configure(
        folder,
        quantization_config={
            "quant_method": "fp8",
            "fmt": "e4m3",
            "activation_scheme": "dynamic",
            "weight_block_size": None if by_matrix else list(BLOCK),
            "modules_to_not_convert": ["lm_head"],
        },
    )
    return meant


@pytest.mark.parametrize("by_matrix", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_float8_weights_are_multiplied_out(tmp_path: Path, dtype: str, by_matrix: bool) -> None:
    folder = saved(tmp_path, "qwen3")
    meant = quantise(folder, by_matrix=by_matrix)
    model = opened(folder, dtype=dtype)
    stored = model.module.state_dict()
    for name, weight in meant.items():
        assert torch.allclose(stored[name].float(), weight, rtol=1e-6, atol=0)
    assert {p.dtype for p in model.module.parameters()} == {getattr(torch, dtype)}
    assert model.weights_dtype == "float8_e4m3fn"
    assert "multiplied out" in model.notes[0]
    assert logits(model).isfinite().all()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"quant_method": "gptq", "bits": 4}, "quantised with gptq"),
        ({"quant_method": "awq"}, "quantised with awq"),
        ({"quant_method": "mxfp4"}, "quantised with mxfp4"),
        ({"quant_method": "compressed-tensors"}, "quantised with compressed-tensors"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "quantised with bitsandbytes"),
        ({"quant_method": "fp8", "rotation": "hadamard"}, "rotation that is not known"),
        ({"quant_method": "fp8"}, "no weight there is stored so"),
    ],
)
def test_other_quantisations_are_refused_by_name(
    tmp_path: Path, settings: dict[str, Any], says: str
) -> None:
    configure(saved(tmp_path), quantization_config=settings)
    with pytest.raises(ModelError, match=says):
        opened(tmp_path)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.float8_e4m3fn, torch.int32])
def test_packed_weights_without_a_config_are_refused(tmp_path: Path, dtype: torch.dtype) -> None:
    name = "model.layers.0.mlp.up_proj.weight"
    rewrite(saved(tmp_path), lambda tensors: tensors.update({name: tensors[name].to(dtype)}))
    with pytest.raises(ModelError, match=rf"{name} is stored in"):
        opened(tmp_path)


def test_float8_without_its_scale_is_refused(tmp_path: Path) -> None:
    quantise(saved(tmp_path, "qwen3"))
    scale = "model.layers.0.mlp.up_proj.weight_scale_inv"
    rewrite(tmp_path, lambda tensors: tensors.pop(scale))
    with pytest.raises(ModelError, match="without its scale"):
        opened(tmp_path)
    rewrite(tmp_path, lambda tensors: tensors.update({scale: torch.ones(2, 2)}))
    with pytest.raises(ModelError, match=r"shape \[2, 2\]"):
        opened(tmp_path)


# Adapters


def adapt(folder: Path, tensors: Tensors, **settings: Any) -> None:
    """An adapter beside a model, as peft writes it."""
    named = {f"base_model.model.{name}": tensor for name, tensor in tensors.items()}
    save_file(named, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "org/base",
        "r": 2,
        "lora_alpha": 6,
        "lora_dropout": 0.1,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "loftq_config": {},
        "use_dora": False,
        "modules_to_save": None,
        "target_modules": ["q_proj", "down_proj"],
    }
    (folder / "adapter_config.json").write_text(json.dumps({**config, **settings}))


def factors(name: str, out: int, inputs: int, rank: int = 2) -> Tensors:
    generator = torch.Generator().manual_seed(len(name))
    return {
        f"{name}.lora_A.weight": torch.randn(rank, inputs, generator=generator),
        f"{name}.lora_B.weight": torch.randn(out, rank, generator=generator),
    }


QUERY, DOWN = "model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"


@pytest.mark.parametrize(
    ("settings", "query_scale", "down_scale"),
    [
        ({}, 6 / 2, 6 / 3),
        ({"use_rslora": True}, 6 / 2**0.5, 6 / 3**0.5),
        ({"alpha_pattern": {"q_proj": 5}}, 5 / 2, 6 / 3),
    ],
)
def test_a_lora_adapter_is_merged_exactly(
    tmp_path: Path, settings: dict[str, Any], query_scale: float, down_scale: float
) -> None:
    folder = saved(tmp_path)
    bare = opened(folder)
    before = {name: tensor.clone() for name, tensor in bare.module.state_dict().items()}
    lora = factors(QUERY, 16, 16) | factors(DOWN, 16, 32, rank=3)
    head = torch.randn(24, 16)
    adapt(
        folder,
        {**lora, "lm_head.weight": head},
        rank_pattern={"down_proj": 3},
        modules_to_save=["lm_head"],
        **settings,
    )
    model = opened(folder)
    after = model.module.state_dict()
    for name, scale in ((QUERY, query_scale), (DOWN, down_scale)):
        A, B = lora[f"{name}.lora_A.weight"].double(), lora[f"{name}.lora_B.weight"].double()
        merged = before.pop(f"{name}.weight").double() + scale * B @ A
        assert torch.equal(after[f"{name}.weight"], merged.float())
    assert torch.equal(model.unembedding, head)
    before.pop("lm_head.weight")
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert "merged into 3" in model.notes[0]
    assert model.identity.sha256 != bare.identity.sha256


def test_an_adapter_of_gpt2_is_merged_the_way_round_its_layers_are_stored(tmp_path: Path) -> None:
    folder = saved(tmp_path, "gpt2")
    name = "transformer.h.0.attn.c_attn"
    before = opened(folder).module.state_dict()[f"{name}.weight"].clone()
    lora = factors(name, 48, 16)
    adapt(folder, lora, fan_in_fan_out=True)
    change = 3 * (lora[f"{name}.lora_B.weight"] @ lora[f"{name}.lora_A.weight"]).T
    after = opened(folder).module.state_dict()[f"{name}.weight"]
    assert torch.allclose(after, before + change, atol=1e-5)


LORA = factors(QUERY, 16, 16)


@pytest.mark.parametrize(
    ("tensors", "settings", "says"),
    [
        (LORA, {"peft_type": "IA3"}, "type IA3"),
        (LORA, {"use_dora": True}, "use_dora"),
        (LORA, {"lora_bias": True}, "lora_bias"),
        (LORA, {"init_lora_weights": "pissa"}, "started with pissa"),
        (LORA, {"something_new": 3}, "something_new"),
        (LORA, {"r": 4}, "do not fit a rank of 4"),
        ({f"{QUERY}.lora_A.weight": torch.ones(2, 16)}, {}, "one of two factors"),
        ({**LORA, f"{QUERY}.lora_magnitude_vector": torch.ones(16)}, {}, "lora_magnitude"),
        ({**LORA, "lm_head.weight": torch.ones(24, 16)}, {}, "lm_head.weight"),
        (factors("model.layers.9.mlp.up_proj", 32, 16), {}, "for another model"),
        (factors(QUERY, 16, 12), {}, "do not fit"),
        (factors("model.layers.0.input_layernorm", 16, 1), {}, "no linear layer"),
    ],
)
def test_what_is_no_plain_adapter_of_this_model_is_refused(
    tmp_path: Path, tensors: Tensors, settings: dict[str, Any], says: str
) -> None:
    adapt(saved(tmp_path), tensors, **settings)
    with pytest.raises(ModelError, match=says):
        opened(tmp_path)


def test_an_adapter_of_tied_weights_is_refused(tmp_path: Path) -> None:
    adapt(saved(tmp_path, "qwen2"), factors("lm_head", 24, 16))
    with pytest.raises(ModelError, match="two layers share"):
        opened(tmp_path)


def test_half_an_adapter_and_an_adapter_alone_are_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    adapt(folder, LORA)
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"no adapter_model\.safetensors"):
        opened(folder)
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match="holds an adapter of org/base and no model"):
        opened(folder)


# Keys of config.json


@pytest.mark.parametrize(
    ("family", "entries"),
    [
        ("llama", {"final_logit_softcapping": 30.0}),
        ("llama", {"attention_multiplier": 0.5}),
        ("llama", {"residual_multiplier": 0.22}),
        ("llama", {"logits_scaling": 8}),
        ("llama", {"sliding_window": 4}),
        ("llama", {"is_causal": False}),
        ("llama", {"rope_interleaved": True}),
        ("llama", {"clip_qkv": 8.0}),
        ("llama", {"layer_types": ["full_attention", "sliding_attention"]}),
        ("llama", {"rope_parameters": ..., "rope_scaling": {"type": "ntk-parts", "factor": 2.0}}),
        ("llama", {"rope_parameters": ..., "rope_scaling": {"factor": 2.0}}),
        ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "twist": 3}}),
        ("llama", {"auto_map": {"AutoModelForCausalLM": "modeling_own.OwnForCausalLM"}}),
        ("llama", {"model_type": "mistral"}),
        ("llama", {"transformers_weights": "other.safetensors"}),
        ("mistral", {"use_sliding_window": False}),
        ("gpt2", {"n_ctx": 32}),
        ("gpt2", {"rope_theta": 10000.0}),
        ("gemma2", {"hidden_act": "relu"}),
    ],
)
def test_config_keys_that_would_change_the_model_are_refused(
    tmp_path: Path, family: str, entries: dict[str, Any]
) -> None:
    configure(saved(tmp_path, family), **entries)
    with pytest.raises(ModelError, match=r"config\.json of .* (says|asks|names)"):
        opened(tmp_path)


PUBLISHED: dict[str, dict[str, Any]] = {
    "llama": {
        "_name_or_path": "x",
        "torch_dtype": "bfloat16",
        "rope_parameters": ...,
        "rope_theta": 100.0,
        "rope_scaling": {
            "factor": 8.0,
            "high_freq_factor": 4.0,
            "low_freq_factor": 1.0,
            "original_max_position_embeddings": 32,
            "rope_type": "llama3",
        },
        "transformers.js_config": {"kv_cache_dtype": {}},
        "is_llama_config": True,
        "rope_interleaved": False,
        "unsloth_version": "2024.9",
        "sliding_window": None,
    },
    "mistral": {"head_dim": 4, "rope_parameters": ..., "rope_theta": 1e4, "sliding_window": None},
    "qwen2": {"use_mrope": False, "seq_length": 64, "use_sliding_window": False},
    "qwen3": {"max_window_layers": 2, "rope_scaling": None, "attention_bias": False},
    "gemma2": {
        "hidden_act": "gelu_pytorch_tanh",
        "sliding_window_size": 4,
        "cache_implementation": "hybrid",
    },
    "gemma3": {"cache_implementation": "hybrid", "attn_logit_softcapping": None},
    "gpt2": {
        "n_ctx": 64,
        "summary_type": "cls_index",
        "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
        "gradient_checkpointing": False,
    },
    "gpt_neox": {"rope_parameters": ..., "rotary_pct": 0.5, "rotary_emb_base": 100},
    "olmo2": {"clip_qkv": None, "rope_scaling": None, "auto_map": {"AutoConfig": "c.C"}},
}
"""What config.json of published models of each family says beyond what is saved today."""


@pytest.mark.parametrize("family", PUBLISHED)
def test_published_configs_open_without_a_note(tmp_path: Path, family: str) -> None:
    published = PUBLISHED[family]
    own = {"max_position_embeddings": 64} if family != "gpt2" else {"n_positions": 64}
    configure(saved(tmp_path, family, **own), **published)
    assert opened(tmp_path).notes == ()


def test_keys_of_no_known_effect_are_named(tmp_path: Path) -> None:
    configure(saved(tmp_path), flavour="ripe", banana=2)
    assert opened(tmp_path).notes == (
        "config.json says flavour, banana, which this architecture does not use",
    )


def test_models_that_are_opened_are_what_was_saved(tmp_path: Path) -> None:
    model = tiny_model("gemma3", n_layers=2, device=HOST)
    model.module.save_pretrained(tmp_path)
    tiny_tokenizer(24).save_pretrained(tmp_path)
    assert torch.equal(logits(opened(tmp_path)), logits(model))


# Files that are damaged

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 9\n"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (
            "model-00002-of-00003.safetensors",
            b"",
            "model-00002-of-00003.safetensors cannot be read",
        ),
        ("model-00002-of-00003.safetensors", POINTER, "pointer of Git LFS"),
        ("tokenizer.json", POINTER, "tokenizer.json of model cannot be read"),
        ("tokenizer.json", b"{", "check its files, or get them"),
        ("config.json", b"{", "config.json cannot be read as JSON"),
        ("config.json", b"{}", "check its files, or get them"),
    ],
)
def test_a_damaged_file_is_named_with_what_to_do(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    folder = tmp_path / "model"
    module = tiny_module("llama", n_layers=2, device=HOST)
    module.save_pretrained(folder, max_shard_size="9KB")
    tiny_tokenizer(24).save_pretrained(folder)
    assert (folder / name).is_file()
    (folder / name).write_bytes(content)
    with pytest.raises(ModelError, match=f"{says}.*(again|git lfs pull)"):
        opened(folder)


def test_sizes_that_config_and_weights_do_not_share_are_named(tmp_path: Path) -> None:
    configure(saved(tmp_path), vocab_size=32)
    with pytest.raises(ModelError, match=r"lm_head.weight and 1 more are of another shape"):
        opened(tmp_path)


def test_a_model_whose_tokens_see_later_ones_is_refused(tmp_path: Path) -> None:
    configure(saved(tmp_path, "gemma3"), use_bidirectional_attention=True)
    with pytest.raises(ModelError, match="tokens see later ones"):
        opened(tmp_path)
