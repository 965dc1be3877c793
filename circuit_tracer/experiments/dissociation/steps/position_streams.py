"""What the sources at one position are made into along the frozen network, and head scores of it.

The residual stream is a sum over sources (embeddings, features, errors), and with attention
patterns and norm denominators frozen each source travels up linearly. The part of the stream that
comes from all sources at one position is therefore one walk up: its embedding, then at each layer
what attention makes of the part so far, plus what the MLP writes at that position less the
constants that come from no node. A pre-softmax score's part *object x value* is the product of the
query that the value's sources make and the key that the object's sources make, in the head's own
frozen projections (attribution/qk.py takes the same score apart source by source).

Shapes: T tokens, L layers, d model width, h head width, H heads.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from circuit_tracer.attribution.replacement import LocalReplacementModel
from circuit_tracer.models.capture import Capture
from circuit_tracer.models.scores import freeze_head
from circuit_tracer.models.wiring import Wiring


@torch.no_grad()
def streams_from(
    model: LocalReplacementModel, capture: Capture, wiring: Wiring, position: int
) -> Float[Tensor, "L T d"]:
    """Before each layer's attention, the part that comes from the sources at a position."""
    stream = torch.zeros_like(model.embeddings)
    stream[position] = model.embeddings[position]
    found = []
    for layer, frozen in enumerate(model.layers):
        found.append(stream)
        attention = frozen.attention
        values = attention.values(stream[None])
        attended = stream + attention.written(attention.fetched(values))[0]
        stream = attended + frozen.push_skip(stream if model.parallel else attended)
        if position >= model.n_zeroed:
            stream[position] += _written(model, capture, wiring, layer)[position]
    return torch.stack(found)


def _written(
    model: LocalReplacementModel, capture: Capture, wiring: Wiring, layer: int
) -> Float[Tensor, "T d"]:
    """What features and errors of a layer's MLP add to the stream: all but the constants and skip.

    Of a cross-layer dictionary this counts what all features, wherever they read, write here.
    """
    frozen, added = model.layers[layer], wiring.mlp_added(layer, capture.mlp_out[layer])
    return added - frozen.constant - frozen.push_skip(capture.resid_mid[layer])


@torch.no_grad()
def score_terms(
    model: LocalReplacementModel,
    capture: Capture,
    wiring: Wiring,
    *,
    query_source: int,
    queries: tuple[int, ...],
    key: int,
) -> Float[Tensor, "L H queries"]:
    """Parts of every head's scores of some query positions with a key position: those with the
    query made of the sources at `query_source` and the key of those at its own position.

    Zero where the mask hides the key: whatever its score would be, the model never looks at it.
    """
    ours = streams_from(model, capture, wiring, query_source)
    theirs = streams_from(model, capture, wiring, key)
    found = ours.new_zeros(wiring.n_layers, wiring.n_heads, len(queries))
    at = torch.tensor(queries, device=ours.device)
    for layer in range(wiring.n_layers):
        seen = wiring.sees(layer, at, torch.full_like(at, key)).tolist()
        for head in range(wiring.n_heads if any(seen) else 0):
            frozen = freeze_head(capture, wiring, layer, head)
            k = frozen.key.rows(key) @ theirs[layer, key]
            for i, query in enumerate(queries):
                if seen[i]:
                    found[layer, head, i] = (frozen.query.rows(query) @ ours[layer, query]) @ k
    return found
