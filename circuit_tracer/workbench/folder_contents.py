"""What lies beside a stored graph: head loadings, supernodes, and its dictionary's cards."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from circuit_tracer.bundled import bundled_folder
from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.files.exchange import open_graph
from circuit_tracer.graphs.files.label_file import read_labels, with_label_file
from circuit_tracer.graphs.files.q_params import with_pins
from circuit_tracer.graphs.head_loadings import HeadLoadings, load_heads
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.supernodes.file import SUPERNODES_FILE, read_supernodes
from circuit_tracer.transcoders.cards import CardBook
from circuit_tracer.transcoders.published_cards import PublishedCards, cards_in, has_cards

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from circuit_tracer.transcoders.neuron_cards import NeuronCards


def place_of(graph: Path) -> tuple[str, Path]:
    """What a traced folder or graph JSON is called, and the folder that it lies in."""
    return (graph.resolve().name, graph) if graph.is_dir() else (graph.stem, graph.parent)


def open_labelled(graph: Path, labels: Path | None, pins: Path | None = None) -> PrunedGraph:
    """A traced folder or graph JSON, with the labels of a file in place of its own.

    `pins` is a file that the viewer exported: pins, groups, and names that come before labels.
    """
    pruned = open_graph(graph)
    if labels is not None:
        pruned = with_label_file(pruned, read_labels(labels))
    return pruned if pins is None else with_pins(pruned, pins)


def supernodes_in(folder: Path, pruned: PrunedGraph) -> list[tuple[str, tuple[int, ...]]] | None:
    """The supernodes of a folder's supernodes.toml as far as their nodes are kept."""
    path = folder / SUPERNODES_FILE
    if not path.is_file():
        return None
    groups = read_supernodes(pruned, path, pruned_away="leave out")
    logger.info(f"with the {len(groups)} supernodes of {path}")
    return [(group.name, group.rows) for group in groups]


def stored_heads(pruned: PrunedGraph, graph: Path) -> HeadLoadings | None:
    """The head loadings that lie in a traced folder; None for a file, or where there are none."""
    return load_heads(pruned, graph) if graph.is_dir() else None


def are_cards_at_hand(pruned: PrunedGraph) -> bool:
    """Whether the cards of a graph's dictionary are found without being named; not for neurons."""
    dictionary = pruned.graph.info.dictionary
    if dictionary.kind == "neurons":
        return False
    beside = bool(dictionary.location) and has_cards(Path(dictionary.location))
    return dictionary.source == "bundled" or beside


def open_cards(pruned: PrunedGraph, cards: Path | None) -> CardBook | PublishedCards | NeuronCards:
    """The feature cards of a graph's dictionary; bundled ones are found without `cards`.

    `cards` is a card file or a dictionary's folder; those of neurons are made from the model.
    Raises UsageError when there are none, or only those of another dictionary.
    """
    info = pruned.graph.info
    if info.dictionary.kind == "neurons":
        if cards is not None:
            raise UsageError(
                "`cards` has no effect on neurons, whose cards are made from the model; leave it "
                "out"
            )
        from circuit_tracer.transcoders.neuron_cards import NeuronCards
        from circuit_tracer.transcoders.neurons import open_neurons
        from circuit_tracer.workbench.opening import reopen

        model = reopen(pruned)[0].model
        return NeuronCards(model, open_neurons(model))
    if cards is None:
        bundled = info.dictionary.source == "bundled"
        if not bundled and not info.dictionary.location:
            raise UsageError(
                f"where the feature cards of {info.dictionary.name} are is not known; "
                "give its folder with `cards`"
            )
        own = bundled_folder() / info.model.name / info.dictionary.name.rpartition("/")[2]
        cards = own if bundled else Path(info.dictionary.location)
    elif not cards.exists():
        raise UsageError(f"there is no {cards}; give the dictionary's folder or its card file")
    book = cards_in(cards)
    made_for = book.dictionary_sha256
    is_theirs = (
        info.n_layers == book.n_layers if made_for is None else made_for == info.dictionary.sha256
    )
    if not is_theirs:
        raise UsageError(
            f"the cards in {cards.name} are of another dictionary than this graph's; give the "
            "folder of the one it was traced with"
        )
    return book
