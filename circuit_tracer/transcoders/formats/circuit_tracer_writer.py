"""Write a dictionary in circuit-tracer's layout (circuit_tracer_sets.py says what that is)."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
import yaml

from circuit_tracer.bundled import CARDS_FILE
from circuit_tracer.errors import DictionaryError
from circuit_tracer.graphs.files.atomic import new_folder
from circuit_tracer.transcoders.dictionary import Dictionary, LayerTranscoder
from circuit_tracer.transcoders.formats.circuit_tracer_sets import CONFIG, PER_LAYER, cross_layer
from circuit_tracer.transcoders.formats.plan import hash_files
from circuit_tracer.transcoders.formats.writing import Writable, write_safetensors


def save_circuit_tracer(
    dictionary: Dictionary,
    folder: Path,
    *,
    overwrite: bool = False,
    cards: Path | None = None,
) -> tuple[str, ...]:
    """Write `folder` as a whole, each tensor in the dtype it has; feature `cards` come along.

    The config keeps the hash by which the dictionary is known: a copy is no other dictionary.

    Returns what circuit-tracer itself would read otherwise than we do, in sentences.
    Raises OutputError where it cannot be written, DictionaryError for sparse autoencoders, which
    are no transcoders.
    """
    if dictionary.kind == "sae":
        raise DictionaryError(
            f"{dictionary.identity.name} is a sparse autoencoder, and circuit-tracer's layout is "
            "for transcoders; convert it to ours or saelens"
        )
    crossing, several_k = dictionary.kind == "clt", _several_k(dictionary)
    with new_folder(folder, overwrite=overwrite, marker=CONFIG, ours=_our_files(folder)) as fresh:
        for transcoder in dictionary.layers:
            _write_layer(fresh, transcoder, crossing=crossing, several_k=several_k)
        config = _config(dictionary, folder.name)
        if dictionary.identity.sha256:
            config["sha256"] = hash_files(_weight_files(dictionary, fresh))
            config["converted_from"] = dictionary.identity.sha256
        if cards is not None:
            shutil.copyfile(cards, fresh / CARDS_FILE)
        text = yaml.safe_dump(config, sort_keys=False)
        (fresh / CONFIG).write_text(text, encoding="utf-8")
    return _warnings(dictionary)


def _weight_files(dictionary: Dictionary, folder: Path) -> tuple[Path, ...]:
    """In the order in which they are hashed when they are read."""
    names = ("W_enc_{}", "W_dec_{}") if dictionary.kind == "clt" else ("layer_{}",)
    layers = range(dictionary.n_layers)
    return tuple(folder / f"{name.format(i)}.safetensors" for i in layers for name in names)


def _our_files(folder: Path) -> list[str]:
    """Names in the folder that a dictionary before may have left there."""
    patterns = ("layer_*.safetensors", "W_enc_*.safetensors", "W_dec_*.safetensors")
    return [
        CONFIG,
        CARDS_FILE,
        *(file.name for pattern in patterns for file in folder.glob(pattern)),
    ]


def _config(dictionary: Dictionary, name: str) -> dict[str, Any]:
    first = dictionary.layers[0]
    model = (dictionary.config.get("model") or {}).get("name")
    config: dict[str, Any] = {
        "model_kind": "cross_layer_transcoder" if dictionary.kind == "clt" else "transcoder_set",
        "model_name": model or "unknown",
        "feature_input_hook": dictionary.reads,
        "feature_output_hook": dictionary.writes,
        "scan": str(dictionary.config.get("scan") or name),
    }
    if first.activation != "jumprelu":
        config["activation"] = first.activation
    if first.k is not None and not _several_k(dictionary):
        config["k"] = first.k
    if first.activation != "relu" and first.rectified:
        config["rectified"] = True
    return config


def _several_k(dictionary: Dictionary) -> bool:
    return len({t.k for t in dictionary.layers}) > 1


def _write_layer(folder: Path, t: LayerTranscoder, *, crossing: bool, several_k: bool) -> None:
    layout = cross_layer(t.layer) if crossing else PER_LAYER
    names = {**layout.required, **layout.optional}
    tensors: dict[str, Writable] = {names[name]: value for name, value in t.tensors().items()}
    if several_k and t.k is not None:
        tensors[f"k_{t.layer}" if crossing else "k"] = torch.tensor(t.k, device="cpu")
    if not crossing:
        one_layer = {"W_dec": tuple(t.W_enc.shape)}  # without the axis of written layers
        write_safetensors(folder / f"layer_{t.layer}.safetensors", tensors, shapes=one_layer)
        return
    if t.W_skip is not None:
        tensors[names["W_skip"]] = t.W_skip.T  # used as x @ W_skip there
    decoder = {names["W_dec"]: tensors.pop(names["W_dec"])}
    write_safetensors(folder / f"W_enc_{t.layer}.safetensors", tensors)
    write_safetensors(folder / f"W_dec_{t.layer}.safetensors", decoder)


def _warnings(dictionary: Dictionary) -> tuple[str, ...]:
    first = dictionary.layers[0]
    warnings = []
    if dictionary.kind == "clt" and first.activation == "topk":
        warnings.append("circuit-tracer reads cross-layer dictionaries as ReLU; this one is TopK")
    if _several_k(dictionary):
        warnings.append("circuit-tracer knows one k for all layers; here they differ")
    if not (dictionary.config.get("model") or {}).get("name"):
        warnings.append(f"the model's name is not known; write it into {CONFIG}")
    return tuple(warnings)
