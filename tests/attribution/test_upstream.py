"""The rows that upstream's definition gives, for a dictionary in upstream's file layout.

Written out from the definition alone: a Llama whose patterns and norm denominators are detached,
MLP outputs that are leaves, gradients of what a feature reads or of a demeaned logit times what
each source writes; position 0 carries no feature and no error, though a skip carries on there, and
there is no constant node.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from circuit_tracer.attribution import TraceSettings, trace
from circuit_tracer.graphs.graph import Graph, NodeKind
from circuit_tracer.models import Model
from circuit_tracer.transcoders.opening import open_transcoders
from tests.tiny import tiny_llama

PROMPT = "the banana is yellow yes a lemon is blue"
F = 16
Key = tuple[str, int, int, int]


def write_upstream_set(folder: Path, model: Model) -> list[dict[str, Tensor]]:
    """A JumpReLU set as upstream stores it; its tensors by layer."""
    generator = torch.Generator().manual_seed(7)
    d, layers = model.d_model, []
    folder.mkdir()
    for layer in range(model.n_layers):
        tensors = {
            "W_enc": torch.randn(F, d, generator=generator) * d**-0.5,
            "W_dec": torch.randn(F, d, generator=generator) * 0.3,
            "b_enc": torch.randn(F, generator=generator) * 0.1,
            "b_dec": torch.randn(d, generator=generator) * 0.1,
            "activation_function.threshold": torch.rand(F, generator=generator) * 0.3,
            "W_skip": torch.randn(d, d, generator=generator) * 0.1,
        }
        save_file(tensors, folder / f"layer_{layer}.safetensors")
        layers.append(tensors)
    config = {
        "model_kind": "transcoder_set",
        "model_name": "tiny",
        "feature_input_hook": "mlp.hook_in",
        "feature_output_hook": "mlp.hook_out",
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return layers


class Upstream:
    """One prompt through the detached model; every source is a leaf in `sources`."""

    def __init__(self, module: Any, ids: list[int], layers: list[dict[str, Tensor]]) -> None:
        self.weights = dict(module.state_dict())
        self.epsilon: float = module.config.rms_norm_eps
        self.n_groups = module.config.num_attention_heads // module.config.num_key_value_heads
        out = module(torch.tensor([ids]), output_attentions=True)
        self.patterns = [pattern[0] for pattern in out.attentions]
        x = self.weights["model.embed_tokens.weight"][ids]
        self.written: dict[Key, tuple[int, int, Tensor]] = {
            ("embedding", -1, p, ids[p]): (-1, p, x[p]) for p in range(len(ids))
        }
        self.embedded = x.clone().requires_grad_(True)
        self.leaves: list[Tensor] = []
        self.pre: dict[Key, Tensor] = {}
        stream = self.embedded
        for layer, tensors in enumerate(layers):
            stream = stream + self._attention(layer, stream)
            read = self._norm(f"model.layers.{layer}.post_attention_layernorm.weight", stream)
            stream = stream + self._mlp(layer, read, tensors)
        self.final = self._norm("model.norm.weight", stream)
        unembedding = self.weights["lm_head.weight"]
        self.logits = self.final @ (unembedding - unembedding.mean(0)).T

    def _norm(self, name: str, x: Tensor) -> Tensor:
        scale = (x.pow(2).mean(-1, keepdim=True) + self.epsilon).rsqrt().detach()
        return x * scale * self.weights[name]

    def _attention(self, layer: int, stream: Tensor) -> Tensor:
        place = f"model.layers.{layer}"
        x = self._norm(f"{place}.input_layernorm.weight", stream)
        value = x @ self.weights[f"{place}.self_attn.v_proj.weight"].T
        pattern = self.patterns[layer].detach()
        heads = value.view(len(x), -1, value.shape[1] * self.n_groups // len(pattern))
        heads = heads.repeat_interleave(self.n_groups, dim=1).transpose(0, 1)
        mixed = (pattern @ heads).transpose(0, 1).reshape(len(x), -1)
        return mixed @ self.weights[f"{place}.self_attn.o_proj.weight"].T

    def _mlp(self, layer: int, read: Tensor, tensors: dict[str, Tensor]) -> Tensor:
        """The model's own output as a leaf, with the skip's gradient through it."""
        place = f"model.layers.{layer}.mlp"
        gate = torch.nn.functional.silu(read @ self.weights[f"{place}.gate_proj.weight"].T)
        up = read @ self.weights[f"{place}.up_proj.weight"].T
        output = ((gate * up) @ self.weights[f"{place}.down_proj.weight"].T).detach()
        pre = read @ tensors["W_enc"].T + tensors["b_enc"]
        threshold = tensors["activation_function.threshold"]
        acts = torch.where(pre > threshold, pre, 0).detach()
        acts[0] = 0
        skip = read @ tensors["W_skip"].T
        error = output - acts @ tensors["W_dec"] - tensors["b_dec"] - skip.detach()
        for p, f in acts.nonzero().tolist():
            self.pre["feature", layer, p, f] = pre[p, f]
            self.written["feature", layer, p, f] = (layer, p, acts[p, f] * tensors["W_dec"][f])
        for p in range(1, len(read)):
            self.written["error", layer, p, -1] = (layer, p, error[p])
        leaf = (output - skip.detach()).requires_grad_(True)
        self.leaves.append(leaf)
        return leaf + skip

    def row(self, value: Tensor) -> dict[Key, float]:
        """All edges into one value."""
        gradients = torch.autograd.grad(
            value, [self.embedded, *self.leaves], retain_graph=True, allow_unused=True
        )
        found = {}
        for key, (layer, p, vector) in self.written.items():
            gradient = gradients[layer + 1]
            found[key] = 0.0 if gradient is None else float(gradient[p] @ vector)
        return found


def keys(graph: Graph) -> list[Key]:
    nodes = graph.nodes
    columns = (nodes.kind, nodes.layer, nodes.position, nodes.feature)
    return [
        (NodeKind(kind).word, layer, position, feature)
        for kind, layer, position, feature in zip(*(c.tolist() for c in columns), strict=True)
    ]


def test_rows_are_those_of_upstreams_definition(tmp_path: Path) -> None:
    model = tiny_llama()
    tensors = write_upstream_set(tmp_path / "set", model)
    dictionary = open_transcoders(tmp_path / "set", model)
    graph = trace(model, dictionary, PROMPT, TraceSettings(zeroed_positions=1)).graph
    on_host = tiny_llama(device=torch.device("cpu"))
    upstream = Upstream(on_host.module, model.tokenize(PROMPT), tensors)
    names = keys(graph)
    assert {key for key in names if key[0] == "feature"} == upstream.pre.keys()
    ours: dict[int, dict[Key, float]] = {}
    for source, target, weight in zip(
        graph.edges.source.tolist(),
        graph.edges.target.tolist(),
        graph.edges.weight.tolist(),
        strict=True,
    ):
        ours.setdefault(target, {})[names[source]] = weight
    at = len(graph.info.tokens) - 1
    largest, worst = 0.0, 0.0
    for target, row in ours.items():
        kind, *_, index = names[target]
        is_logit = kind == "logit"
        value = upstream.logits[at, index] if is_logit else upstream.pre[names[target]]
        theirs = upstream.row(value)
        assert row.keys() <= theirs.keys()
        for key, weight in theirs.items():
            largest = max(largest, abs(weight))
            worst = max(worst, abs(weight - row.get(key, 0.0)))
    assert len(ours) > 100
    assert largest > 0.1
    assert worst <= 1e-5 * max(largest, 1.0)
