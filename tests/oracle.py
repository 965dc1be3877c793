"""The slow, obvious oracle: the Hugging Face model itself, frozen, run forwards, differentiated.

It takes a copy of the real module and one prompt, and finds out for itself what is what:

1. norms are replaced by ones that can hold their denominator (and are exact in float64);
2. one pass records attention weights and what goes into and comes out of MLPs and norms; which norm
   stands before an MLP and which after it is read off the tensors that pass between them;
3. attention is swapped for one that mixes the module's own values with the recorded weights, norms
   keep their denominators, MLP outputs (or those of the norms after them) become leaves;
4. autograd does the rest.

It shares no code with the sweep, the wiring or the capture. Node numbers are its own as well. It
computes on the host, whatever device the model is on, unless it is given one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from circuit_tracer.transcoders.dictionary import Dictionary
from tests.device import HOST


class Vectors(Protocol):
    """Targets as vectors at the residual stream (`SweepTargets` is one)."""

    @property
    def level(self) -> Tensor: ...
    @property
    def position(self) -> Tensor: ...
    @property
    def vector(self) -> Tensor: ...


class _Norm(nn.Module):
    """RMSNorm or LayerNorm, exact in its dtype; frozen, it keeps the last pass's denominator."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.centred = isinstance(norm, nn.LayerNorm)
        self.weight = norm.weight.detach()
        self.bias = norm.bias.detach() if self.centred else torch.zeros_like(self.weight)
        self.epsilon: float = (
            norm.variance_epsilon if hasattr(norm, "variance_epsilon") else norm.eps
        )
        # Does it multiply by its weight or by 1 + weight? Its answer to a constant vector tells.
        if not self.centred:
            ones = torch.ones_like(self.weight)
            answer = norm(ones)
            plain, gemma = (
                (answer - self.weight).abs().max(),
                (answer - 1 - self.weight).abs().max(),
            )
            assert min(plain, gemma) < 1e-4 < max(plain, gemma)
            self.weight = self.weight if plain < gemma else ones + self.weight
        self.frozen = False
        self.scale = self.seen = self.normalised = self.out = self.weight

    def forward(self, x: Tensor) -> Tensor:
        self.seen = x
        centred = x - x.mean(-1, keepdim=True) if self.centred else x
        if not self.frozen:
            mean_square = centred.double().pow(2).mean(-1, keepdim=True)
            self.scale = (mean_square + self.epsilon).rsqrt().to(x.dtype)
        self.normalised = centred * self.scale
        self.out = self.normalised * self.weight + self.bias
        return self.out


def _frozen_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any
) -> tuple[Tensor, None]:
    """In place of softmax(query key) value: the recorded weights times the module's own values.

    Queries and keys are kept as they come: norms and rotation applied, each head its own.
    """
    pattern: Any = module.recorded_pattern
    holder: Any = module
    holder.query, holder.key = query, key.repeat_interleave(pattern.shape[1] // key.shape[1], dim=1)
    value = value.repeat_interleave(pattern.shape[1] // value.shape[1], dim=1)
    return (pattern @ value).transpose(1, 2).contiguous(), None


AttentionInterface.register("recorded", _frozen_attention)


class _Leaf(nn.Module):
    """Writes a leaf whatever it reads, and the dictionary's skip where there is one."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.leaf = output
        self.skip: Callable[[], Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        written = self.leaf if self.skip is None else self.leaf + self.skip()
        return written[None]


class _Tap(nn.Module):
    """Where an MLP stood: keeps what it would have read and goes on with `after`."""

    def __init__(self, seen: Tensor, after: nn.Module) -> None:
        super().__init__()
        self.seen, self.after = seen, after

    def forward(self, x: Tensor) -> Tensor:
        self.seen = x
        return self.after(x)  # type: ignore[no-any-return]


@dataclass
class _Layer:
    """The places of one frozen layer that the outside asks for."""

    norm: _Norm | None
    """In front of the MLP; none in OLMo 2."""
    mlp: _Tap
    leaf: _Leaf
    neurons: _Neurons

    @property
    def stream(self) -> Tensor:
        """(T, d) the residual stream before the MLP's norm, in the last pass."""
        return (self.mlp if self.norm is None else self.norm).seen[0]

    def read(self, where: str) -> Tensor:
        """(T, d) at a reading point, in the last pass."""
        if self.norm is None or where == "mlp.hook_in":
            return self.mlp.seen[0]
        return self.stream if where == "hook_resid_mid" else self.norm.normalised[0]


class _Neurons:
    """An MLP's neurons: activations, their linearisation, and what each writes."""

    def __init__(self, mlp: Any) -> None:
        self.act = mlp.act_fn if hasattr(mlp, "act_fn") else mlp.act
        self.up = getattr(mlp, "up_proj", None)
        names = [("gate_proj", "down_proj"), ("c_fc", "c_proj")]
        names += [("dense_h_to_4h", "dense_4h_to_h")]
        into, out = next(pair for pair in names if hasattr(mlp, pair[0]))
        self.gate, self.down = getattr(mlp, into), getattr(mlp, out)

    def activations(self, x: Tensor) -> Tensor:
        """(T, F) as the model has them."""
        gated = self.act(self.gate(x))
        return gated if self.up is None else gated * self.up(x)  # type: ignore[no-any-return]

    def linearised(self, x: Tensor) -> Tensor:
        """(T, F) the same values with act(g) / g frozen and a product's gradient in halves."""
        g = self.gate(x)
        c = (self.act(g) / g).detach()
        if self.up is None:
            return c * g  # type: ignore[no-any-return]
        u = self.up(x)
        return 0.5 * c * (g * u.detach() + g.detach() * u)  # type: ignore[no-any-return]

    def decoder(self, n_neurons: int, like: Tensor) -> Tensor:
        """(F, d) what a unit of each neuron writes."""
        units = torch.eye(n_neurons, dtype=like.dtype, device=like.device)
        return self.down(units) - self.down(torch.zeros_like(units))  # type: ignore[no-any-return]

    def bias(self, like: Tensor) -> Tensor:
        """(d,) what the MLP writes with every neuron silent."""
        silent = self.activations(like).new_zeros(1, self.activations(like).shape[-1])
        return self.down(silent)[0]  # type: ignore[no-any-return]


@dataclass
class Features:
    """Active features by layer, position, index."""

    layer: Tensor
    position: Tensor
    index: Tensor
    activation: Tensor

    def __len__(self) -> int:
        return len(self.layer)


@dataclass
class Columns:
    """Embeddings come first, then each layer's features and its errors by position."""

    feature: Tensor
    error: Tensor
    """(L, T); -1 where there is no error node."""
    count: int


@dataclass
class _Recording:
    """What is kept of one unfrozen pass."""

    read: dict[str, Tensor] = field(default_factory=dict)
    written: dict[str, Tensor] = field(default_factory=dict)
    patterns: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class _Pass:
    """A frozen pass that can be differentiated."""

    inputs: list[Tensor]
    """Embeddings and leaves."""
    streams: list[Tensor]
    """(T, d) before each MLP's norm, and before the final norm."""
    reads: list[Tensor]
    """(T, d) at the dictionary's reading points."""
    logits: Tensor
    queries: list[Tensor]
    """(H, T, h) by layer, not yet scaled."""
    keys: list[Tensor]
    after: list[Tensor]
    """(T, d) the residual stream after each layer."""


class FrozenNetwork:
    """A model frozen around one prompt: run it forwards, or differentiate it."""

    def __init__(
        self,
        module: Any,
        token_ids: Tensor,
        dictionary: Any = None,
        *,
        n_zeroed: int = 1,
        device: torch.device = HOST,
    ) -> None:
        self.token_ids, self.n_zeroed = token_ids.to(device), n_zeroed
        self.module: Any = copy.deepcopy(module).to(device).eval().requires_grad_(False)
        self.dictionary = dictionary
        if isinstance(dictionary, Dictionary):
            self.dictionary = dictionary.to(device=device, dtype=dictionary.layers[0].W_enc.dtype)
        self.embed = self.module.get_input_embeddings()
        self.head = self.module.get_output_embeddings()
        self.embeddings: Tensor = self.embed(self.token_ids)
        self.reads = getattr(dictionary, "reads", "mlp.hook_in")
        self.neuronal = getattr(dictionary, "kind", None) == "neurons"
        self._logits: Tensor = self.embeddings
        self._pass: _Pass | None = None
        self.head.register_forward_hook(self._keep_logits)
        norms = self._replace_norms()
        self._freeze(norms, self._record())
        self.forward()
        if dictionary is not None:
            self._encode()

    # Freezing

    def _replace_norms(self) -> dict[str, _Norm]:
        """Every norm outside attention, by its name; those on queries and keys are set apart."""
        norms = {}
        self.inner_norms: list[_Norm] = []
        for name, child in list(self.module.named_modules()):
            if not type(child).__name__.endswith("Norm"):
                continue
            norm = _Norm(child)
            self.module.set_submodule(name, norm)
            if "attn" in name or "attention." in name:
                self.inner_norms.append(norm)
            else:
                norms[name] = norm
        return norms

    def _record(self) -> _Recording:
        """One pass of the model as it is."""
        recording, handles = _Recording(), []
        for name, child in self.module.named_modules():
            if name.endswith(".mlp"):

                def keep(_: Any, inputs: Any, output: Tensor, name: str = name) -> None:
                    recording.read[name], recording.written[name] = inputs[0], output

                handles.append(child.register_forward_hook(keep))
            elif type(child).__name__.endswith("Attention"):

                def keep_pattern(_: Any, __: Any, output: Any, name: str = name) -> None:
                    recording.patterns[name] = output[1]

                handles.append(child.register_forward_hook(keep_pattern))
        self.module.set_attn_implementation("eager")
        self.module(self.token_ids[None])
        self.own_logits = self._logits
        for handle in handles:
            handle.remove()
        return recording

    def _freeze(self, norms: dict[str, _Norm], recording: _Recording) -> None:
        for name, pattern in recording.patterns.items():
            self.module.get_submodule(name).recorded_pattern = pattern
        self.module.set_attn_implementation("recorded")
        self.layers: list[_Layer] = []
        for name, read in recording.read.items():
            written = recording.written[name]
            front = [norm for norm in norms.values() if norm.out is read]
            after = [key for key, norm in norms.items() if norm.seen is written]
            leaf: nn.Module = _Leaf(written[0])
            real = self.module.get_submodule(name)
            tap = _Tap(read, leaf)
            if after and getattr(self.dictionary, "writes", "mlp.hook_out") == "hook_mlp_out":
                leaf = _Leaf(norms[after[0]].out[0])
                tap = _Tap(read, nn.Identity())
                self.module.set_submodule(after[0], leaf)
            self.module.set_submodule(name, tap)
            norm = front[0] if front else None
            self.layers.append(_Layer(norm, tap, leaf, _Neurons(real)))
        self.final = list(norms.values())[-1]
        for norm in [*norms.values(), *self.inner_norms]:
            norm.frozen = True

    @property
    def attentions(self) -> list[Any]:
        """The attention modules, with `recorded_pattern`, `query` and `key` of the last pass."""
        return [m for m in self.module.modules() if hasattr(m, "recorded_pattern")]

    def _keep_logits(self, _: Any, __: Any, output: Tensor) -> None:
        self._logits = output[0]

    # The dictionary

    def _encode(self) -> None:
        """Features, errors and columns from what the dictionary reads."""
        L, T = len(self.layers), len(self.token_ids)
        acts, self.outputs = [], [layer.leaf.leaf for layer in self.layers]
        for i, layer in enumerate(self.layers):
            read = self.read(i)
            found = (
                layer.neurons.activations(read)
                if self.neuronal
                else self.dictionary.layers[i].encode(read)
            )
            acts.append(found.clone())
            acts[i][: self.n_zeroed] = 0
        alive = [found != 0 for found in acts]
        if self.neuronal:  # every neuron is a node, also one that is silent
            for of_layer in alive:
                of_layer[self.n_zeroed :] = True
        rows = [of_layer.nonzero() for of_layer in alive]
        self.features = Features(
            layer=torch.cat([torch.full_like(r[:, 0], i) for i, r in enumerate(rows)]),
            position=torch.cat([r[:, 0] for r in rows]),
            index=torch.cat([r[:, 1] for r in rows]),
            activation=torch.cat([a[r[:, 0], r[:, 1]] for a, r in zip(acts, rows, strict=True)]),
        )
        self.errors = []
        for i in range(L):
            rebuilt = self._bias(i) + self._skipped(i)
            for reading in range(i + 1):
                decoder = self._decoder(reading, i)
                if decoder is not None:
                    rebuilt = rebuilt + acts[reading] @ decoder
            error = self.outputs[i] - rebuilt
            error[: self.n_zeroed] = 0
            self.errors.append(error)
        for i, layer in enumerate(self.layers):
            if not self.neuronal and self.dictionary.layers[i].W_skip is not None:
                layer.leaf.leaf = layer.leaf.leaf - self._skipped(i)
                layer.leaf.skip = lambda i=i: self._skipped(i)
        self.columns = self._number(L, T)

    def _number(self, L: int, T: int) -> Columns:
        error = torch.full((L, T), -1, device=self.token_ids.device)
        feature = torch.zeros_like(self.features.layer)
        count = T
        for i in range(L):
            here = self.features.layer == i
            feature[here] = count + torch.arange(int(here.sum()), device=here.device)
            count += int(here.sum())
            if not self.neuronal:
                error[i, self.n_zeroed :] = count + torch.arange(
                    T - self.n_zeroed, device=error.device
                )
                count += T - self.n_zeroed
        return Columns(feature, error, count)

    def _bias(self, layer: int) -> Tensor:
        if self.neuronal:
            return self.layers[layer].neurons.bias(self.read(layer))
        bias: Tensor = self.dictionary.layers[layer].b_dec
        return bias

    def _decoder(self, reading: int, written: int) -> Tensor | None:
        """(F, d) of features that read at one layer and write at another."""
        if self.neuronal:
            neurons, seen = self.layers[reading].neurons, self.read(reading)
            n = neurons.activations(seen).shape[-1]
            return neurons.decoder(n, seen) if reading == written else None
        decoder: Tensor = self.dictionary.layers[reading].W_dec
        return decoder[:, written - reading] if written - reading < decoder.shape[1] else None

    def _skipped(self, layer: int) -> Tensor:
        """What the affine skip carries in the last pass."""
        read = self.read(layer)
        skip = None if self.neuronal else self.dictionary.layers[layer].W_skip
        if skip is None:
            return torch.zeros_like(read)
        carried: Tensor = read @ skip.T
        return carried

    # Forwards

    def read(self, layer: int) -> Tensor:
        """(T, d) what the dictionary reads at a layer in the last forward pass."""
        return self.layers[layer].read(self.reads)

    @torch.no_grad()
    def forward(self, added: dict[int, Tensor] | None = None) -> Tensor:
        """(T, V) logits before any soft-cap, with `added[layer]` (T, d) where the layer writes."""
        leaves = [layer.leaf.leaf for layer in self.layers]
        for layer, extra in (added or {}).items():
            self.layers[layer].leaf.leaf = leaves[layer] + extra
        self.module(self.token_ids[None])
        for layer, leaf in zip(self.layers, leaves, strict=True):
            layer.leaf.leaf = leaf
        return self._logits

    def written_by(self, row: int, times: float = 1.0) -> dict[int, Tensor]:
        """What an active feature writes at every layer, for `forward`."""
        features, added = self.features, {}
        reading, position = int(features.layer[row]), int(features.position[row])
        for written in range(reading, len(self.layers)):
            decoder = self._decoder(reading, written)
            if decoder is not None:
                added[written] = torch.zeros_like(self.embeddings)
                vector = decoder[int(features.index[row])] * features.activation[row]
                added[written][position] = times * vector
        return added

    def pre_activations(self, reads: list[Tensor] | None = None) -> Tensor:
        """(N,) of every active feature, from what is read in the last forward pass or given."""
        features, found = self.features, []
        for i, layer in enumerate(self.layers):
            here = (features.layer == i).nonzero().squeeze(1)
            read = self.read(i) if reads is None else reads[i]
            if self.neuronal:
                pre = layer.neurons.linearised(read)
            else:
                transcoder = self.dictionary.layers[i]
                pre = read @ transcoder.W_enc.T + transcoder.b_enc
            found.append(pre[features.position[here], features.index[here]])
        return torch.cat(found)

    # Backwards

    def rows(self, targets: Vectors, chosen: Tensor) -> Tensor:
        """Dense rows (B, columns) of the chosen targets by batched autograd.

        A target's vector acts on the stream before its MLP's norm, or the final norm.
        """
        streams = self._differentiable().streams
        with torch.enable_grad():
            found = [
                streams[int(targets.level[i])][int(targets.position[i])]
                @ targets.vector[i].to(self.embeddings)
                for i in chosen
            ]
            return self._differentiated(torch.stack(found))

    def feature_rows(self, chosen: Tensor) -> Tensor:
        """Rows of active features, from their own pre-activations; no vector is handed in."""
        reads = self._differentiable().reads
        with torch.enable_grad():
            return self._differentiated(self.pre_activations(reads)[chosen])

    def logit_rows(self, position: Tensor, token: Tensor) -> Tensor:
        """Rows of single logits."""
        logits = self._differentiable().logits
        with torch.enable_grad():
            return self._differentiated(logits[position, token])

    def stream_rows(self, layer: int, position: int, vectors: Tensor) -> Tensor:
        """Rows of vectors (n, d) at the residual stream after a layer."""
        stream = self._differentiable().after[layer][position]
        with torch.enable_grad():
            return self._differentiated(vectors.to(stream) @ stream)

    def query_rows(self, layer: int, head: int, position: int) -> Tensor:
        """Rows (h, columns) of one head's query numbers, not yet scaled."""
        query = self._differentiable().queries[layer][head, position]
        with torch.enable_grad():
            return self._differentiated(query)

    def key_rows(self, layer: int, head: int, position: int) -> Tensor:
        """Rows (h, columns) of one head's key numbers."""
        key = self._differentiable().keys[layer][head, position]
        with torch.enable_grad():
            return self._differentiated(key)

    @contextmanager
    def without(self, layer: int, *part: Any) -> Iterator[None]:
        """Inside the block a part of one layer's pattern is zero: [head], [head, query, key]."""
        attention = self.attentions[layer]
        kept, whole = attention.recorded_pattern, self._pass
        attention.recorded_pattern, self._pass = kept.clone(), None
        attention.recorded_pattern[(0, *part)] = 0
        try:
            yield
        finally:
            attention.recorded_pattern, self._pass = kept, whole

    def _differentiable(self) -> _Pass:
        """The frozen pass with embeddings and leaves to differentiate by; made once, kept."""
        if self._pass is not None:
            return self._pass
        embedded = self.embeddings[None].detach().clone().requires_grad_(True)
        handle = self.embed.register_forward_hook(lambda *_: embedded)
        kept = [layer.leaf.leaf for layer in self.layers]
        leaves = [leaf.detach().clone().requires_grad_(True) for leaf in kept]
        for layer, one in zip(self.layers, leaves, strict=True):
            layer.leaf.leaf = one
        after: list[Tensor] = []
        kept_after = [
            self.module.get_submodule(name.removesuffix(".mlp")).register_forward_hook(
                lambda _, __, out: after.append((out[0] if isinstance(out, tuple) else out)[0])
            )
            for name, _ in self.module.named_modules()
            if name.endswith(".mlp")
        ]
        with torch.enable_grad():
            self.module(self.token_ids[None])
        self._pass = _Pass(
            inputs=[embedded, *leaves],
            streams=[layer.stream for layer in self.layers] + [self.final.seen[0]],
            reads=[self.read(i) for i in range(len(self.layers))],
            logits=self._logits,
            queries=[attention.query[0] for attention in self.attentions],
            keys=[attention.key[0] for attention in self.attentions],
            after=after,
        )
        for one in [handle, *kept_after]:
            one.remove()
        for layer, one in zip(self.layers, kept, strict=True):
            layer.leaf.leaf = one
        self.forward()
        return self._pass

    def _differentiated(self, values: Tensor) -> Tensor:
        gradients = torch.autograd.grad(
            values,
            self._differentiable().inputs,
            torch.eye(len(values), dtype=values.dtype, device=values.device),
            is_grads_batched=True,
            allow_unused=True,
            retain_graph=True,
        )
        return self._products(gradients, len(values))

    def _products(self, gradients: tuple[Tensor | None, ...], n_rows: int) -> Tensor:
        """Gradients times what the sources write."""
        features, columns = self.features, self.columns
        dense = self.embeddings.new_zeros(n_rows, columns.count)
        at_embedding = gradients[0]
        assert at_embedding is not None
        dense[:, : len(self.token_ids)] = (at_embedding[:, 0] * self.embeddings).sum(-1)
        for written, at_layer in enumerate(gradients[1:]):
            if at_layer is None:  # above every target
                continue
            live = columns.error[written] >= 0
            error = (at_layer * self.errors[written]).sum(-1)
            dense[:, columns.error[written][live]] = error[:, live]
            for reading in range(written + 1):
                decoder = self._decoder(reading, written)
                if decoder is None:
                    continue
                here = (features.layer == reading).nonzero().squeeze(1)
                source = decoder[features.index[here]] * features.activation[here, None]
                edges = (at_layer[:, features.position[here]] * source).sum(-1)
                dense[:, columns.feature[here]] += edges
        return dense
