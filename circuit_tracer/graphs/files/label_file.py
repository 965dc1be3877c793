"""Labels of features from a file: JSON lines, CSV, or Neuronpedia's export of explanations.

Every entry names a layer, a feature (or `index`) and a label (or `description`); in Neuronpedia's
the layer is a source such as "12-clt-hp", whose number counts. JSON arrays and `.gz` files are
read, too.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import logging
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.graph import NodeKind
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.reading import read_bytes, readable

logger = logging.getLogger(__name__)

MOST_BYTES = 1 << 30
"""Size of a label file, unpacked."""
LONGEST = 200
"""Characters of a label that are kept."""
ADVICE = "give JSON lines, CSV or Neuronpedia's export with layer, feature and label"
FIELDS = (("layer",), ("feature", "index"), ("label", "description"))
"""What each field is called, by us and by Neuronpedia."""

FeatureLabels = Mapping[tuple[int, int], str]
"""Labels by (layer, feature)."""


def read_labels(path: Path) -> dict[tuple[int, int], str]:
    """Labels by (layer, feature); a feature that is named twice keeps its first label, with a note.

    Raises UsageError for a file that is missing, damaged, too large, or has an entry without a
    layer, feature and label.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "labels.csv"
    >>> _ = file.write_text("layer,feature,label\\n3,117,colours of fruit\\n")
    >>> read_labels(file)
    {(3, 117): 'colours of fruit'}
    """
    labels: dict[tuple[int, int], str] = {}
    repeated: list[tuple[int, int]] = []
    for number, entry in enumerate(_entries(path), 1):
        feature, label = _parsed(entry, f"entry {number} of {path.name}")
        if feature in labels:
            repeated.append(feature)
        elif label:
            labels[feature] = label
    if not labels:
        raise UsageError(f"{path.name} holds no labels; {ADVICE}")
    if repeated:
        _note(repeated, f"{path.name}: {{}} named more than once; the first label is taken")
    return labels


def with_label_file(pruned: PrunedGraph, labels: FeatureLabels) -> PrunedGraph:
    """The graph with the given labels in place of its own; others stay as they are.

    Labels of layers that the graph's model does not have are noted, and raise UsageError if there
    are no others.
    """
    n_layers = pruned.graph.info.n_layers
    check_known(labels, lambda layer, _: layer < n_layers, "this graph's model")
    nodes = pruned.graph.nodes
    rows = np.flatnonzero(nodes.kind == NodeKind.FEATURE)
    names = zip(nodes.layer[rows].tolist(), nodes.feature[rows].tolist(), strict=True)
    given = [(row, labels[name]) for row, name in zip(rows, names, strict=True) if name in labels]
    where = np.array([row for row, _ in given], dtype=np.int64)
    return pruned.with_labels(where, [label for _, label in given])


def check_known(labels: FeatureLabels, exists: Callable[[int, int], bool], owner: str) -> None:
    """Note labels of features that the `owner` does not have; UsageError if it has none of them."""
    unknown = [feature for feature in labels if not exists(*feature)]
    if len(unknown) == len(labels):
        raise UsageError(
            f"no feature that `labels` names is one of {owner}, such as {_name(unknown[0])}; give "
            "the labels of its dictionary"
        )
    if unknown:
        _note(unknown, f"`labels`: {{}} not in {owner} and ignored")


def _note(features: list[tuple[int, int]], sentence: str) -> None:
    count = len(features)
    subject = f"{_name(features[0])} is" if count == 1 else f"{count:,} features are"
    logger.info(sentence.format(subject) + ("" if count == 1 else f" ({_name(features[0])}, ...)"))


def _name(feature: tuple[int, int]) -> str:
    return "L{}/{}".format(*feature)


def _entries(path: Path) -> Iterator[Any]:
    content = read_bytes(path, UsageError, ADVICE, MOST_BYTES)
    if content[:2] == b"\x1f\x8b":
        content = _unpacked(content, path)
    with readable(path.name, UsageError, ADVICE):
        text = content.decode("utf-8-sig")
    if path.name.removesuffix(".gz").endswith(".csv"):
        with readable(path.name, UsageError, ADVICE, also=(csv.Error,)):
            entries = list(csv.DictReader(io.StringIO(text, newline="")))
        yield from entries
        return
    if text.lstrip().startswith("["):
        with readable(path.name, UsageError, ADVICE, problem="cannot be read as JSON"):
            entries = json.loads(text)
        yield from entries
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            with readable(f"line {number} of {path.name}", UsageError, ADVICE):
                entry = json.loads(line)
            yield entry


def _unpacked(content: bytes, path: Path) -> bytes:
    """All members of a gzip file; a bomb is refused before it is unpacked whole."""
    with readable(path.name, UsageError, ADVICE, also=(zlib.error, EOFError)):
        unpacked = gzip.GzipFile(fileobj=io.BytesIO(content)).read(MOST_BYTES + 1)
    if len(unpacked) > MOST_BYTES:
        raise UsageError(f"{path.name} is too large ({MOST_BYTES >> 20} MiB at most); {ADVICE}")
    return unpacked


def _parsed(entry: Any, place: str) -> tuple[tuple[int, int], str]:
    if not isinstance(entry, dict):
        raise UsageError(f"{place} is no object; {ADVICE}")
    layer, feature, label = (_first(entry, names, place) for names in FIELDS)
    numbers = [re.fullmatch(r"(\d{1,9})(-.*)?", str(value).strip()) for value in (layer, feature)]
    if numbers[0] is None or numbers[1] is None or numbers[1][2] or not isinstance(label, str):
        raise UsageError(
            f"{place} has layer {str(layer)[:40]!r}, feature {str(feature)[:40]!r} and label "
            f"{str(label)[:40]!r}; {ADVICE}"
        )
    return (int(numbers[0][1]), int(numbers[1][1])), " ".join(label.split())[:LONGEST]


def _first(entry: dict[str, Any], names: Iterable[str], place: str) -> Any:
    for name in names:
        if entry.get(name) is not None:
            return entry[name]
    raise UsageError(f"{place} has no {' or '.join(names)}; {ADVICE}")
