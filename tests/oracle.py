"""The slow, obvious oracle: the Hugging Face model itself, frozen, run forwards, differentiated.

Norm denominators and attention patterns are held at a captured pass, MLP outputs become leaves.
It shares no code with the sweep: modules of the real model do the arithmetic, autograd the rest.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from circuit_tracer.attribution.replacement import LocalReplacementModel
from circuit_tracer.attribution.sweep import SweepTargets, source_columns
from circuit_tracer.models import Model
from circuit_tracer.models.capture import Capture


class _FrozenNorm(nn.Module):
    def __init__(self, weight: Tensor, x: Tensor, epsilon: float) -> None:
        super().__init__()
        self.weight = weight
        self.scale = (x.double().pow(2).mean(-1, keepdim=True) + epsilon).rsqrt().to(x.dtype)
        self.seen: Tensor = x

    def forward(self, x: Tensor) -> Tensor:
        self.seen = x[0]
        return self.weight * (x * self.scale)


class _FrozenAttention(nn.Module):
    def __init__(self, attention: Any, pattern: Tensor) -> None:
        super().__init__()
        self.attention, self.pattern = attention, pattern

    def forward(self, hidden_states: Tensor, **_: Any) -> tuple[Tensor, None]:
        own = self.attention
        batch, T = hidden_states.shape[:2]
        value = own.v_proj(hidden_states).view(batch, T, -1, own.head_dim).transpose(1, 2)
        value = value.repeat_interleave(own.num_key_value_groups, dim=1)
        mixed = (self.pattern @ value).transpose(1, 2).reshape(batch, T, -1)
        return own.o_proj(mixed), None


class _LeafMlp(nn.Module):
    """Writes a leaf, and the dictionary's skip where there is one."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.leaf = output.clone()
        self.seen = output
        self.skip: Any = None

    def forward(self, x: Tensor) -> Tensor:
        self.seen = x[0]
        written = self.leaf if self.skip is None else self.leaf + self.skip()
        return written[None]


class FrozenNetwork:
    """A model frozen around one prompt: run it forwards, or differentiate it."""

    def __init__(self, model: Model, capture: Capture, replacement: LocalReplacementModel) -> None:
        self.capture, self.replacement = capture, replacement
        self.columns = source_columns(replacement)
        self.module = copy.deepcopy(model.module)
        inner: Any = self.module.model
        epsilon = model.module.config.rms_norm_eps
        self.mid: list[_FrozenNorm] = []
        self.mlps: list[_LeafMlp] = []
        for i, layer in enumerate(inner.layers):
            layer.input_layernorm = _FrozenNorm(
                layer.input_layernorm.weight, capture.resid_pre[i], epsilon
            )
            layer.self_attn = _FrozenAttention(layer.self_attn, capture.patterns[i])
            layer.post_attention_layernorm = _FrozenNorm(
                layer.post_attention_layernorm.weight, capture.resid_mid[i], epsilon
            )
            layer.mlp = _LeafMlp(capture.mlp_out[i])
            self.mid.append(layer.post_attention_layernorm)
            self.mlps.append(layer.mlp)
            self._install_skip(i)
        inner.norm = _FrozenNorm(inner.norm.weight, capture.resid_final, epsilon)
        self.final: _FrozenNorm = inner.norm

    def _install_skip(self, layer: int) -> None:
        skip = self.replacement.dictionary.layers[layer].W_skip
        if skip is None:
            return
        mlp, start = self.mlps[layer], self.replacement.n_zeroed

        def carried() -> Tensor:
            out = self.read(layer) @ skip.T
            return torch.cat([torch.zeros_like(out[:start]), out[start:]])

        mlp.seen, self.mid[layer].seen = self.capture.mlp_in[layer], self.capture.resid_mid[layer]
        mlp.leaf = mlp.leaf - carried()
        mlp.skip = carried

    def read(self, layer: int) -> Tensor:
        """(T, d) what the dictionary reads at a layer in the last forward pass."""
        where = self.replacement.dictionary.reads
        if where == "mlp.hook_in":
            return self.mlps[layer].seen
        stream = self.mid[layer].seen
        return stream if where == "hook_resid_mid" else stream * self.mid[layer].scale

    def forward(self, added: dict[int, Tensor] | None = None) -> Tensor:
        """(T, V) logits, with `added[layer]` (T, d) on top of that layer's MLP output."""
        leaves = [mlp.leaf for mlp in self.mlps]
        for layer, extra in (added or {}).items():
            self.mlps[layer].leaf = leaves[layer] + extra
        logits: Tensor = self.module(self.capture.token_ids[None]).logits[0]
        for mlp, leaf in zip(self.mlps, leaves, strict=True):
            mlp.leaf = leaf
        return logits

    def pre_activations(self) -> Tensor:
        """(N,) of every active feature, in the last forward pass."""
        features, found = self.replacement.features, []
        for layer, transcoder in enumerate(self.replacement.dictionary.layers):
            here = (features.layer == layer).nonzero().squeeze(1)
            pre = self.read(layer) @ transcoder.W_enc.T + transcoder.b_enc
            found.append(pre[features.position[here], features.index[here]])
        return torch.cat(found)

    def rows(self, targets: SweepTargets, chosen: Tensor) -> Tensor:
        """Dense rows (B, columns) of the chosen targets by batched autograd.

        A target's vector acts on the stream in front of its MLP norm, or of the final norm.
        """
        embed = self.module.model.embed_tokens
        embedded: list[Tensor] = []

        def leaf(_: Any, __: Any, output: Tensor) -> Tensor:
            embedded.append(output.detach().requires_grad_(True))
            return embedded[0]

        handle = embed.register_forward_hook(leaf)
        leaves = [mlp.leaf.detach().requires_grad_(True) for mlp in self.mlps]
        for mlp, one in zip(self.mlps, leaves, strict=True):
            mlp.leaf = one
        with torch.enable_grad():
            self.module.model(self.capture.token_ids[None])
            streams = [norm.seen for norm in self.mid] + [self.final.seen]
            values = torch.stack(
                [
                    streams[int(targets.level[i])][int(targets.position[i])] @ targets.vector[i]
                    for i in chosen
                ]
            )
            gradients = torch.autograd.grad(
                values,
                [embedded[0], *leaves],
                torch.eye(len(chosen), dtype=values.dtype),
                is_grads_batched=True,
                allow_unused=True,
            )
        handle.remove()
        for mlp, one in zip(self.mlps, leaves, strict=True):
            mlp.leaf = one.detach()
        return self._products(gradients, len(chosen))

    def _products(self, gradients: tuple[Tensor | None, ...], n_rows: int) -> Tensor:
        """Gradients times what the sources write."""
        replacement, features = self.replacement, self.replacement.features
        T = replacement.n_tokens
        dense = torch.zeros(n_rows, self.columns.count, dtype=replacement.embeddings.dtype)
        embedding_gradient = gradients[0]
        assert embedding_gradient is not None
        dense[:, :T] = (embedding_gradient[:, 0] * self.capture.embeddings).sum(-1)
        for layer, at_layer in enumerate(gradients[1:]):
            if at_layer is None:  # above every target
                continue
            live = self.columns.error[layer] >= 0
            error = (at_layer * replacement.layers[layer].error).sum(-1)
            dense[:, self.columns.error[layer][live]] = error[:, live]
            lowest = layer if replacement.dictionary.kind == "plt" else 0
            for reading in range(lowest, layer + 1):
                here = (features.layer == reading).nonzero().squeeze(1)
                decoder = replacement.dictionary.layers[reading].W_dec[:, layer - reading]
                source = decoder[features.index[here]] * features.activation[here, None]
                edges = (at_layer[:, features.position[here]] * source).sum(-1)
                dense[:, self.columns.feature[here]] += edges
        return dense
