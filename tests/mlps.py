"""The MLP between a dictionary's reading and writing points by Hugging Face's own modules."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def module_output(model: Any, layer: int, x: Tensor, reads: str, writes: str) -> Tensor:
    """The same map by Hugging Face's own modules, from any of the reading points."""
    wiring = model.wiring
    paths = wiring.paths
    if paths.mlp_norm is not None:
        norm = wiring.submodule(layer, paths.mlp_norm)
        if reads == "hook_resid_mid":
            x = norm(x)
        elif reads == "ln2.hook_normalized":
            ours = wiring.norm("mlp_norm", layer)
            x = x * ours.weight + (0.0 if ours.bias is None else ours.bias)
    out: Tensor = wiring.submodule(layer, paths.mlp)(x)
    if writes == "hook_mlp_out" and paths.mlp_post_norm is not None:
        out = wiring.submodule(layer, paths.mlp_post_norm)(out)
    return out
