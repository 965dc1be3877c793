"""Every nnsight call lives here: read a forward pass, stop it early, or replace parts of it.

nnsight wants modules asked for in execution order and trace bodies on lines of their own; its
import reads `-v` from the command line and is slow, so it happens inside the functions here.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, get_args, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit_tracer.models.parallel import whole_heads
from circuit_tracer.models.parts import RESIDUAL, Place, PlaceInLayer, ReadPoint, WritePoint
from circuit_tracer.models.passing import one_at_a_time, reading
from circuit_tracer.models.wiring import Wiring

Replacement = Callable[[int, Tensor], Tensor]
"""(layer, what a dictionary reads there (B, T, d)) -> what it writes there instead (B, T, d)."""


@runtime_checkable
class Edits(Protocol):
    """What an edited pass asks at every place of the model, in the order of its layers.

    The embedding counts to layer 0, the final norm to the layer after the last.
    """

    def wants(self, place: Place, layer: int) -> bool:
        """Whether `edit` is to be called there."""

    def edit(self, place: Place, layer: int, seen: Tensor, given: Tensor) -> Tensor:
        """The module's output (B, T, d) from what it read and what it gave itself.

        `given` itself leaves it as it is. At the embedding and after a layer `seen` is what it
        gave.
        """


@dataclass(frozen=True)
class Capture:
    """One prompt's forward pass: what the local replacement model is frozen from."""

    token_ids: Int[Tensor, "T"]
    embeddings: Float[Tensor, "T d"]
    """What the embedding module gives: position embeddings are not in it."""
    resid_pre: Float[Tensor, "L T d"]
    """Residual stream at each layer's input."""
    patterns: Sequence[Float[Tensor, "H T T"]]
    """Attention patterns [query, key] by layer, as the model applied them; those of a long text are
    made again by layer (patterns.py)."""
    attention_out: Float[Tensor, "L T d"]
    """Attention's output, before a post-norm."""
    resid_mid: Float[Tensor, "L T d"]
    """Residual stream before each MLP's norm (or the MLP, where it has none)."""
    mlp_in: Float[Tensor, "L T d"]
    """Normalised, with the norm's weight."""
    mlp_out: Float[Tensor, "L T d"]
    """The MLP module's output, before a post-norm."""
    resid_final: Float[Tensor, "T d"]
    """Residual stream before the final norm."""
    logits: Float[Tensor, "T V"]
    """Before a soft-cap, where the model has one."""
    pass_length: int
    """Tokens of the pass: these T are the first of them. Rotations may depend on it (rope.py)."""

    def resid_post(self, layer: int) -> Float[Tensor, "T d"]:
        """Residual stream after a layer."""
        last = layer + 1 == len(self.resid_pre)
        return self.resid_final if last else self.resid_pre[layer + 1]

    def first(self, n_tokens: int) -> Capture:
        """This pass up to a position: nothing after it matters there, the model is causal."""
        if n_tokens == len(self.token_ids):
            return self
        by_layer = ("resid_pre", "attention_out", "resid_mid", "mlp_in", "mlp_out")
        by_token = ("token_ids", "embeddings", "resid_final", "logits")
        return replace(
            self,
            patterns=tuple(one[:, :n_tokens, :n_tokens].clone() for one in self.patterns),
            **{name: getattr(self, name)[:, :n_tokens].clone() for name in by_layer},
            **{name: getattr(self, name)[:n_tokens].clone() for name in by_token},
        )


class MlpActivity(NamedTuple):
    """What a dictionary reads and what it must write at its layers, for rows or a list of tokens.

    Of a residual dictionary they are one tensor.
    """

    inputs: Float[Tensor, "L *places d"]
    outputs: Float[Tensor, "L *places d"]

    def at(self, places: Tensor | slice) -> MlpActivity:
        """Some places: tokens that a mask or indices choose."""
        if isinstance(places, Tensor):
            places = places.to(self.inputs.device)
        inputs = self.inputs[:, places]
        same = self.outputs is self.inputs
        return MlpActivity(inputs, inputs if same else self.outputs[:, places])


@contextmanager
def _without_arguments() -> Iterator[None]:
    """Hide our command line from nnsight, which takes `-v` for its own debug switch."""
    arguments, sys.argv = sys.argv, sys.argv[:1]
    try:
        yield
    finally:
        sys.argv = arguments


def wrap(module: torch.nn.Module, tokenizer: Any) -> Any:
    """The nnsight view of a loaded model, which stays on its device."""
    with _without_arguments():
        from nnsight import TransformersModel
    # Transformers' pipeline, which nnsight makes, moves a model to the first accelerator it finds
    # unless a device is named; of a spread model it takes none.
    spread = getattr(module, "hf_device_map", None) is not None
    options = {} if spread else {"device": module.device}
    return TransformersModel(module, task="text-generation", tokenizer=tokenizer, **options)


def _envoys(wrapped: Any, wiring: Wiring) -> list[Any]:
    return [wrapped.get(wiring.paths.layer.format(i)) for i in range(wiring.n_layers)]


def _mid(layer: Any, wiring: Wiring) -> Any:
    """Residual stream before the MLP's norm, inside a trace."""
    return layer.get(wiring.paths.mlp_norm or wiring.paths.mlp).input


def _written(layer: Any, wiring: Wiring, writes: WritePoint) -> Any:
    """The module whose output a dictionary replaces."""
    if writes == RESIDUAL:
        return layer
    post_norm = wiring.paths.mlp_post_norm
    return layer.get(post_norm if post_norm and writes == "hook_mlp_out" else wiring.paths.mlp)


def _read(layer: Any, i: int, wiring: Wiring, reads: ReadPoint) -> Any:
    """What a dictionary reads in layer i, inside a trace."""
    if reads == RESIDUAL:
        return _first(layer.output)
    mid = _mid(layer, wiring)
    mlp_in = layer.get(wiring.paths.mlp).input
    return wiring.read(reads, i, mid, mlp_in)


def _first(output: Any) -> Any:
    """The hidden state that a module gives, alone or before other things."""
    return output[0] if isinstance(output, tuple) else output


def _replace(module: Any, value: Tensor) -> None:
    """Set the hidden state that a module gives, inside a trace."""
    output = module.output
    module.output = (value, *output[1:]) if isinstance(output, tuple) else value


@reading
def capture_forward(
    wrapped: Any, wiring: Wiring, token_ids: Int[Tensor, "B T"], *, keep_patterns: bool = True
) -> list[Capture]:
    """One forward pass of prompts of equal length: a capture of each, without `keep_patterns` with
    none of them."""
    paths = wiring.paths
    layers = _envoys(wrapped, wiring)
    embed, final = wrapped.get(paths.embedding), wrapped.get(paths.final_norm)
    head = wrapped.get(paths.head)
    by_layer: dict[str, list[Any]] = defaultdict(list)
    patterns: list[Any] = []
    wiring.start_pass()
    with wrapped.trace(token_ids, use_cache=False):
        embeddings = embed.output.save()
        for layer in layers:
            by_layer["resid_pre"].append(layer.input.save())
            attended = layer.get(paths.attention).output
            by_layer["attention_out"].append(attended[0].save())
            if keep_patterns:
                patterns.append(attended[1].save())
            by_layer["resid_mid"].append(_mid(layer, wiring).save())
            by_layer["mlp_in"].append(layer.get(paths.mlp).input.save())
            by_layer["mlp_out"].append(layer.get(paths.mlp).output.save())
        resid_final = final.input.save()
        logits = head.output.save()
    here = token_ids.device
    return [
        Capture(
            token_ids=token_ids[row],
            embeddings=_alone(embeddings, row, here),
            patterns=tuple(
                whole_heads(one[row], wiring.module, wiring.n_heads).to(here) for one in patterns
            ),
            resid_final=_alone(resid_final, row, here),
            logits=_alone(logits, row, here),
            pass_length=token_ids.shape[1],
            **{name: _by_layer(parts, row, here) for name, parts in by_layer.items()},
        )
        for row in range(len(token_ids))
    ]


def _alone(part: Tensor, row: int, device: torch.device) -> Float[Tensor, "T n"]:
    """One prompt of a batch; a copy unless it is the only one, so that it does not hold the rest.

    Logits are that large.
    """
    one = part[row].to(device)
    return one if len(part) == 1 else one.clone()


def _by_layer(parts: list[Tensor], row: int, device: torch.device) -> Float[Tensor, "L T d"]:
    """One prompt of every layer on one device: layers may be spread over several."""
    return torch.stack([part[row].to(device) for part in parts])


@reading
def capture_mlps(
    wrapped: Any,
    wiring: Wiring,
    token_ids: Tensor,
    reads: ReadPoint = "mlp.hook_in",
    writes: WritePoint = "mlp.hook_out",
    at: Sequence[int] | None = None,
    places: Int[Tensor, "n"] | None = None,
    into: MlpActivity | None = None,
) -> MlpActivity:
    """What a dictionary reads and must write at the layers `at` (all by default), in their order,
    for rows of tokens (B, T), or for some `places` (row * T + position) of them alone.

    The pass stops after the last of them: the unembedding is not needed. Each layer's is copied as
    it comes, `into` tensors (L, n, d) that are there or ones of the whole size: no second set of
    all layers' is made on the way.
    """
    layers = _envoys(wrapped, wiring)
    numbers = range(len(layers)) if at is None else at
    here, kept = token_ids.device, [] if into is None else list(into)

    def keep(part: int, row: int, value: Tensor) -> None:
        some = value if places is None else value.flatten(0, 1)[places.to(value.device)]
        if part == len(kept):
            kept.append(some.new_empty(len(numbers), *some.shape, device=here))
        kept[part][row] = some

    wiring.start_pass()
    with wrapped.trace(token_ids) as tracer:
        for row, i in enumerate(numbers):
            keep(0, row, _read(layers[i], i, wiring, reads))
            if reads != RESIDUAL:
                keep(1, row, _written(layers[i], wiring, writes).output)
        tracer.stop()
    return MlpActivity(kept[0], kept[0] if reads == RESIDUAL else kept[1])


@reading
def run_with_mlps(
    wrapped: Any,
    wiring: Wiring,
    token_ids: Tensor,
    substitute: Replacement | None,
    reads: ReadPoint = "mlp.hook_in",
    writes: WritePoint = "mlp.hook_out",
) -> Float[Tensor, "B T V"]:
    """Logits of rows of tokens (B, T), what a dictionary writes replaced in layer order if asked.

    They are the model's own, after a soft-cap where there is one.
    """
    layers, head = _envoys(wrapped, wiring), wrapped.get(wiring.paths.head)
    wiring.start_pass()
    with wrapped.trace(token_ids):
        if substitute is not None:
            for i, layer in enumerate(layers):
                seen = _read(layer, i, wiring, reads)
                _replace(_written(layer, wiring, writes), substitute(i, seen))
        logits = head.output.save()
    result: Tensor = logits
    cap = wiring.logit_softcap
    return result if cap is None else cap * torch.tanh(result / cap)


@one_at_a_time
def run_edited(
    wrapped: Any,
    wiring: Wiring,
    token_ids: Int[Tensor, "B T"],
    edits: Edits,
    *,
    positions: Int[Tensor, "P"] | None = None,
    cache: Any = None,
) -> Float[Tensor, "B P V"]:
    """Logits before a soft-cap, at all positions or some, with modules' outputs edited.

    With `cache` (transformers' `DynamicCache`) the tokens go on from those of earlier calls, whose
    rotations stay as they were: not for texts that are turned by their length.
    """
    layers, here = _envoys(wrapped, wiring), token_ids.device
    options: dict[str, Any] = {"use_cache": cache is not None, "past_key_values": cache}
    if cache is not None:  # nnsight would make a mask for the new tokens alone
        length = cache.get_seq_length() + token_ids.shape[1]
        options["attention_mask"] = torch.ones(len(token_ids), length, device=here)
    if positions is not None:
        options["logits_to_keep"] = positions
    if cache is None:
        wiring.start_pass()
    with wrapped.trace(token_ids, **options):
        if edits.wants("embedding", 0):
            embed = wrapped.get(wiring.paths.embedding)
            embed.output = _edited(edits, "embedding", 0, embed.output, embed.output, here)
        for i, layer in enumerate(layers):
            for place in get_args(PlaceInLayer):
                name = wiring.place(place)
                if name is not None and edits.wants(place, i):
                    _edit_module(layer.get(name), edits, place, i, here)
            if edits.wants("layer", i):
                _edit_module(layer, edits, "layer", i, here)
        if edits.wants("final_norm", len(layers)):
            final = wrapped.get(wiring.paths.final_norm)
            _edit_module(final, edits, "final_norm", len(layers), here)
        logits = wrapped.get(wiring.paths.head).output.save()
    result: Tensor = logits
    return result.to(here)


def _edit_module(module: Any, edits: Edits, place: Place, layer: int, here: torch.device) -> None:
    """Ask for one module's output and set it, inside a trace."""
    seen = None if place == "layer" else module.input  # a layer's is past by now
    given = _first(module.output)
    edited = _edited(edits, place, layer, given if seen is None else seen, given, here)
    if edited is not given:
        _replace(module, edited)


def _edited(
    edits: Edits, place: Place, layer: int, seen: Tensor, given: Tensor, here: torch.device
) -> Tensor:
    """The edit on the device where prompts go in; layers may be spread over several."""
    if given.device == here:
        return edits.edit(place, layer, seen, given)
    return edits.edit(place, layer, seen.to(here), given.to(here)).to(given.device)
