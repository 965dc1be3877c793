"""What a file format is: a reader that knows its files by name and turns headers into a plan."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from circuit_tracer.errors import DictionaryError
from circuit_tracer.models.wiring import Wiring
from circuit_tracer.transcoders.dictionary import Activation, Kind
from circuit_tracer.transcoders.formats.files import check_contiguous, place_of
from circuit_tracer.transcoders.formats.hooks import read_point, write_point
from circuit_tracer.transcoders.formats.plan import LayerPlan, Plan

T = TypeVar("T")


@dataclass(frozen=True)
class Folder:
    """A dictionary's files, wherever they come from, and how its graphs will call it."""

    path: Path
    name: str
    """The folder's name, a bundled one or the hub reference."""
    source: str
    """"bundled", "folder" or "hub:org/repo/sub@commit"."""
    format: str
    """Name of the reader that knows its files."""
    files: Mapping[str, Path]
    """By their path relative to the folder, with slashes."""
    location: str = ""
    """Absolute path of a folder, with the pattern that chooses in it; empty for others."""
    wiring: Wiring | None = None
    """Of the model it is for, if one is at hand; it settles names that mean several places."""

    @property
    def repository(self) -> str:
        """Hub repository, or the folder's name: some formats say their model nowhere else."""
        match = re.match(r"hub:([^/]+/[^/@]+)", self.source)
        return match[1] if match else self.name

    def neighbour(self, name: str, other: str) -> Path:
        """The file `other` in the same folder as the file `name`; DictionaryError without it."""
        home, slash, _ = name.rpartition("/")
        path = self.files.get(f"{home}{slash}{other}")
        if path is None:
            raise DictionaryError(
                f"{place_of(self.files[name])} has no {other} beside it; put it there"
            )
        return path


@dataclass(frozen=True)
class Reader:
    """One file format."""

    name: str
    """What `--format` calls it."""
    recognised_by: str
    """Pattern of a relative path that only this format has."""
    parts: str
    """Pattern of the files that make a dictionary: what has to be downloaded."""
    plan: Callable[[Folder], Plan]
    """Where everything is, from headers and configs. Raises DictionaryError."""
    choice: Callable[[Collection[str]], list[str]] | None = None
    """Takes one dictionary's files where a repository has several of them."""

    def choose(self, names: Collection[str]) -> list[str]:
        """Which of the files make the dictionary."""
        parts = sorted(name for name in names if re.fullmatch(self.parts, name))
        return parts if self.choice is None else self.choice(parts)


# Layers with a config each


class LayerReading(NamedTuple):
    """One layer's weights and what the config beside them says."""

    plan: LayerPlan
    activation: Activation
    reads_as: str
    writes_as: str
    model: str | None = None
    notes: tuple[str, ...] = ()


def by_number(
    readings: Iterable[tuple[str, LayerReading]], folder: Folder, form: str, *, gaps: bool = False
) -> list[LayerReading]:
    """Layers in order, of (home, layer) pairs whose configs say which layer they are.

    DictionaryError for two of one number and, unless there may be `gaps`, for a missing one; `form`
    names a layer's file, with a {}.
    """
    layers: dict[int, LayerReading] = {}
    for home, reading in readings:
        number = reading.plan.layer
        if number in layers:
            raise DictionaryError(
                f"two folders of {folder.name} are layer {number} (one is {home or '.'}); give "
                "the folder of one dictionary"
            )
        layers[number] = reading
    if not gaps:
        check_contiguous(layers, folder.name, form)
    return [layers[number] for number in sorted(layers)]


def joined(
    format: str,
    folder: Folder,
    layers: Sequence[LayerReading],
    *,
    kind: Kind = "plt",
    model: str | None = None,
    family: str | None = None,
) -> Plan:
    """The plan of layers that agree with each other; the first one's notes are the dictionary's.

    `model` is the one that it was made for, `family` a name that settles what norms do without it.
    """
    name = model or layers[0].model

    def same(what: str, values: Iterable[T]) -> T:
        given = list(values)
        for layer, value in zip(layers, given, strict=True):
            if value != given[0]:
                raise DictionaryError(
                    f"the layers of {folder.name} differ in their {what}: layer "
                    f"{layers[0].plan.layer} has {given[0]} and layer {layer.plan.layer} has "
                    f"{value}; give layers that belong together"
                )
        return given[0]

    reads = (
        read_point(
            layer.reads_as, layer=layer.plan.layer, wiring=folder.wiring, model=name or family
        )
        for layer in layers
    )
    writes = (write_point(layer.writes_as, layer=layer.plan.layer) for layer in layers)
    return Plan(
        format=format,
        kind=kind,
        layers=tuple(layer.plan for layer in layers),
        activation=same("activation", (layer.activation for layer in layers)),
        reads=same("reading points", reads),
        writes=same("writing points", writes),
        reads_as=layers[0].reads_as,
        writes_as=layers[0].writes_as,
        model_name=name,
        notes=layers[0].notes,
    )
