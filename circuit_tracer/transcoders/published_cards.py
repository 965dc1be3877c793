"""Feature cards in circuit-tracer's `features/` layout, read one feature at a time.

`index.json.gz` has for every layer the `filename` of a `layer_{i}.bin` and the `offsets` of its
features, one more than there are features. A feature's bytes are the length of what follows (four
bytes, little-endian) and its JSON, compressed by zlib. There are no labels in it: they are made of
the contexts, as those of our own cards, without what it promotes.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from circuit_tracer.bundled import CARDS_FILE
from circuit_tracer.errors import DictionaryError
from circuit_tracer.reading import read_bytes, readable
from circuit_tracer.transcoders.cards import Card, CardBook, Example, load_cards
from circuit_tracer.transcoders.label_places import REACH, Background, Occurrence
from circuit_tracer.transcoders.labels import make_label

FOLDER, INDEX = "features", "index.json.gz"
MOST_INDEX_BYTES = 256 << 20
MOST_FEATURE_BYTES = 8 << 20
"""Largest JSON of an index and of a feature, unpacked."""
BEFORE, AFTER = 16, 8
"""Tokens of a context that are kept around its peak."""
ADVICE = "download the features folder again, or go without cards"


@dataclass(frozen=True)
class PublishedCards:
    """The cards in a `features/` folder; nothing is read before it is asked for."""

    path: Path
    """The folder with `index.json.gz`."""
    dictionary_sha256: None = None
    """Not stored: they belong to the dictionary that they lie beside."""

    @property
    def n_layers(self) -> int:
        """Number of layers with cards."""
        return len(self._layers)

    def labels(self, features: Iterable[tuple[int, int]]) -> list[str]:
        """Labels of (layer, feature) pairs, made of their contexts; "" without a card."""
        return [self.card(*at).label if self._has(*at) else "" for at in features]

    def card(self, layer: int, feature: int) -> Card:
        """One feature's card; DictionaryError if there is none, or it is damaged."""
        place = f"the card of L{layer}/{feature} in {self.path.parent.name}/{self.path.name}"
        if not self._has(layer, feature):
            raise DictionaryError(f"{place} is missing; {ADVICE}")
        file, offsets = self._layers[layer]
        with readable(place, DictionaryError, ADVICE, problem="is damaged", also=(zlib.error,)):
            start, end = offsets[feature], offsets[feature + 1]
            if not 0 <= start <= end or end - start > MOST_FEATURE_BYTES:
                raise ValueError(f"its bytes are {start} to {end}")
            with file.open("rb") as opened:
                opened.seek(start)
                stored = opened.read(end - start)
            length = int.from_bytes(stored[:4], "little")
            if len(stored) < 4 + length:
                raise ValueError(f"{length} bytes announced, {len(stored) - 4} there")
            record = json.loads(_inflated(stored[4 : 4 + length], MOST_FEATURE_BYTES))
            return _card(layer, feature, record)

    def cards(self, features: Iterable[tuple[int, int]]) -> list[Card]:
        """Cards of (layer, feature) pairs, in their order; empty ones where there are none.

        Published sets leave features out, which is no reason not to look at the others.
        """
        return [
            self.card(*at) if self._has(*at) else _card(*at, {"examples_quantiles": ()})
            for at in features
        ]

    def layer_cards(self, layer: int) -> list[Card]:
        """All cards of a layer, by feature: a look at every one, slow for wide layers."""
        if not 0 <= layer < self.n_layers:
            raise DictionaryError(f"{self.path} has cards of {self.n_layers} layers, not {layer}")
        n_features = len(self._layers[layer][1]) - 1
        return [self.card(layer, f) for f in range(n_features) if self._has(layer, f)]

    def _has(self, layer: int, feature: int) -> bool:
        if not 0 <= layer < self.n_layers:
            return False
        offsets = self._layers[layer][1]
        return 0 <= feature < len(offsets) - 1 and offsets[feature] != offsets[feature + 1]

    @cached_property
    def _layers(self) -> list[tuple[Path, list[int]]]:
        """File and offsets of every layer."""
        path = self.path / INDEX
        content = read_bytes(path, DictionaryError, ADVICE, MOST_INDEX_BYTES)
        with readable(path, DictionaryError, ADVICE, problem="is damaged", also=(zlib.error,)):
            index = json.loads(_inflated(content, MOST_INDEX_BYTES))
            if isinstance(index, dict):
                index = [index[str(layer)] for layer in range(len(index))]
            return [self._layer(entry) for entry in index]

    def _layer(self, entry: Mapping[str, Any]) -> tuple[Path, list[int]]:
        name, offsets = entry["filename"], entry["offsets"]
        if not isinstance(name, str) or Path(name).name != name or "\\" in name:
            raise ValueError(f"{str(name)[:60]!r} is no file's name")
        if not isinstance(offsets, list) or not all(type(at) is int for at in offsets):
            raise ValueError(f"the offsets of {name} are no list of whole numbers")
        return self.path / name, offsets


def cards_in(path: Path) -> CardBook | PublishedCards:
    """The cards of a dictionary's folder: our own, or else those in circuit-tracer's layout.

    `path` is the dictionary's folder, its `features` folder or a card file. Nothing is read yet;
    where there are no cards, reading them raises DictionaryError.
    """
    if not (path / CARDS_FILE).is_file():
        for folder in (path / FOLDER, path):
            if (folder / INDEX).is_file():
                return PublishedCards(folder)
    return load_cards(path)


def has_cards(folder: Path) -> bool:
    """Whether a dictionary's folder holds cards of either kind."""
    return (folder / CARDS_FILE).is_file() or isinstance(cards_in(folder), PublishedCards)


def _inflated(content: bytes, most: int) -> bytes:
    """Data of zlib or gzip, of so many bytes at most; ValueError for more."""
    unpacker = zlib.decompressobj(wbits=47)
    result = unpacker.decompress(content, most + 1)
    if len(result) > most:
        raise ValueError(f"more than {most >> 20} MiB")
    if not unpacker.eof:
        raise ValueError("it ends too early")
    return result


def _card(layer: int, feature: int, record: Mapping[str, Any]) -> Card:
    examples = [
        _example(group["quantile_name"], example)
        for group in record["examples_quantiles"]
        for example in group["examples"]
        if example["tokens"]
    ]
    peaks = [max(example.activations) for example in examples]
    largest = max([0.0, *peaks])
    return Card(
        layer=layer,
        feature=feature,
        label=_label(examples),
        frequency=_number(record.get("activation_frequency"), math.nan),
        max_activation=max(largest, _number(record.get("act_max"), largest)),
        promotes=_texts(record.get("top_logits")),
        suppresses=_texts(record.get("bottom_logits")),
        examples=tuple(examples),
    )


def _example(quantile: Any, record: Mapping[str, Any]) -> Example:
    tokens = _texts(record["tokens"])
    activations = [_number(value, 0.0) for value in record["tokens_acts_list"]]
    if len(tokens) != len(activations):
        raise ValueError(f"{len(tokens)} tokens and {len(activations)} activations")
    peak = activations.index(max(activations))
    part = slice(max(peak - BEFORE, 0), peak + AFTER + 1)
    return Example(str(quantile), tokens[part], tuple(activations[part]))


def _label(examples: Sequence[Example]) -> str:
    """Of the contexts alone: how far a promoted token stands out is not stored.

    The rest of the text is not known, so the feature's places are set apart from those of its
    examples at which it is silent.
    """
    peaks = [_occurrence(e, e.peak) for e in examples if e.activations[e.peak] > 0]
    silent = [
        _occurrence(example, place)._replace(activation=1.0)
        for example in examples
        for place, activation in enumerate(example.activations)
        if activation <= 0
    ]
    return make_label(peaks, (), (), Background(silent))


def _occurrence(example: Example, place: int) -> Occurrence:
    before = example.tokens[max(place - REACH, 0) : place]
    return Occurrence(before, example.tokens[place], example.activations[place])


def _texts(values: Any) -> tuple[str, ...]:
    return tuple(str(value) for value in values or ())


def _number(value: Any, otherwise: float) -> float:
    """A finite number, or what stands for one that is not there."""
    number = otherwise if value is None else float(value)
    return number if math.isfinite(number) else otherwise
