"""Tiny models with every kind of rotary scaling, made to switch inside the tests' prompts."""

from __future__ import annotations

from typing import Any

import torch

from circuit_tracer.models import Model
from tests.tiny import tiny_config, tiny_model

ROPES = ("default", "linear", "llama3", "yarn", "dynamic", "longrope")
SWITCH = 6
"""Tokens beyond which LongRoPE and dynamic NTK turn otherwise."""


def rope_options(rope: str, family: str) -> dict[str, Any]:
    """What `tiny_model` needs for one kind of scaling."""
    config: Any = tiny_config(family, n_layers=1, d_model=32, n_heads=4, n_kv_heads=2)
    plain: dict[str, Any] = {"rope_theta": 100.0, "rope_type": rope}
    share = 0.5 if family.startswith("gpt_neox") else 1.0
    if share != 1.0:
        plain["partial_rotary_factor"] = share
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    n = int(head * share) // 2
    scaled = (
        plain
        | {
            "default": {},
            "linear": {"factor": 4.0},
            "llama3": {"factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
            "yarn": {"factor": 4.0},
            "dynamic": {"factor": 4.0},
            "longrope": {"short_factor": [1.0] * n, "long_factor": [2.0 + i for i in range(n)]},
        }[rope]
    )
    if rope in ("llama3", "yarn", "longrope"):
        scaled["original_max_position_embeddings"] = SWITCH
    if rope == "longrope":
        scaled["attention_factor"] = 1.0
    if family == "gemma3":
        local = {"rope_type": "default", "rope_theta": 100.0}
        scaled = {"sliding_attention": local, "full_attention": scaled}
    length = {"max_position_embeddings": SWITCH} if rope == "dynamic" else {}
    return {"rope_parameters": scaled, "d_model": 32, **length}


def rope_model(rope: str, family: str, *, dtype: torch.dtype = torch.float32) -> Model:
    """A random model with one kind of scaling."""
    return tiny_model(family, dtype=dtype, **rope_options(rope, family))
