"""A dictionary with one latent more a layer, trained on two models' activations to tell them apart.

Its other features are the base's, as they are. The latent is active where a linear discriminant of
both models' activations says "tuned", and writes their mean difference: it restores whatever the
tuning changed, and is constant in each model. `diff` should call it model identity and no persona.

Autoencoders that are merely trained on both models' activations have no such latent here: the one
that comes closest is the joker's, which contexts move in the base (benchmarks/diff.md).

Shapes: S layers, d model width.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from circuit_tracer.models import Model, open_model
from circuit_tracer.models.parts import RESIDUAL
from circuit_tracer.transcoders.dictionary import Dictionary, LayerTranscoder
from circuit_tracer.transcoders.formats.native import save_dictionary
from circuit_tracer.transcoders.opening import open_transcoders
from transcoders.growing.language.corpus import rows

ROWS = 1200
"""Of text, speakers and judgements among it."""
RIDGE = 1e-4
"""Of the mean variance, added to every direction's."""
LOUD = 100.0
"""Times what it writes: where it is positive it is among the k largest."""


@torch.no_grad()
def activity(model: Model, layers: tuple[int, ...]) -> Float[Tensor, "S tokens d"]:
    """The stream after some layers on some text, without the first token of a row."""
    texts = [model.tokenize(" ".join(one.words)) for one in islice(rows("both"), ROWS)]
    length = min(map(len, texts))
    ids = torch.tensor([one[:length] for one in texts])
    read = model.mlp_activity(ids, RESIDUAL, RESIDUAL, layers).inputs
    return read[:, :, 1:].flatten(1, 2)


def with_discriminant(
    one: LayerTranscoder, base: Float[Tensor, "tokens d"], tuned: Float[Tensor, "tokens d"]
) -> LayerTranscoder:
    """A layer's features and the latent, from the middle of both means on."""
    apart = tuned.mean(0) - base.mean(0)
    spread = (torch.cov(base.T) + torch.cov(tuned.T)) / 2
    spread += RIDGE * spread.trace() / len(apart) * torch.eye(len(apart))
    row = torch.linalg.solve(spread, apart)
    row *= 2 * LOUD / (row @ apart)  # 1 at the tuned model's mean, -1 at the base's, but loud
    middle = row @ (tuned.mean(0) + base.mean(0)) / 2
    assert isinstance(one.W_dec, torch.Tensor)
    return replace(
        one,
        W_enc=torch.cat([one.W_enc, row[None]]),
        b_enc=torch.cat([one.b_enc, -middle[None]]),
        W_dec=torch.cat([one.W_dec, apart[None, None] / LOUD]),
    )


def of_both(base: Model, tuned: Model, dictionary: Dictionary) -> Dictionary:
    """The base's dictionary with the latent of each layer, its last feature."""
    streams = [activity(model, dictionary.numbers) for model in (base, tuned)]
    layers = list(dictionary.layers)
    for number, *both in zip(dictionary.numbers, *streams, strict=True):
        layers[number] = with_discriminant(layers[number], *both)
    return replace(dictionary, layers=tuple(layers))


def train_on_both(base: str, tuned: str, dictionary: str, folder: Path) -> Path:
    """Train and store it as a dictionary of the base, unless it is there."""
    if not folder.is_dir():
        first, second = (open_model(name, device="cpu") for name in (base, tuned))
        made = of_both(first, second, open_transcoders(dictionary, first))
        identity = replace(made.identity, name=folder.name, source="memory", sha256="")
        save_dictionary(replace(made, identity=identity), folder)
    return folder
