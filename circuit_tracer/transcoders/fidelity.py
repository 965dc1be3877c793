"""Does a dictionary respond to a change as the MLP does? Its Jacobian along directions, by layer.

At a token, J v is how the MLP's output changes when what is read there moves along a unit direction
v (`models/mlp_map.py`), D v how the dictionary's does, the same features staying active. The
cosine of the two, and |J v - D v| / |J v|, as medians over tokens. Directions:

* dec: the decoder row of a feature of an earlier layer that is active at the same token: what an
  ablation there changes (none for the first layer);
* data: the difference between what is read here and at another token of the text;
* iso: one drawn evenly from the residual stream.

A cross-layer dictionary's features respond in every layer that sees the direction (at unit length
in each), and what they write together at a layer is compared with that layer's MLP. With data, each
layer sees its own difference between the same two tokens.
Source: method.md section 13.

Shapes: L layers, N tokens, d model width, F features.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuit_tracer.models import Model
from circuit_tracer.models.mlp_map import MlpMap, mlp_map
from circuit_tracer.models.parts import RESIDUAL
from circuit_tracer.transcoders.dictionary import Dictionary, reading_point

Along = Literal["dec", "data", "iso"]
"""A kind of direction."""
DIRECTIONS: tuple[Along, ...] = get_args(Along)
TOKENS = 1024
"""Tokens looked at."""
TOKENS_A_GROUP = 256
"""At most so many of one group of rows, so that they are not all of its first documents."""


@dataclass(frozen=True)
class Response:
    """How near the dictionary's response to a change is to the MLP's, medians over tokens."""

    cosine: float
    """Of D v with J v; NaN where nothing is upstream."""
    error: float
    """|J v - D v| / |J v|."""


Responses = dict[Along, Response]
"""By kind of direction."""


class Sample:
    """Some tokens of a text that goes by group by group."""

    def __init__(self) -> None:
        self.parts: list[Tensor] = []
        self.generator = torch.Generator(device="cpu").manual_seed(0)

    def add(self, inputs: Float[Tensor, "L N d"]) -> None:
        """Take some tokens of a group, as long as there are too few."""
        count = min(TOKENS_A_GROUP, TOKENS - sum(part.shape[1] for part in self.parts))
        if count > 0:
            order = torch.randperm(inputs.shape[1], generator=self.generator, device="cpu")
            self.parts.append(inputs[:, order[:count].to(inputs.device)])

    @property
    def inputs(self) -> Float[Tensor, "L N d"]:
        """What was read at them."""
        return torch.cat(self.parts, 1)


@torch.no_grad()
def fidelity(
    model: Model, dictionary: Dictionary, inputs: Float[Tensor, "L N d"], *, seed: int = 0
) -> dict[int, Responses]:
    """By layer with features, from what the dictionary reads at some tokens.

    Raises DictionaryError for a sparse autoencoder, which stands for no MLP.
    """
    reads = reading_point(dictionary.identity.name, dictionary.reads)
    assert dictionary.writes != RESIDUAL
    dtype = dictionary.layers[0].W_enc.dtype
    maps = [
        mlp_map(model.wiring, layer, reads, dictionary.writes, dtype)
        for layer in range(dictionary.n_layers)
    ]
    generator = torch.Generator(device="cpu").manual_seed(seed)
    found: dict[int, Responses] = {layer: {} for layer in dictionary.numbers}
    inputs = inputs.to(dtype)
    active = [t.encode(x) != 0 for t, x in zip(dictionary.layers, inputs, strict=True)]
    for along in DIRECTIONS:
        drawn = _directions(along, dictionary, maps, inputs, active, generator)
        moves = list(_moves(dictionary, inputs, active, drawn))
        for layer in dictionary.numbers:
            wanted = maps[layer].jvp(inputs[layer], drawn[layer])
            found[layer][along] = _compared(wanted, moves[layer])
    return found


def _directions(
    along: Along,
    dictionary: Dictionary,
    maps: Sequence[MlpMap],
    inputs: Float[Tensor, "L N d"],
    active: Sequence[Tensor],
    generator: torch.Generator,
) -> Float[Tensor, "L N d"]:
    """Unit directions of what is read; zero where there is none."""
    if along == "data":
        return _unit(
            inputs - inputs[:, torch.randperm(inputs.shape[1], generator=generator, device="cpu")]
        )
    if along == "iso":
        return _unit(evenly_drawn(maps, inputs[0], generator))
    rows = []
    for transcoder, on in zip(dictionary.layers, active, strict=True):
        if not transcoder.n_features:
            rows.append(torch.zeros_like(inputs[0]))
            continue
        index = any_active(on, generator)
        fires = on.gather(1, index[:, None])
        rows.append(transcoder.decoder_rows(index, transcoder.layer) * fires)
    clt = dictionary.kind == "clt"
    return _unit(from_upstream(maps, torch.stack(rows), generator, together=clt))


def _moves(
    dictionary: Dictionary,
    inputs: Float[Tensor, "L N d"],
    active: Sequence[Tensor],
    along: Float[Tensor, "L N d"],
) -> Iterator[Float[Tensor, "N d"]]:
    """By layer, how what the dictionary writes there changes."""
    rates = [
        (v @ t.W_enc.T) * on for t, v, on in zip(dictionary.layers, along, active, strict=True)
    ]
    for written, transcoder in enumerate(dictionary.layers):
        moved = transcoder.skip(along[written])
        for reading, rate in zip(dictionary.layers[: written + 1], rates, strict=False):
            if written < reading.layer + reading.n_written and reading.n_features:
                moved = moved + reading.write(rate, written)
        yield moved


def _unit(vectors: Float[Tensor, "*places d"]) -> Float[Tensor, "*places d"]:
    return torch.nn.functional.normalize(vectors, dim=-1)


def _compared(wanted: Float[Tensor, "N d"], found: Float[Tensor, "N d"]) -> Response:
    """Over the tokens at which the MLP responds at all."""
    size = wanted.norm(dim=-1)
    there = size > 0
    if not bool(there.any()):
        return Response(math.nan, math.nan)
    wanted, found, size = wanted[there].float(), found[there].float(), size[there].float()
    cosines = torch.nn.functional.cosine_similarity(wanted, found, dim=-1)
    errors = (wanted - found).norm(dim=-1) / size
    return Response(float(cosines.median()), float(errors.median()))


def evenly_drawn(
    maps: Sequence[MlpMap], like: Float[Tensor, "N d"], generator: torch.Generator
) -> Float[Tensor, "L N d"]:
    """One direction of the residual stream a token, drawn evenly, as every layer sees it."""
    stream = torch.randn(like.shape, generator=generator, device="cpu").to(like)
    return torch.stack([one.seen(stream) for one in maps])


def from_upstream(
    maps: Sequence[MlpMap],
    rows: Float[Tensor, "L N d"],
    generator: torch.Generator,
    *,
    together: bool,
) -> Float[Tensor, "L N d"]:
    """For every layer one of the earlier layers' `rows` (what they write at the same token), as the
    layer sees it; zero where there is none. `together` has one row for all layers after it."""
    L, N, d = rows.shape
    layers = torch.arange(L, device="cpu")[:, None]
    chance = torch.rand(1 if together else L, N, generator=generator, device="cpu")
    start = (chance * (L - 1 if together else layers)).long().expand(L, N)
    upstream = (start < layers).to(rows.device)[..., None]
    stream = torch.stack([one.sent(row) for one, row in zip(maps, rows, strict=True)])
    chosen = stream.gather(0, start.to(rows.device)[..., None].expand(L, N, d))
    return torch.stack([one.seen(row) for one, row in zip(maps, chosen, strict=True)]) * upstream


def any_active(on: Bool[Tensor, "N F"], generator: torch.Generator) -> Int[Tensor, "N"]:
    """The number of one of the active features, for every token; of any where none is active."""
    lot = torch.rand(on.shape, generator=generator, device="cpu").to(on.device)
    return (lot * on).argmax(-1)
