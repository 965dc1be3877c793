"""Where things are in a model, and what is linear once frozen: the base of every family.

The sweep, the capture and the interventions never name a module of a particular model; they ask
its wiring. `families.py` has one small class per architecture; `check.py` tells whether one is
right.

Shapes: T tokens, d model width, H query heads, K key-value heads, h head width, V vocabulary.
"""

from __future__ import annotations

from threading import RLock
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from circuit_tracer.models.norms import Norm, exact_norm
from circuit_tracer.models.parallel import whole
from circuit_tracer.models.parts import (
    AttentionWeights,
    MlpReadPoint,
    MlpWeights,
    NormPlace,
    Paths,
    Projected,
    QueryKeyWeights,
    Rotary,
)
from circuit_tracer.models.rope import rotary_lengths

Rows = slice | Int[Tensor, "n"]
"""Outputs of a linear module."""


class Wiring:
    """The Llama family, and the base of every other.

    Pre-norm blocks with RMSNorm, separate projections, grouped-query attention, rotary positions.
    """

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
    attention_output = "o_proj"
    """Attention's output projection."""
    centred = False
    """Whether norms subtract the mean first (LayerNorm)."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.passing = RLock()
        """Taken while a pass is read or edited: what nnsight hangs on modules is one thread's."""
        self._modules: dict[str, Any] = {}
        outer: Any = module.config
        config: Any = outer.get_text_config()
        self.family: str = outer.model_type.removesuffix("_text")
        """Hugging Face's model type, the same for the text half of a model that reads images."""
        self.n_layers: int = config.num_hidden_layers
        self.d_model: int = config.hidden_size
        self.n_heads: int = config.num_attention_heads
        self.n_kv_heads: int = getattr(config, "num_key_value_heads", None) or self.n_heads
        self.d_head: int = getattr(config, "head_dim", None) or self.d_model // self.n_heads
        self.n_vocabulary: int = config.vocab_size
        self.steady_length, self.max_length, self._rotations_grow = rotary_lengths(config)
        """As `RotaryLengths` says."""
        self.parallel = False
        """Whether attention and MLP read the same stream, the layer's input."""
        self.logit_softcap: float | None = getattr(config, "final_logit_softcapping", None)
        """Logits are capped to +-this by tanh; attribution explains them before that."""
        self.score_softcap: float | None = None
        """Attention scores are capped to +-this by tanh; QK attribution explains them before."""

    # Norms

    def norm(self, place: NormPlace, layer: int) -> Norm | None:
        """A norm of a decoder layer; None where the architecture has none."""
        name = getattr(self.paths, place)
        return None if name is None else self._as_norm(self.submodule(layer, name))

    def final_norm(self) -> Norm:
        """The norm before the unembedding."""
        return self._as_norm(self._module(self.paths.final_norm))

    def _as_norm(self, module: Any) -> Norm:
        offset = 0.0 if isinstance(module, nn.RMSNorm) else self.weight_offset
        epsilon = next(
            getattr(module, name)
            for name in ("variance_epsilon", "eps", "epsilon")
            if hasattr(module, name)
        )
        return Norm(
            weight=self._weight(module.weight) + offset,
            bias=self._bias(module),
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
        self._modules.clear()

    # Places

    def submodule(self, layer: int, name: str = "") -> Any:
        """A part of one decoder layer, e.g. `submodule(3, paths.mlp)`."""
        path = self.paths.layer.format(layer)
        return self._module(f"{path}.{name}" if name else path)

    def _module(self, path: str) -> Any:
        """A part by its path, which is walked once: every prompt asks for dozens."""
        if path not in self._modules:
            self._modules[path] = self.module.get_submodule(path)
        return self._modules[path]

    def read(
        self,
        reads: MlpReadPoint,
        layer: int,
        resid_mid: Float[Tensor, "*batch d"],
        mlp_in: Float[Tensor, "*batch d"],
    ) -> Float[Tensor, "*batch d"]:
        """What a transcoder sees; the model's own tensor where there is one.

        Without a norm before the MLP (OLMo 2) the three reading points are one.
        """
        norm = self.norm("mlp_norm", layer)
        if reads == "mlp.hook_in" or norm is None:
            return mlp_in
        if reads == "hook_resid_mid":
            return resid_mid
        return norm.normalized(resid_mid)

    def mlp_added(self, layer: int, mlp_out: Float[Tensor, "T d"]) -> Float[Tensor, "T d"]:
        """What an MLP's output adds to the residual stream: itself, or what a norm makes of it."""
        norm = self.norm("mlp_post_norm", layer)
        return mlp_out if norm is None else norm.freeze(mlp_out).apply(mlp_out)

    def place(self, name: str) -> str | None:
        """Path of a module inside a layer by its name in `Paths`, or of attention's output
        projection ("attention_output"); None where the architecture has none."""
        if name == "attention_output":
            return f"{self.paths.attention}.{self.attention_output}"
        found: str | None = getattr(self.paths, name)
        return found

    # Weights

    def unembedding(self) -> Float[Tensor, "V d"]:
        """Rows are the output directions of the vocabulary (tied or not)."""
        return self._weight(self._module(self.paths.head).weight)

    def unembedding_bias(self) -> Float[Tensor, "V"] | None:
        """What is added to the logits whatever the prompt."""
        return self._bias(self._module(self.paths.head))

    def attention_weights(self, layer: int) -> AttentionWeights:
        """Value and output projections, split by head."""
        attention = self.submodule(layer, self.paths.attention)
        W_V, b_V = self._by_head(attention, "v", self.n_kv_heads)
        output = getattr(attention, self.attention_output)
        by_head = self._matrix(output).reshape(self.d_model, self.n_heads, self.d_head)
        return AttentionWeights(W_V, by_head.transpose(0, 1), b_V, self._bias(output))

    def query_key_weights(self, layer: int) -> QueryKeyWeights:
        """Query and key projections, split by head, with the norms on them if there are any."""
        attention = self.submodule(layer, self.paths.attention)
        W_Q, b_Q = self._by_head(attention, "q", self.n_heads)
        W_K, b_K = self._by_head(attention, "k", self.n_kv_heads)
        q_norm, k_norm = getattr(attention, "q_norm", None), getattr(attention, "k_norm", None)
        return QueryKeyWeights(
            W_Q=W_Q,
            W_K=W_K,
            b_Q=b_Q,
            b_K=b_K,
            q_norm=None if q_norm is None else self._as_norm(q_norm),
            k_norm=None if k_norm is None else self._as_norm(k_norm),
            scaling=float(attention.scaling),
            softcap=self.score_softcap,
        )

    def mlp_weights(self, layer: int) -> MlpWeights:
        """The MLP's neurons."""
        mlp = self.submodule(layer, self.paths.mlp)
        return self._neurons(mlp.gate_proj, mlp.up_proj, mlp.down_proj, mlp.act_fn)

    def _by_head(
        self, attention: Any, which: Projected, n_heads: int
    ) -> tuple[Float[Tensor, "H h d"], Float[Tensor, "H h"] | None]:
        weight, bias = self._projected(attention, which)
        by_head = weight.reshape(n_heads, self.d_head, self.d_model)
        return by_head, None if bias is None else bias.reshape(n_heads, self.d_head)

    def _projected(
        self, attention: Any, which: Projected
    ) -> tuple[Float[Tensor, "Hh d"], Float[Tensor, "Hh"] | None]:
        """Weight and bias of the queries, keys or values of all heads."""
        linear, rows = self.projection(attention, which)
        bias = self._bias(linear)
        return self._matrix(linear)[rows], None if bias is None else bias[rows]

    def projection(self, attention: Any, which: Projected) -> tuple[Any, Rows]:
        """The module that makes the queries, keys or values of all heads, and which of its outputs
        they are."""
        return getattr(attention, f"{which}_proj"), slice(None)

    def _neurons(self, gate: Any, up: Any, down: Any, act: Any) -> MlpWeights:
        return MlpWeights(
            gate=self._matrix(gate),
            gate_bias=self._bias(gate),
            up=None if up is None else self._matrix(up),
            up_bias=None if up is None else self._bias(up),
            down=self._matrix(down),
            down_bias=self._bias(down),
            act=act,
        )

    def _matrix(self, linear: Any) -> Float[Tensor, "out in"]:
        weight = self._weight(linear.weight)
        return weight.T if type(linear).__name__ == "Conv1D" else weight  # that stores (in, out)

    def _bias(self, module: Any) -> Tensor | None:
        bias = getattr(module, "bias", None)
        return None if bias is None else self._weight(bias)

    def _weight(self, tensor: Tensor) -> Tensor:
        """A weight as attribution reads it: whole, without gradient, where prompts go in."""
        return whole(tensor).to(self._module(self.paths.embedding).weight.device)

    # Positions and masks

    def rotary(self, layer: int, n_tokens: int) -> Rotary | None:
        """The rotations of all positions in a text of `n_tokens`; None where they are learned."""
        if self.paths.rotary is None:
            return None
        self.start_pass()
        return self._turning(layer, n_tokens)

    def start_pass(self) -> None:
        """Make the next pass one of its own: forget the lengths of earlier texts (rope.py)."""
        if self._rotations_grow:
            for layer in range(self.n_layers):
                self._turning(layer, 1)  # what transformers itself resets on

    def turns_by_length(self, n_tokens: int) -> bool:
        """Whether the first tokens of a text of this length are turned otherwise than alone."""
        return self.steady_length is not None and n_tokens > self.steady_length

    def _turning(self, layer: int, n_tokens: int) -> Rotary:
        assert self.paths.rotary is not None
        like = self._module(self.paths.embedding).weight
        positions = torch.arange(n_tokens, device=like.device)[None]
        module = self._module(self.paths.rotary)
        with torch.no_grad():
            cos, sin = module(like, positions, *self._rotary_arguments(layer))
        return Rotary(cos[0].to(like), sin[0].to(like))

    def window(self, layer: int) -> int | None:
        """How many tokens back a layer's heads see, the query's own counted; None for all."""
        found: int | None = getattr(
            self.submodule(layer, self.paths.attention), "sliding_window", None
        )
        return found

    def sees(
        self, layer: int, query: Int[Tensor, "..."], key: Int[Tensor, "..."]
    ) -> Bool[Tensor, "..."]:
        """Whether a layer's heads can look from one position at another."""
        window = self.window(layer)
        there = key <= query
        return there if window is None else there & (key > query - window)

    def _rotary_arguments(self, layer: int) -> tuple[str, ...]:
        """What else the rotary module is asked with."""
        return ()
