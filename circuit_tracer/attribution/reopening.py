"""Freeze the prompt of a finished graph once more, to ask what the graph does not hold.

A graph's nodes are places (layer, position, feature), so nothing but the forward pass and the
encoding is done again.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from circuit_tracer.attribution.replacement import (
    LocalReplacementModel,
    build_replacement,
    check_fits,
)
from circuit_tracer.errors import GraphFileError
from circuit_tracer.graphs.graph import GraphInfo
from circuit_tracer.models import Model
from circuit_tracer.models.capture import Capture
from circuit_tracer.models.check import check_wiring
from circuit_tracer.transcoders.neurons import AnyDictionary


@dataclass(frozen=True)
class FrozenPrompt:
    """One prompt's pass and the local replacement model around it."""

    capture: Capture
    replacement: LocalReplacementModel


@torch.no_grad()
def freeze_again(model: Model, dictionary: AnyDictionary, info: GraphInfo) -> FrozenPrompt:
    """What a graph was traced from, up to the last position that it explains.

    `model` and `dictionary` must be those of the graph. Raises GraphFileError when the graph does
    not say how many leading positions were zeroed or has no token ids (an imported one).
    """
    zeroed = info.settings.get("zeroed_positions")
    if not isinstance(zeroed, int) or not info.token_ids:
        raise GraphFileError(
            "this graph does not say how it was traced, so its prompt cannot be run again; give a "
            "folder that circuit-tracer trace wrote"
        )
    check_fits(dictionary, model.wiring)
    last = max(target.position for target in info.targets)
    capture = model.capture(list(info.token_ids), last + 1)
    check_wiring(capture, model.wiring)
    replacement = build_replacement(capture, model.wiring, dictionary, n_zeroed=zeroed)
    return FrozenPrompt(capture, replacement)
