"""circuit-tracer's own layout, read and written: `config.yaml` and safetensors.

Per layer (`model_kind: transcoder_set`), `layer_{i}.safetensors`:
    W_enc (F, d), W_dec (F, d), b_enc, b_dec, [activation_function.threshold (F) or a scalar],
    [W_skip (out, in), used as x @ W_skip.T], [k, a scalar]
or `transcoders:`, a list of hf:// paths, one a layer, which may be Gemma Scope's npz files.

Cross-layer (`model_kind: cross_layer_transcoder`), `W_enc_{i}` and `W_dec_{i}.safetensors`:
    W_enc_{i} (F, d), b_enc_{i}, b_dec_{i}, [threshold_{i} (F)], [W_skip_{i} (in, out)];
    W_dec_{i} (F, L - i, d)
The skip is the other way round here than in a transcoder_set: used as x @ W_skip.

`sha256` of the weights and `converted_from`, the hash of what they are a copy of, are ours as well.
`activation` is relu, topk (`k` says how many; without it that is an error, never a silent ReLU) or
unsaid: TopK where there is a k, JumpReLU where there are thresholds. circuit-tracer's TopK and
JumpReLU leave ReLU out, so that negative values may pass; `rectified: true`, which only we write,
says that ReLU comes first.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

from circuit_tracer.bundled import CARDS_FILE
from circuit_tracer.errors import DictionaryError
from circuit_tracer.transcoders.dictionary import Activation, Kind
from circuit_tracer.transcoders.formats.files import (
    by_layer,
    check_contiguous,
)
from circuit_tracer.transcoders.formats.gemma_scope import npz_layer
from circuit_tracer.transcoders.formats.gemma_scope_2 import safetensors_layer
from circuit_tracer.transcoders.formats.hooks import ambiguity, read_point, write_point
from circuit_tracer.transcoders.formats.layout import Layout
from circuit_tracer.transcoders.formats.plan import LayerPlan, Plan
from circuit_tracer.transcoders.formats.reader import Folder, Reader
from circuit_tracer.transcoders.formats.settings import Settings, is_count
from circuit_tracer.transcoders.formats.tensors import (
    Headers,
    find_tensor,
    read_headers,
    refuse_others,
    safetensors_headers,
)
from circuit_tracer.transcoders.hub import fetch_file

CONFIG = "config.yaml"
_LAYER = r"layer_(\d+)\.safetensors"
_ENCODER, _DECODER = r"W_enc_(\d+)\.safetensors", r"W_dec_(\d+)\.safetensors"
USED = {"model_kind", "model_name", "feature_input_hook", "feature_output_hook", "transcoders"}
USED |= {"activation", "k", "rectified", "scan", "sha256", "converted_from"}
"""Keys of the config that mean something here."""
KNOWN_K = {"facebook/crv-8b-instruct-transcoders": 128}
"""TopK sets whose files do not say their k; circuit-tracer has it built in, too."""


_NAMES = ("W_enc", "W_dec", "b_enc", "b_dec")
PER_LAYER = Layout(
    "circuit-tracer's layout",
    {name: name for name in _NAMES},
    {"threshold": "activation_function.threshold", "W_skip": "W_skip"},
)


def cross_layer(layer: int) -> Layout:
    """Names of a cross-layer dictionary's tensors, of which W_dec is in a file of its own."""
    return Layout(
        PER_LAYER.announced_by,
        {name: f"{name}_{layer}" for name in _NAMES},
        {name: f"{name}_{layer}" for name in ("threshold", "W_skip")},
        transposed=("W_skip",),
        decoder="written",
    )


def _plan(folder: Folder) -> Plan:
    """From headers and the config."""
    if CONFIG not in folder.files:
        raise DictionaryError(
            f"{folder.name} lacks {CONFIG}, which says where the dictionary reads and writes; "
            "write one with model_kind, model_name, feature_input_hook, feature_output_hook"
        )
    path = folder.files[CONFIG]
    config = Settings.read(path)
    kinds: dict[object, Kind] = {"transcoder_set": "plt", "cross_layer_transcoder": "clt"}
    kind = kinds.get(str(config.get("model_kind", "transcoder_set")))
    if kind is None:
        raise config.wrong(
            f'has "model_kind": {str(config["model_kind"])[:40]} where '
            "transcoder_set and cross_layer_transcoder are known; correct it"
        )
    if "transcoders" in config:
        layers = _listed_layers(folder, config, kind)
    else:
        layers = _cross_layers(folder) if kind == "clt" else _single_layers(folder)
        _refuse_strays(folder, layers)
    model = config.text("model_name")
    reads_as, writes_as = config.get("feature_input_hook"), config.get("feature_output_hook")
    for key, value in (("feature_input_hook", reads_as), ("feature_output_hook", writes_as)):
        if not isinstance(value, str):
            raise config.wrong(
                f"does not say the {key}, so it is unknown where the dictionary "
                f"{'reads' if 'input' in key else 'writes'}; add it"
            )
    activation, notes = _activation(folder, config, layers)
    notes += config.notes(USED)
    if activation == "topk":
        layers = [_with_k(layer, folder, config) for layer in layers]
    return Plan(
        format=READER.name,
        kind=kind,
        layers=tuple(layers),
        activation=activation,
        rectified=activation == "relu" or config.get("rectified") is True,
        reads=read_point(reads_as, wiring=folder.wiring, model=model),
        writes=write_point(writes_as),
        reads_as=str(reads_as),
        writes_as=str(writes_as),
        model_name=model,
        config={"scan": config["scan"]} if isinstance(config.get("scan"), str) else {},
        notes=(*notes, *ambiguity(reads_as)),
        sha256=config.text("sha256"),
        converted_from=config.text("converted_from"),
    )


# Layers


def _refuse_strays(folder: Folder, layers: list[LayerPlan]) -> None:
    """DictionaryError for weights at the top that are part of no layer."""
    taken = {stored.path for layer in layers for stored in layer.tensors.values()}
    for name, path in folder.files.items():
        if "/" not in name and path.suffix == ".safetensors" and path not in taken:
            raise DictionaryError(
                f"{folder.name} holds {name}, which is part of no layer; take it out of the "
                "folder, or give the config that speaks of it"
            )


def _single_layers(folder: Folder) -> list[LayerPlan]:
    files = by_layer(folder.files, _LAYER)
    if not files:
        raise DictionaryError(f"{folder.name} lacks layer_0.safetensors; give a whole dictionary")
    check_contiguous(files, folder.name, "layer_{}.safetensors")
    return [_single_layer(layer, path) for layer, (_, path) in files.items()]


def _single_layer(layer: int, path: Path) -> LayerPlan:
    headers = safetensors_headers(path)
    return PER_LAYER.plan(layer, path, headers, k=_scalar_k(headers), also=("k",))


def _cross_layers(folder: Folder) -> list[LayerPlan]:
    encoders, decoders = by_layer(folder.files, _ENCODER), by_layer(folder.files, _DECODER)
    if not encoders:
        raise DictionaryError(f"{folder.name} lacks W_enc_0.safetensors; give a whole dictionary")
    check_contiguous(encoders, folder.name, "W_enc_{}.safetensors")
    n_layers = len(encoders)
    check_contiguous(decoders, folder.name, "W_dec_{}.safetensors", range(n_layers))
    return [
        _cross_layer(layer, n_layers, encoders[layer][1], decoders[layer][1]) for layer in encoders
    ]


def _cross_layer(layer: int, n_layers: int, encoder: Path, decoder: Path) -> LayerPlan:
    layout, k = cross_layer(layer), f"k_{layer}"
    headers, written = safetensors_headers(encoder), safetensors_headers(decoder)
    W_dec = layout.required["W_dec"]
    refuse_others(written, [W_dec], decoder, layout.announced_by)
    find_tensor(written, W_dec, decoder)
    refuse_others(
        headers,
        {*layout.required.values(), *layout.optional.values(), k} - {W_dec},
        encoder,
        layout.announced_by,
    )
    return layout.plan(
        layer,
        encoder,
        {**headers, **written},
        n_written=n_layers - layer,
        k=_scalar_k(headers, k),
        also=(k,),
    )


def _listed_layers(folder: Folder, config: Settings, kind: Kind) -> list[LayerPlan]:
    """Layers whose files the config lists, in repositories of their own or beside it."""
    entries = config["transcoders"]
    if not isinstance(entries, list) or not entries:
        raise config.wrong("has an empty list of transcoders; name them there")
    layers = {}
    for position, entry in enumerate(entries):
        values = entry if isinstance(entry, dict) else {"filepath": entry}
        listed = Settings(values, config.path)
        listed.notes(("layer", "filepath"))
        layer, reference = listed.get("layer", position), listed.get("filepath")
        if not isinstance(reference, str) or not (is_count(layer) or layer == 0):
            raise config.wrong(
                "has an entry in its list of transcoders that names no file; give one path a layer"
            )
        if reference.startswith("hf://"):
            file = fetch_file(reference)
        elif reference in folder.files:
            file = folder.files[reference]
        else:
            raise config.wrong(
                f'names "{reference[:80]}", which is not in the folder; put it '
                "there, or name it by hf://"
            )
        layers[layer] = _any_layer(layer, file, len(entries) if kind == "clt" else None)
    check_contiguous(layers, folder.name, "layer {}")
    return [layers[layer] for layer in sorted(layers)]


def _any_layer(layer: int, path: Path, n_layers: int | None) -> LayerPlan:
    """A file by what is in it: Gemma Scope's npz, Gemma Scope 2's tensors or circuit-tracer's."""
    headers = read_headers(path)
    if path.suffix.lower() == ".npz":
        return npz_layer(layer, path)
    if "w_enc" in headers:
        return safetensors_layer(layer, path, n_layers)
    return _single_layer(layer, path)


# Activation


def _activation(
    folder: Folder, config: Settings, layers: list[LayerPlan]
) -> tuple[Activation, tuple[str, ...]]:
    given = config.get("activation")
    name = str(given).lower().replace("_", "").replace("-", "") if given is not None else None
    thresholds = ["threshold" in layer.tensors for layer in layers]
    has_k = config.get("k") is not None or any(layer.k for layer in layers)
    if name is None and (has_k or folder.repository in KNOWN_K):
        name = "topk"
    if name is None:
        name = "jumprelu" if any(thresholds) else "relu"
    activations: dict[str, Activation] = {name: name for name in get_args(Activation)}
    if name not in activations:
        raise config.wrong(
            f'has "activation": {str(given)[:40]}, which is none of relu, topk and '
            "jumprelu; correct it"
        )
    if name == "jumprelu" and not all(thresholds):
        missing = thresholds.index(False)
        raise DictionaryError(f"layer {missing} of {folder.name} has no thresholds; get it again")
    if name != "jumprelu" and any(thresholds):
        raise config.wrong(f"says {name} and the weights have JumpReLU thresholds; correct it")
    if name != "topk" and has_k:
        raise config.wrong(f"says {name} and there is a k, which only TopK has; correct it")
    if name == "relu" and config.get("rectified") is False:
        raise config.wrong("says relu and not rectified; correct it")
    silent = name == "topk" and config.get("k") is None and not any(x.k for x in layers)
    notes: tuple[str, ...] = ()
    if silent and folder.repository in KNOWN_K:
        notes = (f"its files do not say k; {KNOWN_K[folder.repository]} is known to be right",)
    return activations[name], notes


def _with_k(layer: LayerPlan, folder: Folder, config: Settings) -> LayerPlan:
    if layer.k is not None and config.get("k") not in (None, layer.k):
        raise config.wrong(
            f"has k {config['k']} and the weights of layer {layer.layer} have "
            f"{layer.k}; correct one of them"
        )
    k = layer.k or config.get("k") or KNOWN_K.get(folder.repository)
    if not is_count(k):
        raise config.wrong(
            "is a TopK dictionary and does not say its k (how many features a "
            "token keeps), without which features mean nothing; add k to it"
        )
    return replace(layer, k=k)


def _scalar_k(headers: Headers, name: str = "k") -> int | None:
    stored = headers.get(name)
    if stored is None:
        return None
    whole = stored.dtype[0] in "IU" or stored.dtype in ("F32", "F64")
    if stored.shape not in ((), (1,)) or not whole:
        raise DictionaryError(
            f"{name} in {stored.place} is not one whole number; write it as a scalar"
        )
    value = float(stored.read().item())
    if value < 1 or value != int(value):
        raise DictionaryError(f"{name} in {stored.place} is {value}, not a whole number above 0")
    return int(value)


READER = Reader(
    "circuit-tracer",
    recognised_by=rf"{re.escape(CONFIG)}|{_ENCODER}",
    parts="|".join((re.escape(CONFIG), re.escape(CARDS_FILE), _LAYER, _ENCODER, _DECODER)),
    plan=_plan,
)
