"""The oracle of total effects: the frozen model with its MLPs replaced by the dictionary, not cut.

As in `tests/oracle.py`, but what was a leaf where an MLP writes is now the sum of an error leaf and
of what the active features write, computed from what they read in this very pass: gradients run on
through all of them. It shares no code with the sweep.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tests.oracle import FrozenNetwork


class ReplacedNetwork:
    """One differentiable pass of a frozen network, features on the way."""

    def __init__(self, network: FrozenNetwork) -> None:
        self.network = network
        self.active: list[Tensor] = []
        """(T, F) by layer, in the graph of autograd."""
        self.reads: list[Tensor] = []
        """(T, d) what the dictionary reads in this pass."""
        self._acts = self._activations()
        embedded = network.embeddings[None].detach().clone().requires_grad_(True)
        kept = [(layer.leaf.leaf, layer.leaf.skip) for layer in network.layers]
        handle = network.embed.register_forward_hook(lambda *_: embedded)
        leaves = []
        for i, layer in enumerate(network.layers):
            rest = layer.leaf.leaf - self._written(i, self._acts)
            leaves.append(rest.detach().clone().requires_grad_(True))
            layer.leaf.leaf = leaves[i]
            layer.leaf.skip = lambda i=i: self._pass_on(i)
        with torch.enable_grad():
            network.module(network.token_ids[None])
        self.logits = network._logits
        self._inputs = [embedded, *leaves, *self.active]
        handle.remove()
        for layer, (leaf, skip) in zip(network.layers, kept, strict=True):
            layer.leaf.leaf, layer.leaf.skip = leaf, skip
        network.forward()

    def _activations(self) -> list[Tensor]:
        """(T, F) by layer, zero where no feature is active."""
        features, T, found = self.network.features, len(self.network.token_ids), []
        for i in range(len(self.network.layers)):
            decoder = self.network._decoder(i, i)
            assert decoder is not None
            acts = decoder.new_zeros(T, len(decoder))
            here = features.layer == i
            acts[features.position[here], features.index[here]] = features.activation[here]
            found.append(acts)
        return found

    def _written(self, written: int, acts: list[Tensor]) -> Tensor:
        """(T, d) what features write at one layer."""
        total = torch.zeros_like(self.network.embeddings)
        for reading in range(written + 1):
            decoder = self.network._decoder(reading, written)
            if decoder is not None:
                total = total + acts[reading] @ decoder
        return total

    def _pass_on(self, i: int) -> Tensor:
        """(T, d) what skip and features write at a layer, from what they read now."""
        network, read = self.network, self.network.read(i)
        alive = torch.zeros_like(self._acts[i])
        here = network.features.layer == i
        alive[network.features.position[here], network.features.index[here]] = 1
        if network.neuronal:
            pre = network.layers[i].neurons.linearised(read)
        else:
            transcoder = network.dictionary.layers[i]
            pre = read @ transcoder.W_enc.T + transcoder.b_enc
        self.reads.append(read)
        self.active.append(pre * alive)
        return network._skipped(i) + self._written(i, self.active)

    def logit_totals(self, position: Tensor, token: Tensor) -> Tensor:
        """(n, columns) total effects on single logits."""
        return self._totals(lambda: self.logits[position, token])

    def feature_totals(self) -> Tensor:
        """(N, columns) total effects on all features' values."""
        f = self.network.features

        def values() -> Tensor:
            by_layer = [
                self.active[i][f.position[f.layer == i], f.index[f.layer == i]]
                for i in range(len(self.active))
            ]
            return torch.cat(by_layer)

        return self._totals(values)

    def _totals(self, values: Callable[[], Tensor]) -> Tensor:
        """Gradients by every source, times what the source gives."""
        network, L = self.network, len(self.network.layers)
        with torch.enable_grad():
            wanted = values()
            gradients = torch.autograd.grad(
                wanted,
                self._inputs,
                torch.eye(len(wanted), dtype=wanted.dtype, device=wanted.device),
                is_grads_batched=True,
                allow_unused=True,
                retain_graph=True,
            )
        features, columns = network.features, network.columns
        dense = network.embeddings.new_zeros(len(wanted), columns.count)
        dense[:, : len(network.token_ids)] = (gradients[0][:, 0] * network.embeddings).sum(-1)
        for i in range(L):
            to_leaf, to_active = gradients[1 + i], gradients[1 + L + i]
            live = columns.error[i] >= 0
            if to_leaf is not None:
                error = (to_leaf * network.errors[i]).sum(-1)
                dense[:, columns.error[i][live]] = error[:, live]
            if to_active is not None:
                here = (features.layer == i).nonzero().squeeze(1)
                given = to_active[:, features.position[here], features.index[here]]
                dense[:, columns.feature[here]] = given * features.activation[here]
        return dense
