"""Edits that are the same for every prompt: vectors added to the residual stream at every token.

The token that rows start with is left alone: no dictionary has features there, and all other tokens
read from it.

Only such an edit is evidence of a persona. One that depends on the prompt may copy the answer.

Shapes: n edits, S layers that are edited, d model width, P prompts, N documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from circuit_tracer.experiments.kit.edits import StreamEdits
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
        added: Floats = found.reshape(len(edits), count) - self._unedited
        return added

    @cached_property
    def _unedited(self) -> Floats:
        return text_losses(self.model, self.texts)

    def _edits_of(self, edits: Edits, each: int) -> EditsOf:
        """Every edit has so many rows, one edit's after another's."""
        vectors = on_device(edits, self.model.device).to(self.model.torch_dtype)
        first = first_token(self.model)

        def edits_of(rows: list[int]) -> StreamEdits:
            number = torch.tensor(rows, device=vectors.device) // max(each, 1)

            def edited(layer: int, stream: Tensor) -> Tensor:
                out = stream.clone()
                out[:, first:] += vectors[number, self.layers.index(layer), None]
                return out

            return StreamEdits(self.layers, edited)

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
    """How many times each direction is to be taken: the size of the most right answers, or wrong
    ones where they are to be induced, that adds at most `limit` to the loss.

    Sizes are gone through from below, each direction until its loss is over the limit; then where a
    straight line between the logarithms of sizes and losses meets the limit.
    """
    count, sign = len(directions), 1 if way == "restore" else -1
    unedited = trials.answers(asks, np.zeros((1, *directions.shape[1:]))).contrast
    chosen = Chosen(np.zeros(count), np.full(count, (sign * unedited > 0).mean()))
    allowed, refused = np.zeros(count), np.full(count, np.inf)
    low, high = np.zeros(count), np.zeros(count)  # their losses, in limits

    def allowed_of(which: Ints, sizes: Floats) -> Ints:
        """Some directions at a size each: those whose loss allows it; the better ones are kept."""
        if not len(which):
            return which
        edits = directions[which] * sizes[:, None, None]
        losses = trials.losses(edits).mean(1) / limit
        passed = losses <= 1
        refused[which[~passed]], high[which[~passed]] = sizes[~passed], losses[~passed]
        which, sizes = which[passed], sizes[passed]
        allowed[which], low[which] = sizes, losses[passed].clip(LEAST)
        if len(which):
            share = (sign * trials.answers(asks, edits[passed]).contrast > 0).mean(1)
            better = share > chosen.shares[which]
            chosen.shares[which[better]], chosen.sizes[which[better]] = share[better], sizes[better]
        return which

    live = np.arange(count)
    for size in SIZES:
        live = allowed_of(live, np.full(len(live), size))
    for _ in range(REFINED):
        between = np.flatnonzero((allowed > 0) & np.isfinite(refused))
        start, end = np.log(low[between]), np.log(high[between])
        part = ((np.log(AIM) - start) / (end - start)).clip(0, 1)
        allowed_of(between, allowed[between] ** (1 - part) * refused[between] ** part)
    return chosen
