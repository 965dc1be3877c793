"""Edits that are the same for every prompt: vectors added to the residual stream at every token.

The token that rows start with is left alone: no dictionary has features there, and all other tokens
read from it.

Only such an edit is evidence of a persona. One that depends on the prompt may copy the answer.

Shapes: n edits, S layers that are edited, d model width, P prompts, N documents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from circuit_tracer.experiments.kit.edits import ModuleEdits, stream_edits
from circuit_tracer.experiments.kit.passes import Ask, Decisions, EditsOf, decisions, text_losses
from circuit_tracer.graphs.graph import Floats, Ints
from circuit_tracer.models import Model
from circuit_tracer.models.devices import on_device

Way = Literal["restore", "induce"]
"""Right answers brought back to the tuned model, or wrong ones brought to the base."""
SIZES = (0.25, 0.5, 1.0, 2.0, 4.0)
"""That are tried, in sizes of the shift; then some up to where the loss meets its limit."""
REFINED, AIM, LEAST = 3, 0.97, 1e-3
"""How many of these, and in limits: the loss that they aim at, and what any lower one counts as."""
ENOUGH: Mapping[Way, float] = {"restore": 0.95, "induce": 1.0}
"""Of the answers that an edit changes as wanted at best, how many it must at the size chosen: what
is restored levels off before the loss meets its limit, and its last twentieth costs most of that
loss; what is induced still rises there."""
HALVINGS = 3
"""Steps to the least size that does enough."""
Edits = Float[np.ndarray, "n S d"]


@dataclass(frozen=True)
class Candidate:
    """An edit to be tested; its length is chosen."""

    name: str
    features: tuple[tuple[int, int], ...]
    """Layer and feature of each; empty for a dense direction."""
    direction: Floats
    """(S, d), as it restores."""


@dataclass(frozen=True)
class Trials:
    """What constant edits do in one model."""

    model: Model
    layers: tuple[int, ...]
    texts: Sequence[Sequence[int]] = field(repr=False)
    """Ordinary text, as token ids."""

    def answers(self, asks: Sequence[Ask], edits: Edits) -> Decisions:
        """(n, P) what is answered to some prompts under each edit."""
        found = decisions(self.model, [*asks] * len(edits), self._edits_of(edits, len(asks)))
        shape = (len(edits), len(asks))
        return Decisions(found.contrast.reshape(shape), found.coherent.reshape(shape))

    def losses(self, edits: Edits) -> Floats:
        """(n, N) nats a token that each edit adds to each document."""
        count = len(self.texts)
        found = text_losses(self.model, [*self.texts] * len(edits), self._edits_of(edits, count))
        return found.reshape(len(edits), count) - self._unedited

    @cached_property
    def _unedited(self) -> Floats:
        return text_losses(self.model, self.texts)

    def _edits_of(self, edits: Edits, each: int) -> EditsOf:
        """Every edit has so many rows, one edit's after another's."""
        vectors = on_device(edits, self.model.device).to(self.model.torch_dtype)
        first = first_token(self.model)

        def edits_of(rows: list[int]) -> ModuleEdits:
            number = torch.tensor(rows, device=vectors.device) // max(each, 1)

            def edited(layer: int, stream: Tensor) -> Tensor:
                out = stream.clone()
                out[:, first:] += vectors[number, self.layers.index(layer), None]
                return out

            return stream_edits(self.layers, edited)

        return edits_of


def first_token(model: Model) -> int:
    """Position of a prompt's first own token, after the one that rows start with."""
    return 0 if model.bos_id is None else 1


def unit(directions: Edits) -> Edits:
    """Each of size 1 over all layers together; none stays none."""
    sizes = np.sqrt((directions**2).sum((1, 2), keepdims=True))
    found: Floats = np.divide(directions, sizes, out=np.zeros_like(directions), where=sizes > 0)
    return found


class Chosen(NamedTuple):
    """Lengths of some directions."""

    sizes: Floats
    """(n,) 0 where none was better than nothing."""
    shares: Floats
    """(n,) of selection prompts that are answered as wanted at that size."""


def choose_sizes(
    trials: Trials, asks: Sequence[Ask], directions: Edits, way: Way, *, limit: float
) -> Chosen:
    """How many times each direction is to be taken: the least that does `ENOUGH` of what it does at
    best on selection prompts (most right answers, or wrong ones where they are to be induced) among
    sizes that add at most `limit` to the loss.

    Sizes are gone through from below, each direction until its loss is over the limit; then where a
    straight line between the logarithms of sizes and losses meets the limit; then halfway to the
    largest that does not do enough.
    """
    count, sign = len(directions), 1 if way == "restore" else -1
    unedited = trials.answers(asks, np.zeros((1, *directions.shape[1:]))).contrast
    tried = [{0.0: float((sign * unedited > 0).mean())} for _ in range(count)]
    """Of each direction, the share of prompts answered as wanted by the sizes that are allowed."""
    allowed, refused = np.zeros(count), np.full(count, np.inf)
    low, high = np.zeros(count), np.zeros(count)  # their losses, in limits

    def ask(which: Ints, sizes: Floats) -> None:
        if len(which):
            edits = directions[which] * sizes[:, None, None]
            shares = (sign * trials.answers(asks, edits).contrast > 0).mean(1)
            for i, size, share in zip(which, sizes, shares, strict=True):
                tried[i][float(size)] = float(share)

    def allowed_of(which: Ints, sizes: Floats) -> Ints:
        """Some directions at a size each: those whose loss allows it."""
        if not len(which):
            return which
        losses = trials.losses(directions[which] * sizes[:, None, None]).mean(1) / limit
        passed = losses <= 1
        refused[which[~passed]], high[which[~passed]] = sizes[~passed], losses[~passed]
        which, sizes = which[passed], sizes[passed]
        allowed[which], low[which] = sizes, losses[passed].clip(LEAST)
        ask(which, sizes)
        return which

    live = np.arange(count)
    for size in SIZES:
        live = allowed_of(live, np.full(len(live), size))
    for _ in range(REFINED):
        between = np.flatnonzero((allowed > 0) & np.isfinite(refused))
        start, end = np.log(low[between]), np.log(high[between])
        part = ((np.log(AIM) - start) / (end - start)).clip(0, 1)
        allowed_of(between, allowed[between] ** (1 - part) * refused[between] ** part)
    for _ in range(HALVINGS if ENOUGH[way] < 1 else 0):
        enough = np.array([_least(one, ENOUGH[way]) for one in tried])
        better = np.flatnonzero(enough)
        below = [max(size for size in tried[i] if size < enough[i]) for i in better]
        ask(better, (np.array(below) + enough[better]) / 2)
    sizes = [_least(one, ENOUGH[way]) for one in tried]
    shares = [one[size] for one, size in zip(tried, sizes, strict=True)]
    return Chosen(np.array(sizes), np.array(shares))


def _least(tried: Mapping[float, float], part: float) -> float:
    """The smallest size whose share has risen by so much of the largest rise; 0 without a rise."""
    start, most = tried[0.0], max(tried.values())
    return min(size for size, share in tried.items() if share - start >= part * (most - start))
