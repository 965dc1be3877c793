"""All weights of a model by what they are: for putting one model's into another of its shape.

A part is a parameter, or those rows of a fused projection that make queries, keys or values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from circuit_tracer.errors import ModelError
from circuit_tracer.models.model import Model
from circuit_tracer.models.parts import Projected
from circuit_tracer.models.wiring import Rows, Wiring

WeightKind = Literal["QK", "VO", "MLP", "norm", "embedding"]
"""Queries and keys (with their norms), values and attention's output, MLPs, all other norms,
embeddings and the unembedding."""
WEIGHT_KINDS: tuple[WeightKind, ...] = get_args(WeightKind)


@dataclass(frozen=True)
class WeightPart:
    """Some weights of a model, in place."""

    kind: WeightKind
    layer: int | None
    """None outside of the layers."""
    name: str
    """Of the parameter; "model.layers.0.self_attn.q_proj.weight"."""
    parameter: Tensor
    rows: Rows
    """Of its outputs."""
    outputs_last: bool
    """Whether the parameter is stored (inputs, outputs)."""

    @property
    def shape(self) -> torch.Size:
        """Outputs first."""
        return self._view()[self.rows].shape

    @property
    def has_rank(self) -> bool:
        """Whether it is a matrix, and none as long as the vocabulary: its rank takes minutes."""
        return len(self.shape) == 2 and self.kind != "embedding"

    def read(self) -> Tensor:
        """A copy, outputs first."""
        return self._view()[self.rows].clone()

    @torch.no_grad()
    def write(self, values: Tensor) -> None:
        """Put others in their place."""
        self._view()[self.rows] = values.to(self.parameter)

    def _view(self) -> Tensor:
        weight = self.parameter.detach()
        return weight.T if self.outputs_last else weight


def weight_parts(model: Model) -> list[WeightPart]:
    """Every weight once, in the order of the parameters. ModelError for a spread model."""
    wiring, module = model.wiring, model.module
    if any(type(one).__name__ == "DTensor" for one in module.parameters()):
        raise ModelError("weights that are spread over processes cannot be exchanged; use one")
    fused = _fused(wiring)
    found = []
    for name, parameter in module.named_parameters():
        owner, _, _ = name.rpartition(".")
        of_conv = type(module.get_submodule(owner)).__name__ == "Conv1D" and parameter.ndim == 2
        kind, layer = _place(wiring, name)
        whole: list[tuple[WeightKind, Rows]] = [(kind, slice(None))]
        for one, rows in fused.get(owner, whole):
            found.append(WeightPart(one, layer, name, parameter, rows, of_conv))
    return found


def _place(wiring: Wiring, name: str) -> tuple[WeightKind, int | None]:
    paths = wiring.paths
    for layer in range(wiring.n_layers):
        within = name.removeprefix(f"{paths.layer.format(layer)}.")
        if within != name:
            return _kind(wiring, within), layer
    return ("norm" if name.startswith(f"{paths.final_norm}.") else "embedding"), None


def _kind(wiring: Wiring, within: str) -> WeightKind:
    """Of a weight by its path in its layer; projections are none of its business when fused."""
    paths = wiring.paths
    if within.startswith(f"{paths.mlp}."):
        return "MLP"
    if not within.startswith(f"{paths.attention}."):
        return "norm"
    module = within.removeprefix(f"{paths.attention}.").partition(".")[0]
    return "VO" if module in ("v_proj", wiring.attention_output) else "QK"


def _fused(wiring: Wiring) -> dict[str, list[tuple[WeightKind, Rows]]]:
    """Modules that make queries, keys and values at once: which rows are which."""
    paths = {id(one): path for path, one in wiring.module.named_modules()}
    found: dict[str, list[tuple[WeightKind, Rows]]] = {}
    which: tuple[tuple[Projected, WeightKind], ...] = (("q", "QK"), ("k", "QK"), ("v", "VO"))
    for layer in range(wiring.n_layers):
        attention: Any = wiring.submodule(layer, wiring.paths.attention)
        made = [(wiring.projection(attention, one), kind) for one, kind in which]
        if len({id(linear) for (linear, _), _ in made}) == 1:
            path = paths[id(made[0][0][0])]
            found[path] = [(kind, rows) for (_, rows), kind in made]
    return found


@contextmanager
def exchanged(
    into: Sequence[WeightPart],
    donor: Sequence[WeightPart],
    chosen: Callable[[WeightPart], bool],
) -> Iterator[None]:
    """Within, some parts of a model are those of another; `into` and `donor` correspond."""
    pairs = [(own, other) for own, other in zip(into, donor, strict=True) if chosen(own)]
    kept = [own.read() for own, _ in pairs]
    try:
        for own, other in pairs:
            own.write(other.read())
        yield
    finally:
        for (own, _), values in zip(pairs, kept, strict=True):
            own.write(values)
