"""What attention and MLPs write at each prompt's object.

Shapes: n prompts, d model width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from circuit_tracer.experiments.dissociation.items import Ask
from circuit_tracer.experiments.dissociation.study import Study
from circuit_tracer.experiments.kit.edits import Written, WrittenAt
from circuit_tracer.experiments.kit.passes import spans, token_ids


@torch.no_grad()
def written_at_objects(study: Study, asks: Sequence[Ask]) -> dict[Written, Float[Tensor, "n d"]]:
    """By module of every layer."""
    model = study.model
    outputs: dict[Written, Tensor] = {}
    for rows in spans(model, asks):
        at = torch.tensor([asks[row].roles["object"] for row in rows], device=model.device)
        kept = WrittenAt(at)
        model.edited(token_ids(model, asks, rows), kept, positions=at[:1])
        for module, written in kept.kept.items():
            if module not in outputs:
                outputs[module] = written.new_zeros(len(asks), model.d_model)
            outputs[module][rows] = written
    return outputs
