"""One small class per architecture. A new one is a subclass of `Wiring` and a line in `WIRINGS`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from circuit_tracer.errors import ModelError
from circuit_tracer.models.parts import MlpWeights, Paths, Projected
from circuit_tracer.models.wiring import Rows, Wiring


class Mistral(Wiring):
    """Llama with a sliding window, which the frozen pattern contains."""

    def window(self, layer: int) -> int | None:
        """One for all layers, in the config alone."""
        config: Any = self.module.config
        found: int | None = config.sliding_window
        return found


class Gemma2(Wiring):
    """Norms stored as weight - 1, before and after attention and MLP; soft-caps.

    The embedding module scales by sqrt(d) itself. The soft-cap of attention scores is inside the
    frozen pattern; that of the logits comes after what is explained.
    """

    weight_offset = 1.0
    paths = replace(
        Wiring.paths,
        attention_post_norm="post_attention_layernorm",
        mlp_norm="pre_feedforward_layernorm",
        mlp_post_norm="post_feedforward_layernorm",
    )

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        outer: Any = module.config
        self.score_softcap = outer.get_text_config().attn_logit_softcapping


class Gemma3(Gemma2):
    """Gemma 2 with norms on queries and keys, local and global rotary positions, no soft-cap."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self.score_softcap = None  # its config has one, which the model does not apply

    def _rotary_arguments(self, layer: int) -> tuple[str, ...]:
        """Local and global layers turn by other angles."""
        return (str(self.submodule(layer, self.paths.attention).layer_type),)


class Gemma3WithVision(Gemma3):
    """The language half of the larger Gemma 3 checkpoints."""

    paths = replace(
        Gemma3.paths,
        embedding="model.language_model.embed_tokens",
        layer="model.language_model.layers.{}",
        final_norm="model.language_model.norm",
        rotary="model.language_model.rotary_emb",
    )


class Olmo2(Wiring):
    """Norms only after attention and MLP; norms on whole query and key projections."""

    paths = replace(
        Wiring.paths,
        attention_norm=None,
        attention_post_norm="post_attention_layernorm",
        mlp_norm=None,
        mlp_post_norm="post_feedforward_layernorm",
    )


class GPT2(Wiring):
    """LayerNorm, one fused projection, plain MLP, learned positions.

    Position embeddings are no node; they arrive in the constant.
    """

    centred = True
    attention_output = "c_proj"
    paths = Paths(
        embedding="transformer.wte",
        layer="transformer.h.{}",
        attention_norm="ln_1",
        attention="attn",
        mlp_norm="ln_2",
        mlp="mlp",
        final_norm="transformer.ln_f",
        head="lm_head",
    )

    def projection(self, attention: Any, which: Projected) -> tuple[Any, Rows]:
        """`c_attn` has the queries' rows first, then the keys', then the values'."""
        start = ("q", "k", "v").index(which) * self.d_model
        return attention.c_attn, slice(start, start + self.d_model)

    def _scaling(self, layer: int) -> float:
        """As the config has it."""
        config: Any = self.module.config
        scaling = self.d_head**-0.5 if config.scale_attn_weights else 1.0
        return scaling / (layer + 1) if config.scale_attn_by_inverse_layer_idx else scaling

    def mlp_weights(self, layer: int) -> MlpWeights:
        """Without a gate."""
        mlp = self.submodule(layer, self.paths.mlp)
        return self._neurons(mlp.c_fc, None, mlp.c_proj, mlp.act)


class GPTNeoX(Wiring):
    """LayerNorm, queries, keys and values of a head side by side, plain MLP, mostly parallel."""

    centred = True
    attention_output = "dense"
    paths = replace(
        Wiring.paths,
        embedding="gpt_neox.embed_in",
        layer="gpt_neox.layers.{}",
        attention="attention",
        final_norm="gpt_neox.final_layer_norm",
        rotary="gpt_neox.rotary_emb",
    )

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        config: Any = module.config
        self.parallel = bool(config.use_parallel_residual)
        if hasattr(module, "embed_out"):  # its name before transformers 5
            self.paths = replace(self.paths, head="embed_out")

    def projection(self, attention: Any, which: Projected) -> tuple[Any, Rows]:
        """Each head's rows are its query's, its key's and its value's."""
        fused, third = attention.query_key_value, ("q", "k", "v").index(which)
        shape = (self.n_heads, 3, self.d_head)
        rows = torch.arange(3 * self.n_heads * self.d_head, device=fused.weight.device)
        return fused, rows.view(shape)[:, third].flatten()

    def mlp_weights(self, layer: int) -> MlpWeights:
        """Without a gate."""
        mlp = self.submodule(layer, self.paths.mlp)
        return self._neurons(mlp.dense_h_to_4h, None, mlp.dense_4h_to_h, mlp.act)


WIRINGS: dict[str, type[Wiring]] = {
    "LlamaForCausalLM": Wiring,
    "MistralForCausalLM": Mistral,
    "Qwen2ForCausalLM": Wiring,  # biases on queries, keys and values are read where there are any
    "Qwen3ForCausalLM": Wiring,  # so are norms on queries and keys
    "Gemma2ForCausalLM": Gemma2,
    "Gemma3ForCausalLM": Gemma3,
    "Gemma3ForConditionalGeneration": Gemma3WithVision,
    "GPT2LMHeadModel": GPT2,
    "GPTNeoXForCausalLM": GPTNeoX,
    "Olmo2ForCausalLM": Olmo2,
}
"""Hugging Face architecture class -> its wiring."""


def wiring_class(architecture: str) -> type[Wiring]:
    """The wiring for a Hugging Face architecture name; ModelError lists what is supported."""
    if architecture not in WIRINGS:
        supported = ", ".join(sorted(WIRINGS))
        raise ModelError(
            f"models of architecture {architecture} are not supported yet (supported: "
            f"{supported}); add a Wiring subclass in circuit_tracer/models/families.py"
        )
    return WIRINGS[architecture]
