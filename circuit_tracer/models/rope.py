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

from typing import Any


def steady_length(config: Any) -> int | None:
    """Longest text whose first tokens are turned as they would be alone; None for all texts.

    `config` is that of the (text) model; layer types may each have rotations of their own.
    """
    lengths = []
    for one in _kinds(config):
        if is_dynamic(one):
            lengths.append(int(config.max_position_embeddings))
        elif one.get("rope_type") == "longrope":
            lengths.append(int(one["original_max_position_embeddings"]))
    return min(lengths, default=None)


def longest_text(config: Any) -> int:
    """Tokens that the positions are made for: dynamic NTK stretches them by its factor."""
    stretch = [float(one.get("factor") or 1.0) for one in _kinds(config) if is_dynamic(one)]
    return int(config.max_position_embeddings * max(1.0, min(stretch, default=1.0)))


def is_dynamic(parameters: dict[str, Any]) -> bool:
    """Whether the rotations are those of dynamic NTK."""
    return "dynamic" in str(parameters.get("rope_type", ""))


def grows(config: Any) -> bool:
    """Whether the rotary module keeps the angles of the longest text so far."""
    return any(is_dynamic(one) for one in _kinds(config))


def _kinds(config: Any) -> list[dict[str, Any]]:
    """Parameters of every kind of rotation in the model; none where positions are learned."""
    given = getattr(config, "rope_parameters", None) or {}
    return (
        [given]
        if "rope_type" in given
        else [one for one in given.values() if isinstance(one, dict)]
    )
