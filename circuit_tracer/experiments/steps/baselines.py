"""What is measured beside total effects: attention, gradient x input in the real model, the text.

The first two give a row a token, as `FrozenTranscript.rows` does, so that `followed` makes direct
and chained shares of them in the same way.

Shapes: T tokens, n rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from circuit_tracer.experiments.steps.results import Said
from circuit_tracer.experiments.steps.rows import FrozenTranscript, Row
from circuit_tracer.graphs.graph import Floats
from circuit_tracer.models.devices import as_floats


@torch.no_grad()
def attention(frozen: FrozenTranscript, positions: Sequence[int], *, first: int = 0) -> list[Row]:
    """What the heads attend to where each token is said: their mean from layer `first` on.

    BOS, where heads that have nothing to fetch look, is left out.
    """
    layers = frozen.frozen.layers[first:]
    rows = []
    for place in positions:
        looks = [one.attention.mixing.block(place - 1, place).mean((0, 1)) for one in layers]
        rows.append(_row(frozen, place, as_floats(torch.stack(looks).mean(0))))
    return rows


def late_attention(frozen: FrozenTranscript, positions: Sequence[int]) -> list[Row]:
    """The same of the upper half of the layers."""
    return attention(frozen, positions, first=len(frozen.frozen.layers) // 2)


def gradient(frozen: FrozenTranscript, positions: Sequence[int]) -> list[Row]:
    """Gradient x input of the same targets in the model itself, nothing frozen.

    It keeps a pass with its graph: not for thousands of tokens.
    """
    if not positions:
        return []
    model = frozen.model
    ids = torch.tensor(frozen.ids[:-1], device=model.device)
    embedded = model.module.get_input_embeddings()(ids).detach().requires_grad_()
    with model.wiring.passing, torch.enable_grad():
        model.wiring.start_pass()
        logits = model.module(inputs_embeds=embedded[None], use_cache=False).logits[0]
        seen, weights = frozen.contrasts(positions)
        values = (weights.to(logits) * logits[seen.to(logits.device)]).sum(1)
    each = torch.eye(len(positions), dtype=values.dtype, device=values.device)
    (slopes,) = torch.autograd.grad(values, embedded, each, is_grads_batched=True)
    tokens = as_floats((slopes * embedded.detach()).sum(2))
    return [_row(frozen, place, row) for place, row in zip(positions, tokens, strict=True)]


def _row(frozen: FrozenTranscript, position: int, tokens: Floats) -> Row:
    whole = np.zeros(len(frozen.ids) - 1)
    whole[: len(tokens)] = tokens
    whole[: frozen.frozen.n_zeroed] = 0
    value = float(whole.sum())
    return Row(position, whole, error=0.0, constant=0.0, value=value, power=1)


BASELINES: Mapping[str, Callable[[FrozenTranscript, Sequence[int]], list[Row]]] = {
    "attention, all layers": attention,
    "attention, late layers": late_attention,
    "gradient x input": gradient,
}
TEXT: Mapping[Said, float] = {"no": 0.0, "value": 0.5, "quoted": 1.0}
"""Score of a rule that only reads: whether the notes say a watched span."""
