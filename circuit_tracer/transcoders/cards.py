"""Feature cards: what each feature fires on and promotes, read from `cards.parquet` without torch.

One zstd Parquet file a dictionary, one row group a layer, one row a feature in order, so that a
card is found without an index and labels are read without the rest. Examples are stored as token
ids and activations in 255ths of the feature's largest; the tokens' texts are in the file's
metadata.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from circuit_tracer.bundled import CARDS_FILE
from circuit_tracer.errors import DictionaryError
from circuit_tracer.graphs.files.atomic import new_file
from circuit_tracer.graphs.files.exchange import cantor
from circuit_tracer.reading import readable

VERSION = "1"
QUANTILES = ("Top", "Subsample interval 0", "Subsample interval 1", "Subsample interval 2")
"""The strongest examples, then samples from the upper, middle and lower third of the range."""
SCHEMA = pa.schema(
    [
        ("layer", pa.int16()),
        ("feature", pa.int32()),
        ("label", pa.string()),
        ("frequency", pa.float32()),
        ("max_activation", pa.float32()),
        ("promotes", pa.list_(pa.string())),
        ("suppresses", pa.list_(pa.string())),
        ("example_quantiles", pa.list_(pa.uint8())),
        ("example_lengths", pa.list_(pa.uint8())),
        ("example_tokens", pa.list_(pa.int32())),
        ("example_activations", pa.list_(pa.uint8())),
    ]
)


@dataclass(frozen=True)
class Example:
    """Some text around a place where a feature fires."""

    quantile: str
    """One of `QUANTILES`."""
    tokens: tuple[str, ...]
    activations: tuple[float, ...]
    """One a token, to 1/255 of the feature's largest."""

    @property
    def peak(self) -> int:
        """Where the feature fires most."""
        return max(range(len(self.tokens)), key=self.activations.__getitem__, default=0)


@dataclass(frozen=True)
class Card:
    """What is known of one feature."""

    layer: int
    feature: int
    label: str
    """Short automatic label; "" if the feature never fired."""
    frequency: float
    """Share of tokens on which it is active."""
    max_activation: float
    promotes: tuple[str, ...]
    """Tokens whose logit it raises most directly, strongest first."""
    suppresses: tuple[str, ...]
    """Tokens whose logit it lowers most directly, strongest first."""
    examples: tuple[Example, ...]

    @property
    def index(self) -> int:
        """The Cantor pair of layer and feature, the field's one-number name of a feature."""
        return cantor(self.layer, self.feature)


@dataclass(frozen=True)
class CardBook:
    """The cards of a dictionary, read as they are asked for."""

    path: Path
    _labels: dict[int, list[str]] = field(default_factory=dict, repr=False)

    def labels(self, features: Iterable[tuple[int, int]]) -> list[str]:
        """Labels of (layer, feature) pairs, "" without a card; reads each layer's labels once."""
        wanted, known = list(features), self._labels
        for layer in {layer for layer, _ in wanted} - known.keys():
            there = 0 <= layer < self.n_layers
            table = self._file.read_row_group(layer, ["label"]) if there else None
            known[layer] = [] if table is None else table["label"].to_pylist()
        return [known[layer][i] if 0 <= i < len(known[layer]) else "" for layer, i in wanted]

    def card(self, layer: int, feature: int) -> Card:
        """One feature's card; DictionaryError if there is none."""
        return self.cards([(layer, feature)])[0]

    def cards(self, features: Iterable[tuple[int, int]]) -> list[Card]:
        """Cards of (layer, feature) pairs, in their order; reads each layer once."""
        wanted = list(features)
        tables = {layer: self._table(layer) for layer in {layer for layer, _ in wanted}}
        cards = []
        for layer, feature in wanted:
            table = tables[layer]
            if not table.num_rows:
                raise DictionaryError(f"{self.path.name} has no cards of layer {layer}")
            if not 0 <= feature < table.num_rows:
                raise DictionaryError(
                    f"layer {layer} has cards for features 0 to {table.num_rows - 1}, not for "
                    f"{feature}"
                )
            cards.append(self._card(table.slice(feature, 1).to_pylist()[0]))
        return cards

    def layer_cards(self, layer: int) -> list[Card]:
        """All cards of a layer, by feature; DictionaryError if it has none."""
        return [self._card(row) for row in self._table(layer).to_pylist()]

    @property
    def dictionary_sha256(self) -> str:
        """Hash of the weights the cards were made from."""
        return self._metadata.get("dictionary_sha256", "")

    @property
    def n_layers(self) -> int:
        """Number of layers with cards."""
        return int(self._file.num_row_groups)

    @cached_property
    def _file(self) -> Any:
        place = f"the file of feature cards {self.path.parent.name}/{self.path.name}"
        advice = (
            "go without labels, or make the cards with "
            "circuit_tracer.transcoders.card_making.make_cards"
        )
        with readable(place, DictionaryError, advice, problem="is damaged"):
            return pq.ParquetFile(self.path)

    @cached_property
    def _metadata(self) -> dict[str, str]:
        stored = self._file.schema_arrow.metadata or {}
        metadata = {key.decode(): value.decode() for key, value in stored.items()}
        if metadata.get("cards_version") != VERSION:
            raise DictionaryError(
                f"{self.path.name} is no card file of version {VERSION}; make the cards again"
            )
        return metadata

    @cached_property
    def _vocabulary(self) -> dict[int, str]:
        return {int(i): text for i, text in json.loads(self._metadata["vocabulary"]).items()}

    def _table(self, layer: int) -> Any:
        if not 0 <= layer < self.n_layers:
            raise DictionaryError(
                f"{self.path.name} has cards for layers 0 to {self.n_layers - 1}, not for {layer}"
            )
        return self._file.read_row_group(layer)

    def _card(self, row: dict[str, Any]) -> Card:
        names = ("layer", "feature", "label", "frequency", "max_activation")
        return Card(
            **{name: row[name] for name in names},
            promotes=tuple(row["promotes"]),
            suppresses=tuple(row["suppresses"]),
            examples=tuple(self._examples(row)),
        )

    def _examples(self, row: dict[str, Any]) -> Iterable[Example]:
        start, step, vocabulary = 0, row["max_activation"] / 255, self._vocabulary
        tokens = [vocabulary.get(i, "") for i in row["example_tokens"]]
        activations = [a * step for a in row["example_activations"]]
        for quantile, length in zip(row["example_quantiles"], row["example_lengths"], strict=True):
            place = slice(start, start + length)
            start += length
            yield Example(
                quantile=QUANTILES[quantile],
                tokens=tuple(tokens[place]),
                activations=tuple(activations[place]),
            )


def load_cards(path: Path) -> CardBook:
    """The cards in a `cards.parquet`, or in a dictionary's folder; nothing is read yet."""
    return CardBook(path / CARDS_FILE if path.is_dir() else path)


def feature_json(card: Card, scan: str) -> dict[str, Any]:
    """A card in the form that feature viewers read: the content of `feature_path(card, scan)`."""
    by_quantile: dict[str, list[dict[str, Any]]] = {}
    for example in card.examples:
        by_quantile.setdefault(example.quantile, []).append(_example_json(example))
    return {
        "index": card.index,
        "scan": scan,
        "transcoder_id": scan,
        "examples_quantiles": [
            {"quantile_name": name, "examples": examples} for name, examples in by_quantile.items()
        ],
        "top_logits": list(card.promotes),
        "bottom_logits": list(card.suppresses),
        "act_min": 0.0,  # a page that misses it colours from 0 to 1.4
        "act_max": card.max_activation,
        "activation_frequency": card.frequency,
    }


def _example_json(example: Example) -> dict[str, Any]:
    return {
        "tokens": list(example.tokens),
        "tokens_acts_list": [round(a, 4) for a in example.activations],
        "train_token_ind": example.peak,  # the token that a page puts in the middle
        "is_repeated_datapoint": False,
    }


def feature_path(card: Card, scan: str) -> str:
    """Where viewers look for a feature's JSON."""
    return f"features/{scan}/{card.index}.json"


def write_cards(
    path: Path,
    layers: Iterable[Sequence[dict[str, Any]]],
    *,
    vocabulary: dict[int, str],
    dictionary_sha256: str,
) -> None:
    """Write a card file whole or not at all; `layers` gives each layer's rows, by feature."""
    metadata = {
        "cards_version": VERSION,
        "dictionary_sha256": dictionary_sha256,
        "vocabulary": json.dumps({str(i): t for i, t in sorted(vocabulary.items())}),
    }
    schema = SCHEMA.with_metadata(metadata)
    options: dict[str, Any] = {"compression_level": 19, "write_statistics": False}
    with (
        new_file(path, overwrite=True) as file,
        pq.ParquetWriter(file, schema, compression="zstd", **options) as writer,
    ):
        for rows in layers:
            table = pa.Table.from_pylist(list(rows), schema=schema)
            writer.write_table(table, row_group_size=max(len(table), 1))
