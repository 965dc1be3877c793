"""Many prompts in few passes: prompts of equal length share one, each row with edits of its own.

Shapes: B rows, T tokens, L layers, d model width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit_tracer.experiments.kit.asks import Ask
from circuit_tracer.graphs.graph import Floats
from circuit_tracer.interventions.engine import rows_at_once
from circuit_tracer.models import Model
from circuit_tracer.models.capture import Edits, Place
from circuit_tracer.models.devices import as_floats
from circuit_tracer.models.parts import ReadPoint

EditsOf = Callable[[list[int]], Edits]
"""Edits of a pass from the numbers of its rows."""


Written = tuple[Literal["attention", "mlp"], int]
"""A module that writes to the residual stream."""


class Untouched:
    """Edits nothing."""

    def wants(self, place: Place, layer: int) -> bool:
        """Nowhere."""
        return False

    def edit(self, place: Place, layer: int, seen: Tensor, given: Tensor) -> Tensor:
        """What the module gave."""
        return given


def spans(model: Model, asks: Sequence[Ask]) -> Iterator[list[int]]:
    """Rows of one pass each: of equal length, no more than memory allows."""
    by_length: dict[int, list[int]] = {}
    for row, ask in enumerate(asks):
        by_length.setdefault(len(ask.ids), []).append(row)
    for length, rows in sorted(by_length.items()):
        size = rows_at_once(model, length, 1, keep_seen=True)
        yield from (rows[start : start + size] for start in range(0, len(rows), size))


def token_ids(model: Model, asks: Sequence[Ask], rows: Sequence[int]) -> Tensor:
    """(B, T) of rows that are equally long."""
    return torch.tensor([asks[row].ids for row in rows], device=model.device)


def positions(
    model: Model, asks: Sequence[Ask], rows: Sequence[int], role: str
) -> Int[Tensor, "B"]:
    """(B,) where a role stands in some rows."""
    return torch.tensor([asks[row].roles[role] for row in rows], device=model.device)


@torch.no_grad()
def logits_of(model: Model, asks: Sequence[Ask], vocabulary: Sequence[int]) -> Floats:
    """(rows, words) logits of some tokens at each prompt's end, nothing edited."""
    found = np.zeros((len(asks), len(vocabulary)))
    for rows in spans(model, asks):
        ids = token_ids(model, asks, rows)
        last = torch.tensor([ids.shape[1] - 1], device=model.device)
        logits = model.edited(ids, Untouched(), positions=last)[:, 0]
        found[rows] = as_floats(logits[:, list(vocabulary)])
    return found


@torch.no_grad()
def contrasts(model: Model, asks: Sequence[Ask], edits_of: EditsOf | None = None) -> Floats:
    """(rows,) logit of `plus` minus that of `minus` at each prompt's end."""
    found = np.zeros(len(asks))
    for rows in spans(model, asks):
        ids = token_ids(model, asks, rows)
        edits = Untouched() if edits_of is None else edits_of(rows)
        last = torch.tensor([ids.shape[1] - 1], device=model.device)
        logits = model.edited(ids, edits, positions=last)[:, 0]
        plus, minus = (
            torch.tensor([getattr(asks[row], sign) for row in rows], device=model.device)[:, None]
            for sign in ("plus", "minus")
        )
        difference = logits.gather(1, plus) - logits.gather(1, minus)
        found[rows] = as_floats(difference.squeeze(1))
    return found


@dataclass
class Listener:
    """Edits nothing and keeps what is read: the streams before every layer and at the end."""

    model: Model
    streams: list[Tensor] = field(default_factory=list)
    """(B, T, d) before each layer's attention (and its norm), then of the final norm."""
    attention: list[Tensor] = field(default_factory=list)
    """(B, T, d) what each layer's attention reads, its norm applied."""

    def wants(self, place: Place, layer: int) -> bool:
        """Norms before attention, attention itself, the final norm."""
        return place in ("attention_norm", "attention", "final_norm")

    def edit(self, place: Place, layer: int, seen: Tensor, given: Tensor) -> Tensor:
        """What the module gave."""
        if place == "attention":
            self.attention.append(seen)
            if self.model.wiring.paths.attention_norm is None:
                self.streams.append(seen)
        else:
            self.streams.append(seen)
        return given


@dataclass(frozen=True)
class Heard:
    """What was read at the roles of each prompt."""

    streams: dict[str, Float[Tensor, "rows levels d"]]
    """By role: before layers 0 to L - 1, then after the last. Zeros where a prompt lacks the
    role."""
    attention: dict[str, Float[Tensor, "rows L d"]]
    """By role: what each layer's attention reads."""


@torch.no_grad()
def listen(model: Model, asks: Sequence[Ask], roles: Sequence[str]) -> Heard:
    """Run prompts untouched and keep what is read at some roles."""
    L, d = model.n_layers, model.d_model
    like = model.unembedding
    streams = {role: like.new_zeros(len(asks), L + 1, d) for role in roles}
    attention = {role: like.new_zeros(len(asks), L, d) for role in roles}
    for rows in spans(model, asks):
        listener = Listener(model)
        last = torch.tensor([len(asks[rows[0]].ids) - 1], device=model.device)
        model.edited(token_ids(model, asks, rows), listener, positions=last)
        kept, read = torch.stack(listener.streams, 1), torch.stack(listener.attention, 1)
        for role in roles:
            at = [asks[row].roles.get(role) for row in rows]
            for place, (row, position) in enumerate(zip(rows, at, strict=True)):
                if position is not None:
                    streams[role][row] = kept[place, :, position]
                    attention[role][row] = read[place, :, position]
    return Heard(streams, attention)


@dataclass
class WrittenAt(Untouched):
    """Edits nothing and keeps what attention and MLPs write at one position of each row."""

    at: Int[Tensor, "B"]
    kept: dict[Written, Float[Tensor, "B d"]] = field(default_factory=dict)

    def wants(self, place: Place, layer: int) -> bool:
        """Attention and MLPs."""
        return place in ("attention", "mlp")

    def edit(self, place: Place, layer: int, seen: Tensor, given: Tensor) -> Tensor:
        """What the module gave."""
        if place in ("attention", "mlp"):
            self.kept[place, layer] = given[torch.arange(len(given), device=given.device), self.at]
        return given


@torch.no_grad()
def written_at(
    model: Model, asks: Sequence[Ask], role: str
) -> dict[Written, Float[Tensor, "rows d"]]:
    """What attention and the MLP of every layer write at a role of each prompt."""
    outputs: dict[Written, Tensor] = {}
    for rows in spans(model, asks):
        kept = WrittenAt(positions(model, asks, rows, role))
        model.edited(token_ids(model, asks, rows), kept, positions=kept.at[:1])
        for module, written in kept.kept.items():
            if module not in outputs:
                outputs[module] = written.new_zeros(len(asks), model.d_model)
            outputs[module][rows] = written
    return outputs


def read_at(
    model: Model, reads: ReadPoint, asks: Sequence[Ask], role: str
) -> Float[Tensor, "L rows d"]:
    """What a dictionary reads at a role of each prompt; `reads` is where it does so."""
    inputs = model.unembedding.new_zeros(model.n_layers, len(asks), model.d_model)
    for rows in spans(model, asks):
        read = model.mlp_activity(token_ids(model, asks, rows), reads).inputs
        here = torch.arange(len(rows), device=model.device)
        inputs[:, rows] = read[:, here, positions(model, asks, rows, role)]
    return inputs
