"""Rotary positions that depend on how long the whole text is.

Most rotations of a position are the same in every text: a prompt's first tokens come out as they
would alone. Two kinds are not (transformers, `modeling_rope_utils.dynamic_rope_update`):

* LongRoPE turns *all* positions by other factors once the text is longer than what the model was
  pretrained on (`original_max_position_embeddings`).
* Dynamic NTK turns all positions the slower, the longer the text is beyond the pretrained length
  (`max_position_embeddings`, which may be exceeded). Its module keeps the angles of the longest
  text so far, so that a pass depends on earlier ones unless it is reset.

YaRN, linear, proportional and Llama 3 scaling depend on the config alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class RotaryLengths(NamedTuple):
    """What the rotations of a model make of lengths of texts."""

    steady: int | None
    """Longest text whose first tokens are turned as they would be alone; None for all texts."""
    longest: int
    """Tokens that the positions are made for: dynamic NTK stretches them by its factor."""
    grows: bool
    """Whether the rotary module keeps the angles of the longest text so far."""


def rotary_lengths(config: Any) -> RotaryLengths:
    """From a (text) model's config; layer types may each have rotations of their own."""
    given = getattr(config, "rope_parameters", None) or {}
    kinds = [given] if "rope_type" in given else list(given.values())
    kinds = [kind for kind in kinds if isinstance(kind, dict)]
    dynamic = [kind for kind in kinds if "dynamic" in str(kind.get("rope_type", ""))]
    pretrained = config.max_position_embeddings
    steady = [int(pretrained) for _ in dynamic]
    steady += [
        int(kind["original_max_position_embeddings"])
        for kind in kinds
        if kind.get("rope_type") == "longrope"
    ]
    stretch = min((float(kind.get("factor") or 1.0) for kind in dynamic), default=1.0)
    return RotaryLengths(
        steady=min(steady, default=None),
        longest=int(pretrained * max(1.0, stretch)),
        grows=bool(dynamic),
    )
