"""Tiny random models and dictionaries for wiring tests: built in memory, seeded."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from circuit_tracer.graphs.graph import Identity
from circuit_tracer.models import Model
from circuit_tracer.transcoders.dictionary import Activation, Dictionary, Kind, LayerTranscoder

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


def tiny_llama(
    *,
    n_layers: int = 3,
    d_model: int = 16,
    n_heads: int = 4,
    n_kv_heads: int = 2,
    n_words: int = 24,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    **overrides: Any,
) -> Model:
    """A random Llama with grouped queries, non-trivial norm weights and a word tokenizer."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=n_words,
        hidden_size=d_model,
        intermediate_size=2 * d_model,
        num_hidden_layers=n_layers,
        num_attention_heads=n_heads,
        num_key_value_heads=n_kv_heads,
        max_position_embeddings=64,
        tie_word_embeddings=False,
        **overrides,
    )
    module = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "norm" in name:
                parameter.copy_(1 + 0.3 * torch.randn_like(parameter))
            elif "bias" in name:
                parameter.copy_(0.3 * torch.randn_like(parameter))
            else:
                parameter.copy_(torch.randn_like(parameter) * parameter.shape[-1] ** -0.5)
    return Model.from_module(module.to(dtype), tiny_tokenizer(n_words))


def random_dictionary(
    model: Model,
    *,
    kind: Kind = "plt",
    n_features: int = 12,
    k: int = 4,
    activation: Activation = "topk",
    skip: bool = False,
    reads: Any = "mlp.hook_in",
    seed: int = 1,
) -> Dictionary:
    """Random weights with features that fire on about a third of the tokens."""
    generator = torch.Generator().manual_seed(seed)
    L, d, F = model.n_layers, model.d_model, n_features

    def random(*shape: int, scale: float = 1.0) -> torch.Tensor:
        values = torch.randn(*shape, generator=generator, dtype=torch.float64) * scale
        return values.to(model.torch_dtype)

    layers = []
    for layer in range(L):
        written = 1 if kind == "plt" else L - layer
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
    return Dictionary(kind=kind, layers=tuple(layers), reads=reads, identity=identity)
