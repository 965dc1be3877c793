"""Run the prompt of a finished graph again, to ask what the graph does not contain.

A graph's nodes are places (layer, position, feature), so nothing but the forward pass and the
encoding is done again.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch

from circuit_tracer.attribution.replacement import (
    LocalReplacementModel,
    build_replacement,
)
from circuit_tracer.attribution.resources import products
from circuit_tracer.errors import GraphFileError, UsageError
from circuit_tracer.graphs.graph import GraphInfo
from circuit_tracer.models import Model
from circuit_tracer.models.capture import Capture
from circuit_tracer.models.check import check_wiring
from circuit_tracer.transcoders.dictionary import check_fits
from circuit_tracer.transcoders.neurons import AnyDictionary

SAME = 1e-3
"""Share of the largest logit that another device or number format may change."""


class FrozenPrompt(NamedTuple):
    """One prompt's pass and the local replacement model around it."""

    capture: Capture
    replacement: LocalReplacementModel


@products()
@torch.no_grad()
def freeze_again(model: Model, dictionary: AnyDictionary, info: GraphInfo) -> FrozenPrompt:
    """What a graph was traced from, up to the last position that it explains.

    `model` and `dictionary` must be those of the graph. Raises GraphFileError when the graph does
    not say how many leading positions were zeroed or has no token ids (an imported one), UsageError
    when the model gives its targets other logits.
    """
    zeroed = info.settings.get("zeroed_positions")
    if not isinstance(zeroed, int) or not info.token_ids:
        raise GraphFileError(
            "this graph does not say how it was traced, so its prompt cannot be run again; give a "
            "folder that circuit-tracer trace wrote"
        )
    check_fits(dictionary.identity.name, dictionary.shape, model)
    capture = model.capture(list(info.token_ids), _n_explained(info))
    check_wiring(capture, model.wiring)
    check_logits(info, capture)
    replacement = build_replacement(capture, model.wiring, dictionary, n_zeroed=zeroed)
    return FrozenPrompt(capture, replacement)


def check_same(
    info: GraphInfo, model: Model, dictionary: AnyDictionary, *, instead: tuple[str, ...] = ()
) -> None:
    """Raise UsageError where model or dictionary have other weights than the graph's.

    The dictionary may also be of a kind in `instead`, which the graph says nothing of: "sae", a
    sparse autoencoder of the residual stream; "neurons", the model's own.
    """
    sides = [("model", "`model`", info.model, model.identity)]
    if dictionary.kind not in instead:
        sides.append(("dictionary", "`transcoders`", info.dictionary, dictionary.identity))
    for what, flag, theirs, ours in sides:
        if theirs.sha256 and theirs.sha256 != ours.sha256:
            raise UsageError(
                f"the graph was traced with another {what} ({theirs.name}, sha256 "
                f"{theirs.sha256[:12]}) than {ours.name} ({ours.sha256[:12] or 'unknown'}); give "
                f"the same with {flag}, or trace the prompt again"
            )


def check_logits(info: GraphInfo, capture: Capture) -> None:
    """Raise UsageError where the prompt's pass does not give the graph's targets their logits.

    Weights in memory have no hash to compare, and may have been trained since.
    """
    allowed = SAME * max(1.0, float(capture.logits.abs().max()))
    for target in info.targets:
        if target.direction is not None or not math.isfinite(target.logit):
            continue  # no logit, or a graph JSON, which has none
        first, *rest = (capture.logits[target.position, token] for token in target.vocabulary_ids)
        value = float(first - sum(rest))
        if abs(value - target.logit) > allowed:
            raise UsageError(
                f'the model gives "{target.token}" {value:.4g} where the graph has '
                f"{target.logit:.4g}, so its weights are not those that the graph was traced with; "
                "give the same model, or trace the prompt again"
            )


def prompt_ids(info: GraphInfo, model: Model) -> list[int]:
    """The graph's prompt as tokens, as many as have to be run, chat template included.

    Raises UsageError when this tokenizer makes other tokens of it than the graph has.
    """
    settings: Any = info.settings
    ids = model.tokenize(
        info.prompt, chat=bool(settings.get("chat", False)), system=settings.get("system")
    )
    if info.token_ids and tuple(ids) != tuple(info.token_ids):
        raise UsageError(
            f"{model.identity.name} makes other tokens of the prompt than the graph has; trace the "
            "prompt again"
        )
    return model.needed(ids, _n_explained(info))


def _n_explained(info: GraphInfo) -> int:
    return max(target.position for target in info.targets) + 1
