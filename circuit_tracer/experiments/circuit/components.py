"""What a circuit is made of, and a pass of the real model in which the rest of it is ablated.

Components are features of a dictionary or neurons, and with them the channels of attention's heads:
each is one thing at all positions. A component with mask m has the activation m a + (1 - m) r in
place of its own a; r is what it is ablated to. Its own activation is that of this very pass, so
what lies above an ablated one computes from what is left. All else in a layer's output stays: of
transcoders that is the error and the skip, of attention the biases. The first positions that graphs
leave out, BOS, are kept.

Shapes: B rows, T tokens, N components, F components of a block, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuit_tracer.errors import DictionaryError
from circuit_tracer.models import Model
from circuit_tracer.models.parts import Place
from circuit_tracer.transcoders.decoders import DecoderFile
from circuit_tracer.transcoders.dictionary import LayerTranscoder, reading_point
from circuit_tracer.transcoders.neurons import AnyDictionary, NeuronLayer

Kind = Literal["feature", "channel"]


class Block(NamedTuple):
    """Neighbouring components: the features of a layer, or the channels of its heads."""

    kind: Kind
    layer: int
    size: int
    start: int
    """Number of its first component among all."""

    @property
    def span(self) -> slice:
        """Its components among all."""
        return slice(self.start, self.start + self.size)


@dataclass(frozen=True)
class Components:
    """All components of a model in one numbering: features by layer, then channels by layer."""

    model: Model
    dictionary: AnyDictionary
    channels: bool
    """Whether attention's are among them; otherwise attention is whole."""
    n_zeroed: int = 1
    """First positions at which nothing is ablated."""

    def __post_init__(self) -> None:
        """Raise DictionaryError for a dictionary whose features cannot be masked one by one."""
        named = self.dictionary.identity.name
        reading_point(named, self.dictionary.reads)
        if any(isinstance(getattr(t, "W_dec", None), DecoderFile) for t in self.dictionary.layers):
            raise DictionaryError(
                f"the decoders of {named} are larger than memory allows; give a smaller set, or "
                "`basis` neurons"
            )

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """In the order of their numbers."""
        wiring = self.model.wiring
        layers: Sequence[LayerTranscoder | NeuronLayer] = self.dictionary.layers
        sizes: list[tuple[Kind, int, int]] = [
            ("feature", layer, one.n_features) for layer, one in enumerate(layers)
        ]
        if self.channels:
            width = wiring.n_heads * wiring.d_head
            sizes += [("channel", layer, width) for layer in range(wiring.n_layers)]
        starts = accumulate((size for *_, size in sizes), initial=0)
        return tuple(Block(*one, start) for one, start in zip(sizes, starts, strict=False))

    @property
    def dtype(self) -> torch.dtype:
        """Of activations."""
        return self.model.torch_dtype

    def __len__(self) -> int:
        last = self.blocks[-1]
        return last.start + last.size

    def block_of(self, number: int) -> Block:
        """Where a component is."""
        return next(one for one in self.blocks if number < one.start + one.size)

    def mask(self, numbers: Int[Tensor, "n"]) -> Bool[Tensor, "N"]:
        """Which of all are in a set."""
        chosen = torch.zeros(len(self), dtype=torch.bool, device=numbers.device)
        chosen[numbers] = True
        return chosen

    @cached_property
    def by_place(self) -> dict[tuple[Kind, int], Block]:
        """Blocks by kind and layer."""
        return {(one.kind, one.layer): one for one in self.blocks}

    @cached_property
    def output_weights(self) -> tuple[Float[Tensor, "Hh d"], ...]:
        """By layer, what a channel writes to attention's output."""
        wiring = self.model.wiring
        return tuple(
            wiring.attention_weights(layer).W_O.permute(0, 2, 1).reshape(-1, wiring.d_model)
            for layer in range(wiring.n_layers)
        )


Changing = Callable[[Block, Float[Tensor, "B T F"]], Float[Tensor, "B T F"] | None]
"""By how much a block's activations are changed; None leaves them."""


class ComponentPass:
    """Edits of a pass that reads every component and changes some."""

    def __init__(self, components: Components, change: Changing) -> None:
        self.components, self.change = components, change
        self.wiring = components.model.wiring
        self.mid: Tensor | None = None
        """The residual stream before the current MLP's norm."""
        dictionary = components.dictionary
        post_norm = self.wiring.paths.mlp_post_norm is not None
        at_norm = post_norm and dictionary.writes == "hook_mlp_out"
        self.write_place: Place = "mlp_post_norm" if at_norm else "mlp"
        self.places: tuple[Place, ...] = ("mlp_norm", "mlp", self.write_place)
        if components.channels:
            self.places = (*self.places, "attention_output")
        self.reads = reading_point(dictionary.identity.name, dictionary.reads)
        self.changes: dict[int, Tensor] = {}
        """By layer, changes of the activations of its features (B, T, F)."""

    def wants(self, place: Place, layer: int) -> bool:
        """Where components are read and written."""
        return place in self.places

    def edit(self, place: Place, layer: int, seen: Tensor, given: Tensor) -> Tensor:
        """One module's output."""
        if place == "mlp_norm":
            self.mid = seen
        if place == "attention_output":
            change = self.change(self.components.by_place["channel", layer], seen)
            written = None if change is None else change @ self.components.output_weights[layer]
            return given if written is None else given + written
        if place == "mlp":
            self._read(layer, seen)
        return self._write(layer, given) if place == self.write_place else given

    def _read(self, layer: int, mlp_in: Tensor) -> None:
        dictionary, block = self.components.dictionary, self.components.by_place["feature", layer]
        mid = mlp_in if self.mid is None else self.mid
        activation = dictionary.layers[layer].encode(
            self.wiring.read(self.reads, layer, mid, mlp_in)
        )
        change = self.change(block, activation)
        if change is not None:
            self.changes[layer] = change

    def _write(self, layer: int, given: Tensor) -> Tensor:
        for reading, change in self.changes.items():
            one = self.components.dictionary.layers[reading]
            if reading <= layer < reading + one.n_written:
                given = given + one.write(change, layer)
        if self.components.dictionary.layers[layer].n_written == 1:
            self.changes.pop(layer, None)
        return given


def masked(
    components: Components, mask: Float[Tensor, "B N"], reference: Float[Tensor, "*T N"]
) -> ComponentPass:
    """A pass that ablates what is not in the mask, to `reference`, everywhere or by position."""

    def towards(block: Block, activation: Tensor) -> Tensor | None:
        gone = 1 - mask[:, block.span]
        if not mask.requires_grad and not bool(gone.any()):
            return None
        change = gone[:, None] * (reference[..., block.span] - activation)
        first = components.n_zeroed
        return torch.cat([torch.zeros_like(change[:, :first]), change[:, first:]], 1)

    return ComponentPass(components, towards)
