"""One small class per architecture. A new one is a subclass of `Wiring` and a line in `WIRINGS`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from circuit_tracer.errors import ModelError
from circuit_tracer.models.parts import (
    AttentionWeights,
    MlpWeights,
    Paths,
    QueryKeyWeights,
)
from circuit_tracer.models.wiring import Wiring


class Mistral(Wiring):
    """Llama with a sliding window, which the frozen pattern holds."""

    family = "mistral"

    def window(self, layer: int) -> int | None:
        """One for all layers, in the config alone."""
        config: Any = self.module.config
        found: int | None = config.sliding_window
        return found


class Qwen2(Wiring):
    """Llama with biases on queries, keys and values."""

    family = "qwen2"


class Qwen3(Wiring):
    """Llama with norms on queries and keys, which the frozen pattern holds."""

    family = "qwen3"


class Gemma2(Wiring):
    """Norms stored as weight - 1, in front of and behind attention and MLP; soft-caps.

    The embedding module scales by sqrt(d) itself. The soft-cap of attention scores is inside the
    frozen pattern; that of the logits comes after what is explained.
    """

    family = "gemma2"
    weight_offset = 1.0
    paths = Paths(
        embedding="model.embed_tokens",
        layer="model.layers.{}",
        attention_norm="input_layernorm",
        attention="self_attn",
        attention_post_norm="post_attention_layernorm",
        mlp_norm="pre_feedforward_layernorm",
        mlp="mlp",
        mlp_post_norm="post_feedforward_layernorm",
        final_norm="model.norm",
        head="lm_head",
        rotary="model.rotary_emb",
    )

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        outer: Any = module.config
        self.score_softcap = outer.get_text_config().attn_logit_softcapping


class Gemma3(Gemma2):
    """Gemma 2 with norms on queries and keys, local and global rotary positions, no soft-cap."""

    family = "gemma3"

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
    )


class Olmo2(Wiring):
    """Norms only behind attention and MLP; norms on whole query and key projections."""

    family = "olmo2"
    paths = Paths(
        embedding="model.embed_tokens",
        layer="model.layers.{}",
        attention_norm=None,
        attention="self_attn",
        attention_post_norm="post_attention_layernorm",
        mlp_norm=None,
        mlp="mlp",
        mlp_post_norm="post_feedforward_layernorm",
        final_norm="model.norm",
        head="lm_head",
        rotary="model.rotary_emb",
    )


class GPT2(Wiring):
    """LayerNorm, one fused projection stored (in, out), plain MLP, learned positions.

    Position embeddings are no node; they arrive in the constant.
    """

    family = "gpt2"
    centred = True
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

    def attention_weights(self, layer: int) -> AttentionWeights:
        """The last third of `c_attn` holds the values."""
        attention = self.submodule(layer, self.paths.attention)
        value = attention.c_attn.weight[:, 2 * self.d_model :]
        bias = attention.c_attn.bias[2 * self.d_model :]
        return self._by_head(value.T, bias, attention.c_proj.weight.T, attention.c_proj.bias)

    def query_key_weights(self, layer: int) -> QueryKeyWeights:
        """The first two thirds of `c_attn`; the scaling as the config has it."""
        attention, d = self.submodule(layer, self.paths.attention), self.d_model
        fused, bias = self._held(attention.c_attn.weight), self._held(attention.c_attn.bias)
        config: Any = self.module.config
        scaling = self.d_head**-0.5 if config.scale_attn_weights else 1.0
        if config.scale_attn_by_inverse_layer_idx:
            scaling /= layer + 1
        return self._queries_and_keys(
            fused[:, :d].T, fused[:, d : 2 * d].T, bias[:d], bias[d : 2 * d], scaling=scaling
        )

    def mlp_weights(self, layer: int) -> MlpWeights:
        """Stored (in, out), without a gate."""
        mlp = self.submodule(layer, self.paths.mlp)
        return MlpWeights(
            gate=self._held(mlp.c_fc.weight).T,
            gate_bias=self._held_if_any(mlp.c_fc.bias),
            up=None,
            up_bias=None,
            down=self._held(mlp.c_proj.weight).T,
            down_bias=self._held_if_any(mlp.c_proj.bias),
            act=mlp.act,
        )


class GPTNeoX(Wiring):
    """LayerNorm, queries, keys and values of a head side by side, plain MLP, mostly parallel."""

    family = "gpt_neox"
    centred = True
    paths = Paths(
        embedding="gpt_neox.embed_in",
        layer="gpt_neox.layers.{}",
        attention_norm="input_layernorm",
        attention="attention",
        mlp_norm="post_attention_layernorm",
        mlp="mlp",
        final_norm="gpt_neox.final_layer_norm",
        head="lm_head",
        rotary="gpt_neox.rotary_emb",
    )

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        config: Any = module.config
        self.parallel = bool(config.use_parallel_residual)
        if hasattr(module, "embed_out"):  # its name before transformers 5
            self.paths = replace(self.paths, head="embed_out")

    def attention_weights(self, layer: int) -> AttentionWeights:
        """The last third of each head's rows."""
        output = self.submodule(layer, self.paths.attention).dense
        value, bias = self._third(layer, 2)
        return self._by_head(value, bias, output.weight, output.bias)

    def query_key_weights(self, layer: int) -> QueryKeyWeights:
        """The first two thirds of each head's rows."""
        (query, query_bias), (key, key_bias) = self._third(layer, 0), self._third(layer, 1)
        scaling = float(self.submodule(layer, self.paths.attention).scaling)
        return self._queries_and_keys(query, key, query_bias, key_bias, scaling=scaling)

    def _third(
        self, layer: int, which: int
    ) -> tuple[Float[Tensor, "Hh d"], Float[Tensor, "Hh"] | None]:
        """Each head's rows are its query's, its key's and its value's."""
        fused = self.submodule(layer, self.paths.attention).query_key_value
        shape = (self.n_heads, 3, self.d_head)
        rows = self._held(fused.weight).view(*shape, self.d_model)[:, which].flatten(0, 1)
        if fused.bias is None:
            return rows, None
        return rows, self._held(fused.bias).view(shape)[:, which].flatten()

    def mlp_weights(self, layer: int) -> MlpWeights:
        """Without a gate."""
        mlp = self.submodule(layer, self.paths.mlp)
        return MlpWeights(
            gate=self._held(mlp.dense_h_to_4h.weight),
            gate_bias=self._held_if_any(mlp.dense_h_to_4h.bias),
            up=None,
            up_bias=None,
            down=self._held(mlp.dense_4h_to_h.weight),
            down_bias=self._held_if_any(mlp.dense_4h_to_h.bias),
            act=mlp.act,
        )


WIRINGS: dict[str, type[Wiring]] = {
    "LlamaForCausalLM": Wiring,
    "MistralForCausalLM": Mistral,
    "Qwen2ForCausalLM": Qwen2,
    "Qwen3ForCausalLM": Qwen3,
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
