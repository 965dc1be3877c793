"""Tiny random models of every family, and dictionaries: built in memory, seeded.

They lie on the device of the test run (tests/device.py) unless another is given.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    Olmo2Config,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from circuit_tracer.graphs.graph import Identity
from circuit_tracer.models import Model
from circuit_tracer.transcoders.dictionary import Activation, Dictionary, Kind, LayerTranscoder
from tests.device import DEVICE

WORDS = ("[BOS]", "[UNK]", *"a the banana lemon sky is are yellow blue red yes no true".split())


def tiny_tokenizer(n_words: int = len(WORDS)) -> PreTrainedTokenizerFast:
    """Word-level, BOS in front; `w13`, `w14`, ... fill the vocabulary up to `n_words`."""
    words = [*WORDS, *(f"w{i}" for i in range(len(WORDS), n_words))]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[BOS] $A", special_tokens=[("[BOS]", 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="[BOS]", unk_token="[UNK]", pad_token="[BOS]"
    )


def plain_tokenizer(n_words: int = len(WORDS)) -> PreTrainedTokenizerFast:
    """The same vocabulary with nothing to put in front: `[BOS]` is a word like others."""
    tokenizer = tiny_tokenizer(n_words)
    tokenizer.bos_token = tokenizer.pad_token = None
    bare = processors.TemplateProcessing(single="$A", special_tokens=[])
    tokenizer.backend_tokenizer.post_processor = bare
    return tokenizer


FAMILIES = (
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma2",
    "gemma3",
    "gpt2",
    "gpt_neox",
    "gpt_neox_serial",
    "olmo2",
)
"""Every supported architecture, and the serial variant of GPT-NeoX."""
SOME_FAMILIES = ("llama", "gemma3", "gpt_neox")
"""One with each way of norms and of blocks."""


def each_family_with(
    names: str, closest: tuple[Any, ...], *others: tuple[Any, ...]
) -> pytest.MarkDecorator:
    """Every family with the values that show most, and some families with the others, too."""
    every = [(family, *closest) for family in FAMILIES]
    some = [(family, *other) for other in others for family in SOME_FAMILIES]
    return pytest.mark.parametrize(f"family, {names}", [*every, *some])


WINDOW = 4
"""Sliding windows of the tiny models, shorter than the tests' prompts."""


def tiny_config(
    family: str, *, n_layers: int, d_model: int, n_heads: int, n_kv_heads: int, **overrides: Any
) -> PreTrainedConfig:
    """A config in which everything the family has is there and not at its neutral value."""
    every = {"max_position_embeddings": 64, "tie_word_embeddings": False}
    every |= {"bos_token_id": 0, "eos_token_id": None, "pad_token_id": None}
    size = {
        "hidden_size": d_model,
        "intermediate_size": 2 * d_model,
        "num_hidden_layers": n_layers,
        "num_attention_heads": n_heads,
    }
    gemma = {
        "head_dim": 2 * d_model // n_heads,
        "query_pre_attn_scalar": 10,
        "sliding_window": WINDOW,
        "layer_types": (["sliding_attention", "full_attention"] * n_layers)[:n_layers],
        "tie_word_embeddings": True,
    }
    rope = {"rope_type": "default", "rope_theta": 100.0}
    config, own = {
        "llama": (LlamaConfig, {}),
        "mistral": (MistralConfig, {"sliding_window": WINDOW}),
        "qwen2": (Qwen2Config, {"tie_word_embeddings": True}),
        "qwen3": (Qwen3Config, {"tie_word_embeddings": True, "head_dim": 2 * d_model // n_heads}),
        "gemma2": (
            Gemma2Config,
            {**gemma, "attn_logit_softcapping": 1.5, "final_logit_softcapping": 2.0},
        ),
        "gemma3": (
            Gemma3TextConfig,
            {
                **gemma,
                "rope_parameters": {
                    "sliding_attention": rope,
                    "full_attention": {**rope, "rope_theta": 10000.0},
                },
            },
        ),
        "gpt2": (GPT2Config, {"n_inner": 2 * d_model, "tie_word_embeddings": True}),
        "gpt_neox": (GPTNeoXConfig, {"rope_parameters": {**rope, "partial_rotary_factor": 0.5}}),
        "gpt_neox_serial": (
            GPTNeoXConfig,
            {
                "rope_parameters": {**rope, "partial_rotary_factor": 0.5},
                "use_parallel_residual": False,
            },
        ),
        "olmo2": (Olmo2Config, {}),
    }[family]
    if family == "gpt2":
        del size["intermediate_size"]
    elif not family.startswith("gpt_neox"):
        size["num_key_value_heads"] = n_kv_heads
    return config(**{**every, **size, **own, **overrides})


def tiny_module(
    family: str,
    *,
    n_layers: int = 3,
    d_model: int = 16,
    n_heads: int = 4,
    n_kv_heads: int = 2,
    n_words: int = 24,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    device: torch.device = DEVICE,
    **overrides: Any,
) -> Any:
    """The bare Hugging Face module, every parameter random: norms and biases are felt."""
    torch.manual_seed(seed)
    config = tiny_config(
        family,
        n_layers=n_layers,
        d_model=d_model,
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        vocab_size=n_words,
        **overrides,
    )
    module = AutoModelForCausalLM.from_config(config)
    around = 0.0 if family.startswith("gemma") else 1.0  # Gemma's norms multiply by 1 + weight
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            random = torch.randn_like(parameter)
            if name.endswith("bias"):
                parameter.copy_(0.3 * random)
            elif "norm" in name or ".ln_" in name:
                parameter.copy_(around + 0.3 * random)
            else:
                n_inputs = parameter.shape[0 if ".c_" in name else -1]  # Conv1D is (in, out)
                parameter.copy_(random * n_inputs**-0.5)
    module = module.to(device=device, dtype=dtype)
    module.tie_weights()  # a new device may have given either its own copy
    return module


def tiny_model(family: str, *, n_words: int = 24, **options: Any) -> Model:
    """A random model of any supported family, with a word tokenizer."""
    return Model.from_module(
        tiny_module(family, n_words=n_words, **options), tiny_tokenizer(n_words)
    )


def tiny_llama(**options: Any) -> Model:
    """A random Llama with grouped queries and a word tokenizer."""
    return tiny_model("llama", **options)


def random_dictionary(
    model: Model,
    *,
    kind: Kind = "plt",
    n_features: int = 12,
    k: int = 4,
    activation: Activation = "topk",
    skip: bool = False,
    reads: Any = "mlp.hook_in",
    writes: Any = "mlp.hook_out",
    seed: int = 1,
) -> Dictionary:
    """Random weights with features that fire on about a third of the tokens."""
    generator = torch.Generator().manual_seed(seed)
    L, d, F = model.n_layers, model.d_model, n_features

    def random(*shape: int, scale: float = 1.0) -> torch.Tensor:
        values = torch.randn(*shape, generator=generator, dtype=torch.float64) * scale
        return values.to(model.torch_dtype).to(model.device)

    layers = []
    for layer in range(L):
        written = L - layer if kind == "clt" else 1
        layers.append(
            LayerTranscoder(
                layer=layer,
                W_enc=random(F, d, scale=d**-0.5),
                b_enc=random(F, scale=0.1),
                W_dec=random(F, written, d, scale=0.3),
                b_dec=random(d, scale=0.1),
                activation=activation,
                threshold=random(F, scale=0.1).abs() if activation == "jumprelu" else None,
                k=k if activation == "topk" else None,
                W_skip=random(d, d, scale=0.2) if skip else None,
            )
        )
    identity = Identity(name=f"random-{kind}", source="memory", sha256="", kind=kind)
    return Dictionary(
        kind=kind, layers=tuple(layers), reads=reads, writes=writes, identity=identity
    )


def residual_dictionary(model: Model, *layers: int, **options: Any) -> Dictionary:
    """A random sparse autoencoder of the streams after some layers; options as above."""
    one = random_dictionary(model, reads="hook_resid_post", writes="hook_resid_post", **options)
    kept = [
        part if part.layer in layers else LayerTranscoder.without_features(part.layer, part)
        for part in one.layers
    ]
    return replace(one, kind="sae", layers=tuple(kept), identity=replace(one.identity, kind="sae"))
