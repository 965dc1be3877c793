"""Does a wiring describe its model? The frozen linear maps against the model's own pass.

From what was captured before each part, the wiring's maps must give what was captured after it,
layer by layer: a norm weight read wrongly or a projection cut wrongly shows here, whatever the
dictionary. It is the conservation check of method.md section 3 for the model itself.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from circuit_tracer.errors import ModelError
from circuit_tracer.models.capture import Capture
from circuit_tracer.models.frozen import fold_attention, freeze_attention
from circuit_tracer.models.wiring import Wiring

LARGEST_MISS = {torch.float64: 1e-5, torch.float32: 1e-3}
"""A wrong wiring misses by tenths; float64 attention patterns are rounded to float32 by most
families, and random weights amplify."""
LOGITS_AT = 4
"""Last positions whose logits are compared: one map gives all, and a vocabulary is wide."""


class Miss(NamedTuple):
    """How far one part of the wiring is from the model."""

    part: str
    """"attention of layer 3", ..."""
    share: float
    """Largest difference over the largest value."""


def check_wiring(capture: Capture, wiring: Wiring) -> Miss:
    """The worst part; raises ModelError, naming it and the family, if it misses by too much."""
    misses = _misses(capture, wiring)
    worst = max(misses, key=lambda miss: math.inf if math.isnan(miss.share) else miss.share)
    tolerance = LARGEST_MISS.get(capture.resid_final.dtype, 1e-1)
    if not worst.share <= tolerance:  # also for NaN
        raise ModelError(
            f"this model was taken for one of the {wiring.family} family, but its {worst.part} "
            f"comes out wrong by a share of {worst.share:.1g}; it computes something that "
            "circuit_tracer/models/families.py does not describe, so its graphs would be wrong"
        )
    return worst


def _misses(capture: Capture, wiring: Wiring) -> list[Miss]:
    found = []
    for layer in range(wiring.n_layers):
        pre, mid = capture.resid_pre[layer], capture.resid_mid[layer]
        attended = pre + freeze_attention(capture, fold_attention(wiring, layer), layer).add(pre)
        norm = wiring.norm("mlp_norm", layer)
        stream = pre if wiring.parallel else attended
        read = stream if norm is None else norm.freeze(stream).apply(stream)
        added = wiring.mlp_added(layer, capture.mlp_out[layer])
        last = layer + 1 == wiring.n_layers
        after = capture.resid_final if last else capture.resid_pre[layer + 1]
        found += [
            _miss(f"stream before the MLP of layer {layer}", stream, mid),
            _miss(f"MLP input of layer {layer}", read, capture.mlp_in[layer]),
            _miss(f"output of layer {layer}", attended + added, after),
        ]
    stream = capture.resid_final[-LOGITS_AT:]
    final = wiring.final_norm().freeze(stream).apply(stream)
    logits, bias = final @ wiring.unembedding().T, wiring.unembedding_bias()
    theirs = capture.logits[-LOGITS_AT:]
    found.append(_miss("logits", logits if bias is None else logits + bias, theirs))
    return found


def _miss(part: str, ours: Float[Tensor, "T n"], theirs: Float[Tensor, "T n"]) -> Miss:
    largest = theirs.abs().max().clamp_min(torch.finfo(theirs.dtype).tiny)
    return Miss(part, float((ours - theirs).abs().max() / largest))
