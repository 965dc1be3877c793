"""Every nnsight call lives here: read a forward pass, stop it early, or replace its MLPs.

nnsight wants modules asked for in execution order and trace bodies on lines of their own; its
import reads `-v` from the command line and is slow, so it happens inside the functions here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit_tracer.models.wiring import ReadPoint, Wiring

if TYPE_CHECKING:
    from collections.abc import Iterator

Replacement = Callable[[int, Tensor], Tensor]
"""(layer, what a dictionary reads there (B, T, d)) -> MLP output (B, T, d)."""


@dataclass(frozen=True)
class Capture:
    """One prompt's forward pass: what the local replacement model is frozen from."""

    token_ids: Int[Tensor, "T"]
    embeddings: Float[Tensor, "T d"]
    resid_pre: Float[Tensor, "L T d"]
    """Residual stream in front of each attention norm."""
    patterns: Float[Tensor, "L H T T"]
    """Attention patterns [query, key], as the model applied them."""
    resid_mid: Float[Tensor, "L T d"]
    """Residual stream in front of each MLP norm."""
    mlp_in: Float[Tensor, "L T d"]
    """Normalised, with the norm's weight."""
    mlp_out: Float[Tensor, "L T d"]
    resid_final: Float[Tensor, "T d"]
    """Residual stream in front of the final norm."""
    logits: Float[Tensor, "T V"]


class MlpActivity(NamedTuple):
    """What goes into and comes out of every MLP, for a batch of rows."""

    inputs: Float[Tensor, "L B T d"]
    outputs: Float[Tensor, "L B T d"]


@contextmanager
def _without_arguments() -> Iterator[None]:
    """Hide our command line from nnsight, which takes `-v` for its own debug switch."""
    arguments, sys.argv = sys.argv, sys.argv[:1]
    try:
        yield
    finally:
        sys.argv = arguments


def wrap(module: torch.nn.Module, tokenizer: Any) -> Any:
    """The nnsight view of a loaded model."""
    with _without_arguments():
        from nnsight import TransformersModel
    return TransformersModel(module, task="text-generation", tokenizer=tokenizer)


def _envoys(wrapped: Any, wiring: Wiring) -> list[Any]:
    return [wrapped.get(wiring.paths.layer.format(i)) for i in range(wiring.n_layers)]


@torch.no_grad()
def capture_forward(wrapped: Any, wiring: Wiring, token_ids: Tensor) -> Capture:
    """One forward pass of one prompt; `token_ids` (T,)."""
    paths = wiring.paths
    layers = _envoys(wrapped, wiring)
    embed, final = wrapped.get(paths.embedding), wrapped.get(paths.final_norm)
    head = wrapped.get(paths.head)
    pre: list[Any] = []
    patterns: list[Any] = []
    mid: list[Any] = []
    mlp_in: list[Any] = []
    mlp_out: list[Any] = []
    with wrapped.trace(token_ids[None]):
        embeddings = embed.output.save()
        for layer in layers:
            pre.append(layer.get(paths.attention_norm).input.save())
            patterns.append(layer.get(paths.attention).output[1].save())
            mid.append(layer.get(paths.mlp_norm).input.save())
            mlp_in.append(layer.get(paths.mlp).input.save())
            mlp_out.append(layer.get(paths.mlp).output.save())
        resid_final = final.input.save()
        logits = head.output.save()
    return Capture(
        token_ids=token_ids,
        embeddings=embeddings[0],
        resid_pre=torch.cat(pre),
        patterns=torch.cat(patterns),
        resid_mid=torch.cat(mid),
        mlp_in=torch.cat(mlp_in),
        mlp_out=torch.cat(mlp_out),
        resid_final=resid_final[0],
        logits=logits[0],
    )


@torch.no_grad()
def capture_mlps(
    wrapped: Any, wiring: Wiring, token_ids: Tensor, reads: ReadPoint = "mlp.hook_in"
) -> MlpActivity:
    """What a dictionary reads and must write at every layer, for rows of tokens (B, T).

    The pass stops after the last MLP: the unembedding is not needed.
    """
    layers = _envoys(wrapped, wiring)
    inputs: list[Any] = []
    outputs: list[Any] = []
    with wrapped.trace(token_ids) as tracer:
        for i, layer in enumerate(layers):
            mid = layer.get(wiring.paths.mlp_norm).input
            mlp_in = layer.get(wiring.paths.mlp).input
            seen: Any = wiring.read(reads, i, mid, mlp_in)
            inputs.append(seen.save())
            outputs.append(layer.get(wiring.paths.mlp).output.save())
        tracer.stop()
    return MlpActivity(torch.stack(inputs), torch.stack(outputs))


@torch.no_grad()
def run_with_mlps(
    wrapped: Any,
    wiring: Wiring,
    token_ids: Tensor,
    replace: Replacement | None,
    reads: ReadPoint = "mlp.hook_in",
) -> Float[Tensor, "B T V"]:
    """Logits of rows of tokens (B, T), every MLP's output replaced in layer order if asked."""
    layers, head = _envoys(wrapped, wiring), wrapped.get(wiring.paths.head)
    with wrapped.trace(token_ids):
        if replace is not None:
            for i, layer in enumerate(layers):
                mid = layer.get(wiring.paths.mlp_norm).input
                mlp = layer.get(wiring.paths.mlp)
                mlp.output = replace(i, wiring.read(reads, i, mid, mlp.input))
        logits = head.output.save()
    result: Tensor = logits
    return result
