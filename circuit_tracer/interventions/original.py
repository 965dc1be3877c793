"""The prompt's own pass, which interventions are compared with and freeze parts of.

Shapes: T tokens, L layers, d model width, F features of a layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from circuit_tracer.attribution.reopening import SAME, check_logits, check_same, prompt_ids
from circuit_tracer.attribution.replacement import activations_by_layer, read_streams
from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.graph import Graph, NodeKind
from circuit_tracer.models import Model
from circuit_tracer.models.capture import Capture
from circuit_tracer.models.parts import RESIDUAL, WritePoint
from circuit_tracer.models.wiring import Wiring
from circuit_tracer.transcoders.dictionary import check_fits
from circuit_tracer.transcoders.neurons import AnyDictionary, Neurons


@dataclass(frozen=True)
class Original:
    """One prompt's pass with nothing changed. Made by `run_original`."""

    capture: Capture
    seen: tuple[Float[Tensor, "T d"], ...]
    """What the dictionary reads, by layer."""
    activations: tuple[Float[Tensor, "T _F"], ...]
    """Zero at zeroed positions, which carry no features."""
    written: tuple[Float[Tensor, "T d"], ...]
    """The true output where the dictionary writes, by layer."""
    dictionary: AnyDictionary
    n_zeroed: int
    """Leading positions without features and errors (1 for BOS)."""

    @property
    def n_tokens(self) -> int:
        """Number of tokens, T."""
        return len(self.capture.token_ids)

    @property
    def token_ids(self) -> list[int]:
        """The tokens that were run."""
        return self.capture.token_ids.tolist()

    def mlp_written(self, layer: int) -> Float[Tensor, "T d"]:
        """An MLP's true output: where transcoders write, or else as the module gives it."""
        is_residual = self.dictionary.writes == RESIDUAL
        return self.capture.mlp_out[layer] if is_residual else self.written[layer]

    @cached_property
    def errors(self) -> list[Float[Tensor, "T d"]]:
        """True output minus reconstruction where the dictionary writes; none for neurons."""
        if isinstance(self.dictionary, Neurons):
            return []
        rebuilt = self.dictionary.reconstruct(self.seen, self.activations)
        errors = [true - given for true, given in zip(self.written, rebuilt, strict=True)]
        for error in errors:
            error[: self.n_zeroed] = 0
        return errors


@torch.no_grad()
def run_original(
    model: Model, dictionary: AnyDictionary, token_ids: list[int], *, n_zeroed: int | None = None
) -> Original:
    """Run a prompt; `n_zeroed` is by default the model's own choice.

    Raises DictionaryError for a dictionary of another model.
    """
    check_fits(dictionary.identity.name, dictionary.shape, model)
    if n_zeroed is None:
        n_zeroed = model.zeroed_positions(token_ids)
    wiring, capture = model.wiring, model.capture(token_ids)
    seen = read_streams([capture], wiring, dictionary)
    activations = activations_by_layer(seen, dictionary, n_zeroed)
    return Original(
        capture=capture,
        seen=tuple(of_layer[0] for of_layer in seen),
        activations=tuple(of_layer[0] for of_layer in activations),
        written=tuple(
            _written(capture, wiring, dictionary.writes, i) for i in range(model.n_layers)
        ),
        dictionary=dictionary,
        n_zeroed=n_zeroed,
    )


def _written(
    capture: Capture, wiring: Wiring, writes: WritePoint, layer: int
) -> Float[Tensor, "T d"]:
    """What is where a dictionary writes."""
    if writes == RESIDUAL:
        return capture.resid_post(layer)
    given = capture.mlp_out[layer]
    return given if writes == "mlp.hook_out" else wiring.mlp_added(layer, given)


@torch.no_grad()
def run_again(model: Model, dictionary: AnyDictionary, graph: Graph) -> Original:
    """Run the prompt of a graph; UsageError for another model, dictionary or tokenizer.

    Features of a sparse autoencoder of the residual stream can be changed on any graph's prompt.
    """
    info = graph.info
    check_same(info, model, dictionary, instead=("sae",))
    zeroed = info.settings.get("zeroed_positions")
    n_zeroed = None if zeroed is None else int(zeroed)
    original = run_original(model, dictionary, prompt_ids(info, model), n_zeroed=n_zeroed)
    check_logits(info, original.capture)
    if dictionary.kind != "sae":
        _check_activations(graph, original)
    return original


def _check_activations(graph: Graph, original: Original) -> None:
    """Raise UsageError where most of the graph's features fire otherwise than in the graph.

    Dictionaries in memory have no hash to compare. Some features may: those next to a threshold.
    """
    nodes = graph.nodes
    rows = nodes.of_kind(NodeKind.FEATURE)
    stored = nodes.activation[rows].astype(np.float64)
    found = np.zeros(len(rows))
    for layer, activations in enumerate(original.activations):
        here = nodes.layer[rows] == layer
        at = [
            torch.as_tensor(column[rows[here]].astype(np.int64), device=activations.device)
            for column in (nodes.position, nodes.feature)
        ]
        found[here] = activations[at[0], at[1]].cpu().double().numpy()
    known = np.isfinite(stored)  # a graph JSON need not have them
    off = np.abs(found - stored)[known]
    if len(off) and np.median(off) > SAME * np.abs(stored[known]).max():
        raise UsageError(
            "most features of the graph do not fire as they do in it, so the dictionary is not "
            "the one that the graph was traced with; give the same, or trace the prompt again"
        )
