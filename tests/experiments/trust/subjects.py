"""Graphs to be tested: of the bundled model, and of tiny random ones."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import torch

from circuit_tracer.attribution import TraceSettings, trace
from circuit_tracer.experiments.trust.passes import Subject
from circuit_tracer.graphs.pruning import PrunedGraph, prune
from circuit_tracer.models import Model, open_model
from circuit_tracer.transcoders.dictionary import Dictionary
from circuit_tracer.transcoders.neurons import AnyDictionary, open_neurons
from circuit_tracer.transcoders.opening import open_transcoders
from tests.tiny import random_dictionary, tiny_model

PROMPT = "a banana is"
TINY_PROMPT = "the banana is yellow yes a lemon is"


class Traced(NamedTuple):
    """A pruned graph and what it was traced with."""

    model: Model
    dictionary: AnyDictionary
    pruned: PrunedGraph

    @property
    def subject(self) -> Subject:
        return Subject.of(self.pruned.graph, self.model, self.dictionary)


@cache
def sprout() -> Model:
    return open_model("sprout", device="cpu")


@cache
def sprout_dictionary(name: str = "plt") -> Dictionary:
    return open_transcoders(name, model=sprout())


@cache
def bundled(name: str = "plt", prompt: str = PROMPT) -> Traced:
    """A prompt of the bundled model."""
    dictionary = sprout_dictionary(name)
    return Traced(sprout(), dictionary, prune(trace(sprout(), dictionary, prompt).graph))


@cache
def tiny(
    family: str = "llama", *, neurons: bool = False, n_layers: int = 4, **options: Any
) -> Traced:
    """A random model in float64; `options` are those of `random_dictionary`."""
    model = tiny_model(family, dtype=torch.float64, n_layers=n_layers)
    dictionary = open_neurons(model) if neurons else random_dictionary(model, **options)
    return Traced(model, dictionary, prune(_traced(model, dictionary)))


@cache
def linear_neurons() -> Traced:
    """A model whose neurons are linear: its MLPs are what the graph takes them for."""
    model = tiny_model(
        "gpt2", dtype=torch.float64, n_layers=4, activation_function="linear", d_model=8, n_heads=2
    )
    dictionary = open_neurons(model)
    return Traced(model, dictionary, prune(_traced(model, dictionary)))


@cache
def floored(edge_floor: float) -> Traced:
    """The same as `tiny()`, without small edges."""
    model, dictionary, _ = tiny()
    return Traced(model, dictionary, prune(_traced(model, dictionary, edge_floor)))


def _traced(model: Model, dictionary: AnyDictionary, edge_floor: float = 0.0) -> Any:
    settings = TraceSettings(targets=("blue", "red"), edge_floor=edge_floor)
    return trace(model, dictionary, TINY_PROMPT, settings).graph
