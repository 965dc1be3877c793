"""Our own file format: a folder with `dictionary.json` and one `layer_{i}.safetensors` a layer.

`dictionary.json` says what the dictionary is, for which model, how it was trained and how good it
is. Each weight file holds `W_enc (F, d)`, `b_enc (F)`, `W_dec (F, W, d)` with W = 1 (per-layer) or
L - i (cross-layer, `W_dec[:, m - i]` writes to layer m), `b_dec (d)` and, where there are any,
`threshold (F)` and `W_skip (d, d)`, used as x @ W_skip.T.

A sparse autoencoder ("kind": "sae") has the files of its `layers` alone; `n_layers` is the model's.

`k` is one number or one a layer; `writes` says whether the MLP module's output is written or what
is added to the residual stream; `rectified: false` says that TopK or JumpReLU come without ReLU.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any, get_args

from circuit_tracer.bundled import CARDS_FILE, DICTIONARY_FILE, sha256_of
from circuit_tracer.errors import DictionaryError
from circuit_tracer.graphs.files.atomic import new_file, new_folder
from circuit_tracer.graphs.graph import Identity
from circuit_tracer.models.parts import RESIDUAL, ReadPoint, WritePoint
from circuit_tracer.transcoders.dictionary import Activation, Dictionary, Kind
from circuit_tracer.transcoders.formats.files import (
    GET_AGAIN,
    by_layer,
    check_contiguous,
    place_of,
    read_json,
    refuse_pickles,
)
from circuit_tracer.transcoders.formats.plan import LayerPlan, Plan
from circuit_tracer.transcoders.formats.reader import Folder, Reader
from circuit_tracer.transcoders.formats.settings import Settings, is_count
from circuit_tracer.transcoders.formats.tensors import (
    find_tensor,
    refuse_others,
    safetensors_headers,
)
from circuit_tracer.transcoders.formats.writing import write_safetensors

FORMAT = "circuit-tracer-dictionary"
VERSION = 1
CONFIG = DICTIONARY_FILE
_FILE = r"layer_(\d+)\.safetensors"


def layer_file(layer: int | str) -> str:
    """Name of one layer's weight file."""
    return f"layer_{layer}.safetensors"


# Writing


def save_dictionary(
    dictionary: Dictionary,
    folder: Path,
    *,
    overwrite: bool = True,
    converted_from: str | None = None,
    cards: Path | None = None,
) -> Identity:
    """Write `folder` as a whole, each tensor in the dtype it has; the identity it now has.

    An earlier dictionary there is replaced unless `overwrite` is False. A copy of a dictionary in
    another format says what it was `converted_from` (a sha256) and takes its `cards` along. What
    `dictionary.config` holds (model, training, evaluation) goes into `dictionary.json`.
    Raises OutputError where it cannot be written.
    """
    with new_folder(folder, overwrite=overwrite, marker=CONFIG, ours=_our_files(folder)) as fresh:
        for number in dictionary.numbers:
            write_safetensors(fresh / layer_file(number), dictionary.layers[number].tensors())
        sha256 = sha256_of(fresh / layer_file(number) for number in dictionary.numbers)
        others = {k: v for k, v in dictionary.config.items() if k not in _STRUCTURE}
        origin = {} if converted_from is None else {"converted_from": converted_from}
        config = {**_described(dictionary), "sha256": sha256, **origin, **others}
        if cards is not None:
            shutil.copyfile(cards, fresh / CARDS_FILE)
        (fresh / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    return Identity(
        name=folder.name,
        source="folder",
        sha256=converted_from or sha256,
        kind=dictionary.kind,
        location=str(folder.resolve()),
    )


def _our_files(folder: Path) -> list[str]:
    """Names in the folder that a dictionary before may have left there."""
    layers = [file.name for file in folder.glob("layer_*.safetensors")]
    return [CONFIG, f".{CONFIG}.partial", CARDS_FILE, *layers]


def _described(dictionary: Dictionary) -> dict[str, Any]:
    layers = [dictionary.layers[number] for number in dictionary.numbers]
    first, ks = layers[0], [t.k for t in layers]
    return {
        "format": FORMAT,
        "version": VERSION,
        "kind": dictionary.kind,
        "n_layers": dictionary.n_layers,
        **({"layers": list(dictionary.numbers)} if dictionary.kind == "sae" else {}),
        "d_model": first.W_enc.shape[1],
        "n_features": [t.n_features for t in layers],
        "activation": first.activation,
        "k": first.k if len(set(ks)) == 1 else ks,
        "skip": first.W_skip is not None,
        "reads": dictionary.reads,
        "writes": dictionary.writes,
        **({} if first.rectified else {"rectified": False}),
    }


# Reading


def read_config(folder: Path) -> dict[str, Any]:
    """`dictionary.json`, checked for everything the loader relies on."""
    if not (folder / CONFIG).is_file():
        raise DictionaryError(_no_config(folder.name))
    return _checked_config(folder / CONFIG)


def _no_config(name: str) -> str:
    return (
        f"the folder {name} holds no dictionary: {CONFIG} is missing; give a folder with {CONFIG} "
        f"and {layer_file(0)}, {layer_file(1)}, ..."
    )


def _checked_config(path: Path) -> Settings:
    config = Settings(values, path) if isinstance(values := read_json(path), dict) else None
    if config is None or config.get("format") != FORMAT:
        raise DictionaryError(
            f'{place_of(path)} does not say "format": "{FORMAT}", so it is not one of ours; '
            "give another folder"
        )
    if config.get("version") != VERSION:
        raise config.wrong(
            f"has version {config.get('version')} of the format and this program reads version "
            f"{VERSION}; use a matching circuit-tracer"
        )
    n_layers = config.count("n_layers")
    config.count("d_model")
    choices = {"kind": Kind, "activation": Activation, "reads": ReadPoint, "writes": WritePoint}
    for name, choice in choices.items():
        if config.get(name) not in get_args(choice):
            raise config.needs(name, " or ".join(get_args(choice)))
    for name in ("model", "training", "evaluation"):
        if not isinstance(config.get(name) or {}, dict):
            raise config.needs(name, "an object")
    if not _are_figures((config.get("evaluation") or {}).get("layers") or []):
        raise config.needs("evaluation", "figures of every layer")
    if (config["kind"] == "sae") != (config["reads"] == config["writes"] == RESIDUAL):
        raise config.needs("kind", f"sae exactly where {RESIDUAL} is read and written")
    numbers = _numbers(config)
    if not all(isinstance(n, int) and 0 <= n < n_layers for n in numbers) or not numbers:
        raise config.needs("layers", f"a list of layers from 0 to {n_layers - 1}")
    features = config.get("n_features")
    if not isinstance(features, list) or not all(is_count(f) for f in features):
        raise config.needs("n_features", "a list with the number of features of every layer")
    if len(features) != len(numbers):
        raise config.wrong(
            f"has {len(numbers)} layers but {len(features)} numbers of features; {GET_AGAIN}"
        )
    if not isinstance(config.get("converted_from") or "", str):
        raise config.needs("converted_from", "the sha256 of a dictionary")
    if not isinstance(config.get("rectified", True), bool):
        raise config.needs("rectified", "true or false")
    _check_k(config)
    return config


def _numbers(config: Settings) -> list[int]:
    """The layers that have a file: all of a transcoder's, the listed ones of a sparse
    autoencoder."""
    if config["kind"] != "sae":
        return list(range(config["n_layers"]))
    listed = config.get("layers")
    return listed if isinstance(listed, list) else []


def _check_k(config: Settings) -> None:
    k, n_layers = config.get("k"), len(_numbers(config))
    if config["activation"] != "topk" and any(k if isinstance(k, list) else [k]):
        raise config.wrong(
            f"says {config['activation']} and there is a k, which only topk has; correct it"
        )
    ks = k if isinstance(k, list) and len(k) == n_layers else [k]
    if config["activation"] == "topk" and not all(map(is_count, ks)):
        raise config.wrong('says topk but not its k (how many features a token keeps); add "k"')


def _are_figures(layers: Any) -> bool:
    """Whether these are the evaluation's layers as they are printed: numbers, or null where there
    is none, under known names. Earlier versions did not store a layer's own number."""
    names = ("fvu", "fvu_median", "fvu_pooled", "l0", "dead")
    return isinstance(layers, list) and all(
        isinstance(layer, dict)
        and isinstance(layer.get("layer", 0), int)
        and all(
            (name in layer and isinstance(layer[name], (int, float, NoneType))) for name in names
        )
        and _are_responses(layer.get("jacobian") or {})
        for layer in layers
    )


def _are_responses(responses: Any) -> bool:
    """Whether these are a layer's figures of the response to a change, by kind of direction."""
    return isinstance(responses, dict) and all(
        isinstance(one, dict)
        and all(isinstance(one.get(n), (int, float, NoneType)) for n in ("cosine", "error"))
        for one in responses.values()
    )


def _plan(folder: Folder) -> Plan:
    """From the config and headers; every file is there, whole, and holds what it says."""
    if CONFIG not in folder.files:
        raise DictionaryError(_no_config(folder.name))
    path = folder.files[CONFIG]
    refuse_pickles(folder.files)
    config = _checked_config(path)
    notes = config.notes((*_STRUCTURE, "model", "training", "evaluation"))
    numbers, named = _numbers(config), by_layer(folder.files, _FILE)
    check_contiguous(named, folder.name, layer_file("{}"), numbers)
    if others := sorted(set(named) - set(numbers)):
        raise DictionaryError(
            f"{folder.name} has {layer_file(others[0])} but its {CONFIG} speaks of {len(numbers)} "
            "layers; remove the file or put the right config beside it"
        )
    files = [file for _, file in named.values()]
    return Plan(
        format=READER.name,
        kind=config["kind"],
        layers=tuple(
            _layer_plan(place, layer, file, config)
            for place, (layer, file) in enumerate(zip(numbers, files, strict=True))
        ),
        depth=config["n_layers"] if config["kind"] == "sae" else 0,
        activation=config["activation"],
        rectified=config.get("rectified", True),
        reads=config["reads"],
        writes=config["writes"],
        model_name=(config.get("model") or {}).get("name"),
        config={k: v for k, v in config.items() if k not in _STRUCTURE},
        notes=notes,
        sha256=config.get("sha256"),
        converted_from=config.get("converted_from"),
        hash_weights=lambda: sha256_of(files),
    )


READER = Reader(
    "ours",
    recognised_by=re.escape(CONFIG),
    parts=f"{re.escape(CONFIG)}|{re.escape(CARDS_FILE)}|{_FILE}",
    plan=_plan,
)

_STRUCTURE = (
    *("format", "version", "kind", "n_layers", "d_model", "n_features", "activation", "k"),
    *("skip", "reads", "writes", "rectified", "sha256", "layers"),
    "converted_from",
)
"""Keys of the config that the weights and fields of a `Dictionary` already say."""


def _layer_plan(place: int, layer: int, path: Path, config: Mapping[str, Any]) -> LayerPlan:
    """A layer, and which of those that have files it is."""
    names = ["W_enc", "b_enc", "W_dec", "b_dec"]
    if config["activation"] == "jumprelu":
        names.append("threshold")
    if config.get("skip"):
        names.append("W_skip")
    headers = safetensors_headers(path)
    refuse_others(headers, names, path, CONFIG)
    k = config.get("k")
    return LayerPlan(
        layer=layer,
        n_features=config["n_features"][place],
        d_model=config["d_model"],
        tensors={name: find_tensor(headers, name, path) for name in names},
        decoder="written",
        n_written=config["n_layers"] - layer if config["kind"] == "clt" else 1,
        k=k[place] if isinstance(k, list) else k,
    )


def update_config(folder: Path, **entries: Any) -> None:
    """Add or replace entries of `dictionary.json` (evaluation figures, ...), atomically."""
    config = {**read_config(folder), **entries}
    with new_file(folder / CONFIG, overwrite=True) as file:
        file.write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
