"""How many hidden weights does an answer need, everything else mean-ablated?

An entry of a matrix that is left out no longer passes on how its input differs from the input's
mean over a text: y = (M * W)(x - mean) + W mean, at all positions but BOS. Entries are ranked by
the gradient of KL, summed along the path from none of them to all; the smallest first part of the
ranking that keeps KL small enough and the likeliest token is taken, ranked again within, and cut
until nothing more can be cut. No entry is tried alone, so fewer may do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import LlamaForCausalLM

from circuit_tracer.experiments.circuit.judging import Asked

PATH_STEPS = 8


def left_of(kept: Tensor, mean: Tensor, base: Tensor) -> Callable[..., Tensor]:
    """A hook that puts out what the entries that are kept make of their input's difference from
    its mean, and `base` for the mean."""

    def change(_: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor:
        return torch.cat([out[:, :1], linear(inputs[0][:, 1:] - mean, kept) + base], 1)

    return change


class WeightMask:
    """The hidden matrices of a Llama with entries left out."""

    def __init__(self, model: LlamaForCausalLM, text: Sequence[Sequence[int]]) -> None:
        """`text`: rows of equally many token ids, BOS first, for the means of the inputs."""
        layers = model.model.layers
        self.model = model
        self.matrices = [one for one in layers.modules() if isinstance(one, nn.Linear)]
        self.means: list[Tensor] = []
        hooks = [one.register_forward_pre_hook(self._mean) for one in self.matrices]
        with torch.no_grad():
            model(input_ids=torch.tensor(text))
        for hook in hooks:
            hook.remove()
        self.there = torch.cat([one.weight.detach().flatten() != 0 for one in self.matrices])

    def _mean(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.means.append(inputs[0][:, 1:].flatten(0, 1).mean(0))

    @contextmanager
    def _masked(self, mask: Tensor) -> Iterator[None]:
        parts = mask.split([one.weight.numel() for one in self.matrices])
        hooks = []
        for one, part, mean in zip(self.matrices, parts, self.means, strict=True):
            kept = one.weight * part.view_as(one.weight)
            hooks.append(one.register_forward_hook(left_of(kept, mean, linear(mean, one.weight))))
        yield
        for hook in hooks:
            hook.remove()

    def divergence(self, one: Asked, mask: Tensor) -> tuple[Tensor, bool]:
        """Nats from the whole model with the entries of a mask alone, and whether the likeliest
        token stays."""
        with self._masked(mask):
            logits = self.model(input_ids=torch.tensor([one.ids])).logits[0, -1]
        left = logits.log_softmax(-1)
        kl = (one.log_probabilities.exp() * (one.log_probabilities - left)).sum()
        return kl, int(logits.argmax()) == one.top

    def gains(self, one: Asked, among: Tensor) -> Tensor:
        """What each entry takes from KL, along the path from none of these to all of them."""
        gains = torch.zeros_like(among)
        for step in range(PATH_STEPS):
            mask = (among * ((step + 0.5) / PATH_STEPS)).requires_grad_()
            kl, _ = self.divergence(one, mask)
            gains -= torch.autograd.grad(kl, mask)[0]
        return gains * among

    def needed(self, one: Asked, most: float) -> int:
        """The entries that keep KL at most so many nats, and the likeliest token."""
        among = self.there.float()
        size = int(among.sum())
        while True:
            order = self.gains(one, among).masked_fill(among == 0, -torch.inf)
            order = order.argsort(descending=True, stable=True)[:size]
            smaller = self._fewest(one, order, most)
            if smaller > 0.98 * size:
                return smaller
            size, among = smaller, torch.zeros_like(among)
            among[order[:size]] = 1

    @torch.no_grad()
    def _fewest(self, one: Asked, order: Tensor, most: float) -> int:
        def keeps(size: int) -> bool:
            mask = torch.zeros(len(self.there))
            mask[order[:size]] = 1
            kl, is_right = self.divergence(one, mask)
            return is_right and float(kl) <= most

        below, least = 0, len(order)
        while least - below > max(1, least // 100):
            middle = round((max(below, 1) * least) ** 0.5) if below < least / 4 else 0
            middle = min(max(middle or (below + least) // 2, below + 1), least - 1)
            below, least = (below, middle) if keeps(middle) else (middle, least)
        return least
