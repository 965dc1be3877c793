"""One small class per architecture: where things are, and what is linear once frozen.

The sweep, the capture and the interventions never name a module of a particular model; they ask
its wiring. A new family is one subclass of `Wiring` and one line in `WIRINGS`.

Shapes: T tokens, d model width, H query heads, K key-value heads, h head width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from circuit_tracer.errors import ModelError

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
class Paths:
    """Module paths of one architecture, relative to the model; `layer` holds a `{}`."""

    embedding: str
    layer: str
    attention_norm: str
    attention: str
    mlp_norm: str
    mlp: str
    final_norm: str
    head: str


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
    )

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        config: Any = module.config
        self.n_layers: int = config.num_hidden_layers
        self.d_model: int = config.hidden_size
        self.n_heads: int = config.num_attention_heads
        self.n_kv_heads: int = config.num_key_value_heads or config.num_attention_heads
        self.d_head: int = (
            getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        )
        self.n_vocabulary: int = config.vocab_size
        self.max_length: int = config.max_position_embeddings
        self.epsilon: float = config.rms_norm_eps

    def submodule(self, layer: int, name: str = "") -> Any:
        """A part of one decoder layer, e.g. `submodule(3, paths.mlp)`."""
        path = self.paths.layer.format(layer)
        return self.module.get_submodule(f"{path}.{name}" if name else path)

    def make_exact(self) -> None:
        """In float64, replace norms that compute in float32 by torch's own, which do not.

        Hugging Face norms round to float32 inside; the frozen model is then only linear to 1e-7.
        """
        for parent in list(self.module.modules()):
            for name, child in list(parent.named_children()):
                if not type(child).__name__.endswith("RMSNorm") or isinstance(child, nn.RMSNorm):
                    continue
                weight = child.get_parameter("weight")
                exact = nn.RMSNorm(len(weight), eps=self.epsilon, dtype=weight.dtype)
                exact.weight = weight
                setattr(parent, name, exact)

    def norm_scale(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        """What a norm multiplies its input by (before its weight): 1 / rms."""
        wide = x if x.dtype == torch.float64 else x.float()
        return (wide.pow(2).mean(-1) + self.epsilon).rsqrt().to(x.dtype)

    def attention_norm_weight(self, layer: int) -> Float[Tensor, "d"]:
        """Weight of the norm in front of attention."""
        return self._weight(layer, self.paths.attention_norm)

    def mlp_norm_weight(self, layer: int) -> Float[Tensor, "d"]:
        """Weight of the norm in front of the MLP."""
        return self._weight(layer, self.paths.mlp_norm)

    def final_norm_weight(self) -> Float[Tensor, "d"]:
        """Weight of the norm in front of the unembedding."""
        norm: Any = self.module.get_submodule(self.paths.final_norm)
        weight: Tensor = norm.weight
        return weight.detach()

    def read_gain(
        self, reads: ReadPoint, layer: int, resid_mid: Float[Tensor, "*batch d"]
    ) -> Float[Tensor, "*batch d"]:
        """Frozen gain from the residual stream before the MLP norm to the reading point."""
        if reads == "hook_resid_mid":
            return torch.ones_like(resid_mid)
        gain = self.norm_scale(resid_mid)[..., None].expand_as(resid_mid)
        return gain if reads == "ln2.hook_normalized" else gain * self.mlp_norm_weight(layer)

    def read(
        self,
        reads: ReadPoint,
        layer: int,
        resid_mid: Float[Tensor, "*batch d"],
        mlp_in: Float[Tensor, "*batch d"],
    ) -> Float[Tensor, "*batch d"]:
        """What a dictionary sees; the model's own tensor where there is one."""
        if reads == "mlp.hook_in":
            return mlp_in
        return resid_mid * self.read_gain(reads, layer, resid_mid)

    def unembedding(self) -> Float[Tensor, "V d"]:
        """Rows are the output directions of the vocabulary (tied or not)."""
        head: Any = self.module.get_output_embeddings()  # type: ignore[operator]
        weight: Tensor = head.weight
        return weight.detach()

    def attention_weights(self, layer: int) -> AttentionWeights:
        """Value and output projections, split by head."""
        attention = self.submodule(layer, self.paths.attention)
        value, output = attention.v_proj, attention.o_proj
        K, H, h = self.n_kv_heads, self.n_heads, self.d_head
        return AttentionWeights(
            W_V=value.weight.detach().view(K, h, self.d_model),
            W_O=output.weight.detach().view(self.d_model, H, h).transpose(0, 1),
            b_V=None if value.bias is None else value.bias.detach().view(K, h),
            b_O=None if output.bias is None else output.bias.detach(),
        )

    def _weight(self, layer: int, name: str) -> Tensor:
        weight: Tensor = self.submodule(layer, name).weight
        return weight.detach()


WIRINGS: dict[str, type[Wiring]] = {"LlamaForCausalLM": Wiring}
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
