"""How well labels predict where features fire in held-out text, beside a random other label.

The part of a label before its arrow says where a feature fires: at which tokens, after which
others. It gives every position a level: 2 for such a token, 1 for such a context, 3 for both, else
0. A label's score is the area under the ROC curve: how often a place where the feature fires (drawn
by its activation) has a higher level than one where it does not, ties counting half. A label that
says nothing has 0.5. The other label is that of a random other feature of the layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from circuit_tracer.errors import UsageError
from circuit_tracer.models import Model
from circuit_tracer.models.token_names import TokenNames
from circuit_tracer.transcoders.dictionary import Dictionary
from circuit_tracer.transcoders.label_places import LEVELS, REACH, Place
from circuit_tracer.transcoders.labels import shown_token
from circuit_tracer.transcoders.rows import RowReader


class LabelScore(NamedTuple):
    """What the labels of a dictionary are worth on a text."""

    features: int
    """Labelled features that fire in the text, which are those that are scored."""
    own: float
    """Mean score of their labels; 0.5 is chance."""
    other: float
    """Mean score of another feature's label in the place of each."""
    better: float
    """Share of features whose own label scores higher than the other, ties counting half."""


@torch.no_grad()
def score_labels(
    model: Model,
    dictionary: Dictionary,
    labels: Callable[[Iterable[tuple[int, int]]], Sequence[str]],
    text: Path,
    *,
    max_tokens: int = 20_000,
    row_length: int = 128,
    seed: int = 0,
) -> LabelScore:
    """Score the labels of (layer, feature) pairs, as a card book gives them, on a text.

    The text should not be the one that the labels were made from. Raises UsageError where no
    labelled feature fires in it.
    """
    words: list[NDArray[np.str_]] = []
    active: list[list[NDArray[np.float64]]] = [[] for _ in dictionary.layers]
    reader, names = (
        RowReader.of_model(text, model, row_length, pack=True),
        TokenNames(model.tokenizer),
    )
    start = 0
    for rows in reader.groups(32, max_tokens):
        inputs = model.mlp_activity(rows.token_ids, dictionary.reads).inputs
        real = rows.real()
        for ids, is_real in zip(rows.token_ids, real, strict=True):
            words.append(np.array([shown_token(names.text(t)) for t in ids[is_real].tolist()]))
        for found, transcoder in zip(active, dictionary.layers, strict=True):
            x = inputs[transcoder.layer, real.to(inputs.device)].to(transcoder.W_enc.dtype)
            activations = transcoder.encode(x).float().cpu()
            place, feature = activations.nonzero(as_tuple=True)
            value = activations[place, feature]
            found.append(torch.stack([place + start, feature, value], 1).double().numpy())
        start += int(real.sum())
    index = _Words(words)
    rng = np.random.default_rng(seed)
    scores: list[tuple[float, float]] = []
    for number, (layer, found) in enumerate(zip(dictionary.layers, active, strict=True)):
        given = labels([(number, f) for f in range(layer.n_features)])
        scores += _layer_scores(given, np.concatenate(found), index, rng)
    if not scores:
        raise UsageError(f"no labelled feature fires in {text.name}; give another `text`")
    own, other = np.array(scores).T
    better = (own > other) + 0.5 * (own == other)
    return LabelScore(len(scores), float(own.mean()), float(other.mean()), float(better.mean()))


def place_of(label: str) -> Place:
    """What a label says about where its feature fires.

    >>> place_of("banana … is → yellow")
    Place(peaks=('is',), context=('banana',), reach=8)
    >>> place_of("after is → red")
    Place(peaks=(), context=('is',), reach=1)
    >>> place_of("red/blue/… → not red")
    Place(peaks=('red', 'blue'), context=(), reach=8)
    """
    where = label.partition("→")[0].strip().removesuffix("/…")
    if where.startswith("after "):
        return Place((), _split(where.removeprefix("after ")), 1)
    context, gap, peaks = where.rpartition("…")
    reach = REACH
    if not gap and " " in where:  # "banana is": right after it
        context, _, peaks = where.rpartition(" ")
        reach = 1
    return Place(_split(peaks), _split(context), reach)


def _split(words: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in words.split("/") if word.strip())


def separation(levels: NDArray[np.int64], activations: NDArray[np.float64]) -> float:
    """Area under the ROC curve of levels (N,) for activations (N,), 0 where it does not fire."""
    fires = activations > 0
    positive = np.bincount(levels[fires], activations[fires], LEVELS) / activations.sum()
    negative = np.bincount(levels[~fires], minlength=LEVELS) / max(int(np.count_nonzero(~fires)), 1)
    below = np.cumsum(negative) - negative
    return float(positive @ (below + negative / 2))


class _Words:
    """Where the words of a text stand, and what comes after them in the same row."""

    def __init__(self, rows: Sequence[NDArray[np.str_]]) -> None:
        self.size = sum(map(len, rows))
        self.first = np.repeat(np.cumsum([0, *map(len, rows)])[:-1], [len(row) for row in rows])
        texts, self.numbers = np.unique(np.concatenate(rows), return_inverse=True)
        self.number_of = {text: number for number, text in enumerate(texts.tolist())}

    def levels(self, place: Place) -> NDArray[np.int64]:
        """(N,) the level that a label gives every position."""
        at_peak, near = self._at(place.peaks), np.zeros(self.size, dtype=bool)
        said = np.flatnonzero(self._at(place.context))
        for back in range(1, place.reach + 1):
            after = said[said + back < self.size]
            near[(after + back)[self.first[after] == self.first[after + back]]] = True
        return 2 * at_peak.astype(np.int64) + near

    def _at(self, words: Iterable[str]) -> NDArray[np.bool_]:
        known = [self.number_of[word] for word in words if word in self.number_of]
        return np.isin(self.numbers, known)


def _layer_scores(
    labels: Sequence[str],
    active: NDArray[np.float64],
    words: _Words,
    rng: np.random.Generator,
) -> Iterator[tuple[float, float]]:
    """Own and other score of every labelled feature of a layer; `active` is (M, place feature
    value)."""
    place, feature = active[:, 0].astype(np.int64), active[:, 1].astype(np.int64)
    scored = np.array([f for f in np.unique(feature).tolist() if labels[f]], dtype=np.int64)
    if len(scored) < 2:
        return
    others = np.roll(rng.permutation(scored), 1)
    order = dict(zip(np.roll(others, -1).tolist(), others.tolist(), strict=True))
    for f in scored.tolist():
        activations = np.zeros(words.size)
        here = feature == f
        activations[place[here]] = active[here, 2]
        yield (
            separation(words.levels(place_of(labels[f])), activations),
            separation(words.levels(place_of(labels[order[f]])), activations),
        )
