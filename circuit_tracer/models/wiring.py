"""One small class per architecture: where things are, and what is linear once frozen.

The sweep, the capture and the interventions never name a module of a particular model; they ask
its wiring. A new family is one subclass of `Wiring` and one line in `WIRINGS`; `models/check.py`
tells whether it is right.

Shapes: T tokens, d model width, H query heads, K key-value heads, h head width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from circuit_tracer.errors import ModelError
from circuit_tracer.models.norms import Norm, exact_norm
from circuit_tracer.models.parallel import whole

ReadPoint = Literal["mlp.hook_in", "ln2.hook_normalized", "hook_resid_mid"]
"""Where a dictionary reads: the MLP's input (normalised, with the norm's weight), the same without
the norm's weight, or the residual stream before the norm (TransformerLens names, formats.md)."""

WritePoint = Literal["mlp.hook_out", "hook_mlp_out"]
"""Where a dictionary writes: the MLP module's output, or what is added to the residual stream. They
differ in models with a norm behind the MLP (Gemma 2 and 3, OLMo 2)."""


@dataclass(frozen=True)
class AttentionWeights:
    """The value and output maps of one layer; queries and keys are frozen into the pattern."""

    W_V: Float[Tensor, "K h d"]
    W_O: Float[Tensor, "H d h"]
    b_V: Float[Tensor, "K h"] | None
    b_O: Float[Tensor, "d"] | None


@dataclass(frozen=True)
class QueryKeyWeights:
    """The query and key maps of one layer, and what turns their products into scores."""

    W_Q: Float[Tensor, "H h d"]
    W_K: Float[Tensor, "K h d"]
    b_Q: Float[Tensor, "H h"] | None
    b_K: Float[Tensor, "K h"] | None
    q_norm: Norm | None
    """On queries, in front of the rotation: over each head's h numbers or over all H * h of them,
    as wide as its weight is."""
    k_norm: Norm | None
    scaling: float
    """What the product of query and key is multiplied by."""
    softcap: float | None
    """Scores are capped to +-this by tanh in front of the softmax."""


@dataclass(frozen=True)
class Rotary:
    """Rotary positions of one layer: the first r numbers of a query or key are turned."""

    cos: Float[Tensor, "T r"]
    sin: Float[Tensor, "T r"]


@dataclass(frozen=True)
class MlpWeights:
    """One MLP as neurons: down @ (act(gate x) * (up x)), or down @ act(gate x) without an `up`."""

    gate: Float[Tensor, "F d"]
    gate_bias: Float[Tensor, "F"] | None
    up: Float[Tensor, "F d"] | None
    up_bias: Float[Tensor, "F"] | None
    down: Float[Tensor, "d F"]
    down_bias: Float[Tensor, "d"] | None
    act: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Paths:
    """Module paths of one architecture, relative to the model; `layer` holds a `{}`.

    Norms are None where the architecture has none.
    """

    embedding: str
    layer: str
    attention_norm: str | None
    attention: str
    mlp_norm: str | None
    mlp: str
    final_norm: str
    head: str
    attention_post_norm: str | None = None
    """Applied to attention's output before it is added to the residual stream."""
    mlp_post_norm: str | None = None
    rotary: str | None = None
    """What turns queries and keys by their positions."""


class Wiring:
    """The Llama family, and the base of every other.

    Pre-norm blocks with RMSNorm, separate projections, grouped-query attention, rotary positions.
    """

    family = "llama"
    paths = Paths(
        embedding="model.embed_tokens",
        layer="model.layers.{}",
        attention_norm="input_layernorm",
        attention="self_attn",
        mlp_norm="post_attention_layernorm",
        mlp="mlp",
        final_norm="model.norm",
        head="lm_head",
        rotary="model.rotary_emb",
    )
    weight_offset = 0.0
    """What is added to a stored norm weight (Gemma stores weight - 1)."""
    centred = False
    """Whether norms subtract the mean first (LayerNorm)."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        outer: Any = module.config
        config: Any = outer.get_text_config()
        self.n_layers: int = config.num_hidden_layers
        self.d_model: int = config.hidden_size
        self.n_heads: int = config.num_attention_heads
        self.n_kv_heads: int = getattr(config, "num_key_value_heads", None) or self.n_heads
        self.d_head: int = getattr(config, "head_dim", None) or self.d_model // self.n_heads
        self.n_vocabulary: int = config.vocab_size
        self.max_length: int = config.max_position_embeddings
        self.parallel = False
        """Whether attention and MLP read the same stream, the layer's input."""
        self.logit_softcap: float | None = getattr(config, "final_logit_softcapping", None)
        """Logits are capped to +-this by tanh; attribution explains them before that."""
        self.score_softcap: float | None = None
        """Attention scores are capped to +-this by tanh; QK attribution explains them before."""

    # Norms

    def attention_norm(self, layer: int) -> Norm | None:
        """The norm in front of attention."""
        return self._norm(layer, self.paths.attention_norm)

    def attention_post_norm(self, layer: int) -> Norm | None:
        """The norm behind attention, in front of the residual stream."""
        return self._norm(layer, self.paths.attention_post_norm)

    def mlp_norm(self, layer: int) -> Norm | None:
        """The norm in front of the MLP."""
        return self._norm(layer, self.paths.mlp_norm)

    def mlp_post_norm(self, layer: int) -> Norm | None:
        """The norm behind the MLP, in front of the residual stream."""
        return self._norm(layer, self.paths.mlp_post_norm)

    def final_norm(self) -> Norm:
        """The norm in front of the unembedding."""
        return self._as_norm(self.module.get_submodule(self.paths.final_norm))

    def _norm(self, layer: int, name: str | None) -> Norm | None:
        return None if name is None else self._as_norm(self.submodule(layer, name))

    def _as_norm(self, module: Any) -> Norm:
        offset = 0.0 if isinstance(module, nn.RMSNorm) else self.weight_offset
        epsilon = next(
            getattr(module, name)
            for name in ("variance_epsilon", "eps", "epsilon")
            if hasattr(module, name)
        )
        bias = getattr(module, "bias", None)
        return Norm(
            weight=self._held(module.weight) + offset,
            bias=self._held_if_any(bias),
            epsilon=float(epsilon),
            centred=self.centred,
        )

    def make_exact(self) -> None:
        """In float64, replace norms that compute in float32 by torch's own, which do not.

        Hugging Face norms round to float32 inside; the frozen model is then only linear to 1e-7.
        """
        for parent in list(self.module.modules()):
            for name, child in list(parent.named_children()):
                if type(child).__name__.endswith("RMSNorm") and not isinstance(child, nn.RMSNorm):
                    setattr(parent, name, exact_norm(self._as_norm(child)))

    # Places

    def submodule(self, layer: int, name: str = "") -> Any:
        """A part of one decoder layer, e.g. `submodule(3, paths.mlp)`."""
        path = self.paths.layer.format(layer)
        return self.module.get_submodule(f"{path}.{name}" if name else path)

    def read(
        self,
        reads: ReadPoint,
        layer: int,
        resid_mid: Float[Tensor, "*batch d"],
        mlp_in: Float[Tensor, "*batch d"],
    ) -> Float[Tensor, "*batch d"]:
        """What a dictionary sees; the model's own tensor where there is one.

        Without a norm in front of the MLP (OLMo 2) the three reading points are one.
        """
        norm = self.mlp_norm(layer)
        if reads == "mlp.hook_in" or norm is None:
            return mlp_in
        if reads == "hook_resid_mid":
            return resid_mid
        return norm.normalized(resid_mid)

    def read_path(self, reads: ReadPoint, layer: int) -> str:
        """Where a dictionary reads as a Hugging Face module path."""
        place, norm = self.paths.layer.format(layer), self.paths.mlp_norm
        if norm is None:
            return f"{place}.{self.paths.mlp}.input"
        if reads == "hook_resid_mid":
            return f"{place}.{norm}.input"
        without = " without its weight" if reads == "ln2.hook_normalized" else ""
        return f"{place}.{norm}.output{without}"

    def write_path(self, writes: WritePoint, layer: int) -> str:
        """Where a dictionary writes as a Hugging Face module path."""
        behind = self.paths.mlp_post_norm
        last = behind if behind is not None and writes == "hook_mlp_out" else self.paths.mlp
        return f"{self.paths.layer.format(layer)}.{last}.output"

    # Weights

    def unembedding(self) -> Float[Tensor, "V d"]:
        """Rows are the output directions of the vocabulary (tied or not)."""
        return self._held(self._head().weight)

    def unembedding_bias(self) -> Float[Tensor, "V"] | None:
        """What is added to the logits whatever the prompt."""
        return self._held_if_any(getattr(self._head(), "bias", None))

    def attention_weights(self, layer: int) -> AttentionWeights:
        """Value and output projections, split by head."""
        attention = self.submodule(layer, self.paths.attention)
        value, output = attention.v_proj, attention.o_proj
        return self._by_head(value.weight, value.bias, output.weight, output.bias)

    def query_key_weights(self, layer: int) -> QueryKeyWeights:
        """Query and key projections, split by head, with the norms on them if there are any."""
        attention = self.submodule(layer, self.paths.attention)
        query, key = attention.q_proj, attention.k_proj
        q_norm, k_norm = getattr(attention, "q_norm", None), getattr(attention, "k_norm", None)
        return self._queries_and_keys(
            self._held(query.weight),
            self._held(key.weight),
            self._held_if_any(query.bias),
            self._held_if_any(key.bias),
            scaling=float(attention.scaling),
            q_norm=None if q_norm is None else self._as_norm(q_norm),
            k_norm=None if k_norm is None else self._as_norm(k_norm),
        )

    def rotary(self, layer: int, n_tokens: int) -> Rotary | None:
        """The rotations of positions 0 to `n_tokens` - 1; None where positions are learned."""
        if self.paths.rotary is None:
            return None
        embedding: Any = self.module.get_submodule(self.paths.embedding)
        like = embedding.weight
        positions = torch.arange(n_tokens, device=like.device)[None]
        module: Any = self.module.get_submodule(self.paths.rotary)
        with torch.no_grad():
            cos, sin = module(like, positions, *self._rotary_arguments(layer))
        return Rotary(cos[0].to(like), sin[0].to(like))

    def _rotary_arguments(self, layer: int) -> tuple[str, ...]:
        """What else the rotary module is asked with."""
        return ()

    def mlp_weights(self, layer: int) -> MlpWeights:
        """The MLP's neurons."""
        mlp = self.submodule(layer, self.paths.mlp)
        return MlpWeights(
            gate=self._held(mlp.gate_proj.weight),
            gate_bias=self._held_if_any(mlp.gate_proj.bias),
            up=self._held(mlp.up_proj.weight),
            up_bias=self._held_if_any(mlp.up_proj.bias),
            down=self._held(mlp.down_proj.weight),
            down_bias=self._held_if_any(mlp.down_proj.bias),
            act=mlp.act_fn,
        )

    def _held(self, tensor: Tensor) -> Tensor:
        """A weight as attribution reads it: whole, without gradient, where prompts go in."""
        embedding: Any = self.module.get_submodule(self.paths.embedding)
        return whole(tensor).to(embedding.weight.device)

    def _held_if_any(self, tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else self._held(tensor)

    def _head(self) -> Any:
        return self.module.get_submodule(self.paths.head)

    def _by_head(
        self,
        value: Float[Tensor, "Kh d"],
        value_bias: Float[Tensor, "Kh"] | None,
        output: Float[Tensor, "d Hh"],
        output_bias: Float[Tensor, "d"] | None,
    ) -> AttentionWeights:
        K, H, h, d = self.n_kv_heads, self.n_heads, self.d_head, self.d_model
        return AttentionWeights(
            W_V=self._held(value).reshape(K, h, d),
            W_O=self._held(output).reshape(d, H, h).transpose(0, 1),
            b_V=None if value_bias is None else self._held(value_bias).reshape(K, h),
            b_O=self._held_if_any(output_bias),
        )

    def _queries_and_keys(
        self,
        query: Float[Tensor, "Hh d"],
        key: Float[Tensor, "Kh d"],
        query_bias: Float[Tensor, "Hh"] | None,
        key_bias: Float[Tensor, "Kh"] | None,
        *,
        scaling: float,
        q_norm: Norm | None = None,
        k_norm: Norm | None = None,
    ) -> QueryKeyWeights:
        K, H, h, d = self.n_kv_heads, self.n_heads, self.d_head, self.d_model
        return QueryKeyWeights(
            W_Q=query.reshape(H, h, d),
            W_K=key.reshape(K, h, d),
            b_Q=None if query_bias is None else query_bias.reshape(H, h),
            b_K=None if key_bias is None else key_bias.reshape(K, h),
            q_norm=q_norm,
            k_norm=k_norm,
            scaling=scaling,
            softcap=self.score_softcap,
        )


class Mistral(Wiring):
    """Llama with a sliding window, which the frozen pattern holds."""

    family = "mistral"


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
            f"{supported}); add a Wiring subclass in circuit_tracer/models/wiring.py"
        )
    return WIRINGS[architecture]
