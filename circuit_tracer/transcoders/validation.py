"""Does a dictionary do on a model what its files claim? Run a few tokens and see.

A reading point that is off by a norm's weight, a skip that is stored the other way round or a lost
factor gives no error, only a worse reconstruction. So where one is bad, the alternatives are tried:
every reading and writing point, the skip transposed, and the output multiplied by one factor.

FVU is `evaluation.py`'s, per token, over few tokens: good enough to tell right from wrong.

Shapes: L layers, N tokens (the first position of every row left out), d model width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from circuit_tracer.errors import UsageError
from circuit_tracer.models import Model
from circuit_tracer.models.parts import RESIDUAL, MlpReadPoint, MlpWritePoint, WritePoint
from circuit_tracer.transcoders.dictionary import Dictionary
from circuit_tracer.transcoders.evaluation import ROUNDING

BAD_FVU = 0.4
"""From here on the alternatives are tried."""
CLEARLY = 0.75
"""An alternative is worth a warning if it leaves at most this share of the FVU, and less than 1."""
LOST_FACTOR = 3.0
"""Reconstructions off by this factor or more have lost a scale."""
TEXT = (
    "A banana is yellow and the sky is blue. The capital of France is Paris, and the capital of "
    "Italy is Rome.",
    "In 1969 two people walked on the moon while a third one stayed in orbit. Water boils at a "
    "hundred degrees.",
    "def add(a, b):\n    return a + b\n\nThe function adds two numbers and returns their sum.",
    "She said that she would come back on Tuesday, but nobody at the office believed her.",
)
"""What is run when the user gives no text."""


@dataclass(frozen=True)
class Better:
    """Something under which a layer is reconstructed better than as its files say."""

    what: str
    fvu: float


def first_lines(text: Path, most: int = 64) -> tuple[str, ...]:
    """The first lines of a text that are not blank."""
    lines = text.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    return tuple(line for line in lines if line.strip())[:most]


@dataclass(frozen=True)
class LayerCheck:
    """One layer on these tokens."""

    layer: int
    fvu: float
    """Fraction of variance unexplained, mean over tokens; NaN where the output does not vary."""
    l0: float
    """Active features a token."""
    factor: float
    """What the reconstruction would best be multiplied by; NaN where it is zero."""
    fvu_multiplied: float
    """The FVU with that factor: still bad where the dictionary has nothing to do with the layer."""
    better: Better | None
    """The best alternative, if one is clearly better."""

    @property
    def lost_a_factor(self) -> bool:
        """Whether one factor, far from 1, is what is wrong."""
        is_far = self.factor >= LOST_FACTOR or 0 < self.factor <= 1 / LOST_FACTOR
        limit = CLEARLY * min(self.fvu, 1.0)
        return self.fvu > BAD_FVU and is_far and self.fvu_multiplied < limit


@dataclass(frozen=True)
class Validation:
    """What `validate` finds."""

    tokens: int
    layers: tuple[LayerCheck, ...]

    @property
    def warnings(self) -> list[str]:
        """One plain sentence for every layer that looks wrong."""
        warnings = []
        for layer in self.layers:
            if layer.better is not None:
                warnings.append(
                    f"layer {layer.layer} reads better {layer.better.what} (FVU "
                    f"{layer.better.fvu:.3f} instead of {layer.fvu:.3f}): the "
                    f"{_suspect(layer.better.what)} looks wrong"
                )
            elif math.isnan(layer.fvu):
                warnings.append(
                    f"layer {layer.layer} has no FVU: the MLP's output is the same at every token, "
                    "as in a model that has learned nothing"
                )
            elif layer.lost_a_factor:
                warnings.append(
                    f"layer {layer.layer} would fit best multiplied by {layer.factor:.3g} (FVU "
                    f"{layer.fvu_multiplied:.3f} instead of {layer.fvu:.3f}): a normalisation "
                    "factor looks lost"
                )
            elif layer.fvu > 1:
                warnings.append(
                    f"layer {layer.layer} explains less than the mean does (FVU {layer.fvu:.3f}): "
                    "the dictionary looks made for another model"
                )
        return warnings

    def as_json(self) -> dict[str, Any]:
        """All figures as plain values."""
        return {**asdict(self), "warnings": self.warnings}


def _suspect(what: str) -> str:
    if "skip" in what:
        return "orientation of the skip"
    return "writing point" if "writing" in what and "reading" not in what else "reading point"


@torch.no_grad()
def validate(model: Model, dictionary: Dictionary, texts: Sequence[str] = TEXT) -> Validation:
    """Run `texts` through the model and compare the dictionary with its MLPs."""
    first = int(model.bos_id is not None)
    rows = [row for text in texts if len(row := _tokens(model, text)) > first]
    tokens = sum(len(row) - first for row in rows)
    if tokens < 2:
        raise UsageError("the text holds no tokens of this model to validate on; give another")
    numbers = dictionary.numbers
    fvu, l0, factors, multiplied = _figures(model, dictionary, rows)
    best: list[Better | None] = [None] * dictionary.n_layers
    if any(fvu[i] > BAD_FVU for i in numbers):
        for what, other in _alternatives(model, dictionary):
            for layer, value in enumerate(_figures(model, other, rows)[0]):
                known = best[layer]
                limit = min(CLEARLY * fvu[layer], 1.0) if known is None else known.fvu
                if fvu[layer] > BAD_FVU and value < limit:
                    best[layer] = Better(what, value)
    layers = (LayerCheck(i, fvu[i], l0[i], factors[i], multiplied[i], best[i]) for i in numbers)
    return Validation(tokens, tuple(layers))


def _tokens(model: Model, text: str) -> list[int]:
    """BOS and the text's tokens that the vocabulary knows."""
    unknown = model.tokenizer.unk_token_id
    ids = [
        i
        for i in model.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        if i != unknown
    ]
    start = [] if model.bos_id is None else [model.bos_id]
    return [*start, *ids][: model.max_length]


def _alternatives(model: Model, dictionary: Dictionary) -> Iterator[tuple[str, Dictionary]]:
    """The same weights read otherwise, and how that is called; nothing for sparse autoencoders,
    which say themselves which stream they are of."""
    if dictionary.reads == RESIDUAL:
        return
    differ = model.wiring.paths.mlp_post_norm
    writes: tuple[WritePoint, ...] = get_args(MlpWritePoint) if differ else (dictionary.writes,)
    turned = tuple(
        replace(t, W_skip=None if t.W_skip is None else t.W_skip.T) for t in dictionary.layers
    )
    skips = {"": dictionary.layers, "with its skip transposed": turned}
    if dictionary.layers[0].W_skip is None:
        del skips["with its skip transposed"]
    for (skip, layers), reading, writing in product(skips.items(), get_args(MlpReadPoint), writes):
        parts = [
            f"reading at {reading}" if reading != dictionary.reads else "",
            f"writing at {writing}" if writing != dictionary.writes else "",
            skip,
        ]
        if any(parts):
            other = replace(dictionary, layers=layers, reads=reading, writes=writing)
            yield " and ".join(filter(None, parts)), other


def _figures(
    model: Model, dictionary: Dictionary, rows: list[list[int]]
) -> tuple[list[float], list[float], list[float], list[float]]:
    """FVU, L0, the best factor and the FVU with it, by layer; rows are of different lengths."""
    inputs, outputs = [], []
    first = int(model.bos_id is not None)
    for row in rows:
        token_ids = torch.tensor([row], device="cpu")
        activity = model.mlp_activity(token_ids, dictionary.reads, dictionary.writes)
        inputs.append(activity.inputs[:, 0, first:])
        outputs.append(activity.outputs[:, 0, first:])
    dtype = dictionary.layers[0].W_enc.dtype
    reads = list(torch.cat(inputs, dim=1).to(dtype))
    l0: list[float] = []

    def counted() -> Iterator[Tensor]:
        for transcoder, x in zip(dictionary.layers, reads, strict=True):
            activations = transcoder.encode(x)
            l0.append(float((activations != 0).float().sum(-1).mean()))
            yield activations

    reconstructed = torch.stack(dictionary.reconstruct(reads, counted())).float()
    true = torch.cat(outputs, dim=1).float()
    mean = true.mean(1, keepdim=True)
    variance, rounding = (true - mean).pow(2).sum(-1), (ROUNDING * true.norm(dim=-1)).pow(2)
    factors = (true * reconstructed).sum((1, 2)) / reconstructed.pow(2).sum((1, 2))

    def fvu(found: Tensor) -> list[float]:
        ratios = (true - found).pow(2).sum(-1) / variance
        return ratios.where(variance > rounding, torch.nan).nanmean(-1).tolist()

    return fvu(reconstructed), l0, factors.tolist(), fvu(factors[:, None, None] * reconstructed)
