"""One prompt frozen twice: by the tool, and by the oracle, which shares no code with it.

The adapters to the sweep's own interface stand here and nowhere else in the tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from circuit_tracer.attribution.replacement import LocalReplacementModel, build_replacement
from circuit_tracer.attribution.sweep import Piece, Sweep, SweepTargets, batches
from circuit_tracer.models import Model
from circuit_tracer.models.capture import Capture
from tests.device import on_host
from tests.oracle import FrozenNetwork
from tests.tiny import random_dictionary, tiny_model

PROMPT = "the banana is yellow yes a lemon is blue"


@dataclass(frozen=True)
class Frozen:
    """A model, one pass, and the two frozen models made from it."""

    model: Model
    capture: Capture
    replacement: LocalReplacementModel
    network: FrozenNetwork


@cache
def captured(family: str, dtype: torch.dtype, **options: Any) -> tuple[Model, Capture]:
    """A tiny model and its pass; made once."""
    model = tiny_model(family, dtype=dtype, **options)
    return model, model.capture(model.tokenize(PROMPT))


def frozen(
    family: str = "llama",
    *,
    dtype: torch.dtype = torch.float64,
    n_zeroed: int = 1,
    model_options: dict[str, Any] | None = None,
    dictionary: Any = None,
    **options: Any,
) -> Frozen:
    """`options` are those of `random_dictionary`, unless a dictionary is given."""
    of_model = tuple((model_options or {}).items())
    return _frozen(family, dtype, n_zeroed, of_model, dictionary, tuple(options.items()))


@cache
def _frozen(
    family: str,
    dtype: torch.dtype,
    n_zeroed: int,
    model_options: tuple[tuple[str, Any], ...],
    dictionary: Any,
    options: tuple[tuple[str, Any], ...],
) -> Frozen:
    """Made once for all tests of a process: they read it."""
    model, capture = captured(family, dtype, **dict(model_options))
    given = dict(options)
    chosen = random_dictionary(model, **given) if dictionary is None else dictionary(model)
    return Frozen(
        model,
        capture,
        build_replacement(capture, model.wiring, chosen, n_zeroed=n_zeroed),
        FrozenNetwork(model.module, capture.token_ids, chosen, n_zeroed=n_zeroed),
    )


def feature_targets(replacement: LocalReplacementModel, numbers: Tensor) -> SweepTargets:
    """Active features by number."""
    numbers = numbers.to(replacement.embeddings.device)
    places = replacement.features.at(numbers)
    return SweepTargets(places.layer, places.position, replacement.linear_rows(places)[0])


def logit_targets(
    model: Model, replacement: LocalReplacementModel, position: Tensor, token: Tensor
) -> SweepTargets:
    """Single logits, one for each pair of position and token."""
    position, token = position.to(model.device), token.to(model.device)
    vectors = replacement.final.pull(model.unembedding[token], position)
    return SweepTargets(torch.full_like(position, replacement.n_layers), position, vectors)


def every_target(
    model: Model, replacement: LocalReplacementModel, *, step: int = 1
) -> SweepTargets:
    """Every vocabulary row (or every so many) at every position, then all active features."""
    position, token = every_logit(model, replacement.n_tokens, step=step)
    logits = logit_targets(model, replacement, position, token)
    features = feature_targets(replacement, torch.arange(len(replacement.features)))
    return SweepTargets(
        torch.cat([logits.level, features.level]),
        torch.cat([logits.position, features.position]),
        torch.cat([logits.vector, features.vector]),
    )


def every_logit(model: Model, n_tokens: int, *, step: int = 1) -> tuple[Tensor, Tensor]:
    """Positions and tokens of all logits, or of those of every so many tokens."""
    tokens = torch.arange(0, len(model.unembedding), step)
    return torch.arange(n_tokens).repeat_interleave(len(tokens)), tokens.repeat(n_tokens)


def dense_rows(
    replacement: LocalReplacementModel,
    targets: SweepTargets,
    batch: int = 64,
    walk: Sweep | None = None,
) -> Tensor:
    """(targets, columns) of the sweep, zeros outside the causal cones."""
    walk = walk or Sweep(replacement)
    dense = on_host(targets.vector).new_zeros(len(targets), walk.columns.count)
    for some in batches(targets, batch):
        pieces: list[Piece] = []
        walk.walk(targets, some, pieces.append)
        for piece in pieces:
            b, n = piece.weight.shape
            dense[some.rows[:b], piece.first : piece.first + n] += on_host(piece.weight)
    return dense


def off(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference relative to the largest value."""
    ours, theirs = on_host(ours), on_host(theirs)
    return float((ours - theirs).abs().max() / theirs.abs().max())
