"""Our own file format: a folder with `dictionary.json` and one `layer_{i}.safetensors` a layer.

`dictionary.json` says what the dictionary is, for which model, how it was trained and how good it
is. Each weight file holds `W_enc (F, d)`, `b_enc (F)`, `W_dec (F, W, d)` with W = 1 (per-layer) or
L - i (cross-layer, `W_dec[:, m - i]` writes to layer m), `b_dec (d)` and, where there are any,
`threshold (F)` and `W_skip (d, d)`, used as x @ W_skip.T.

Headers (names, shapes, dtypes, length) are checked before weights are read. Nothing that can run
code is opened: no pickle, whatever it is called.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from circuit_tracer.bundled import CARDS_FILE, DICTIONARY_FILE, PICKLES, sha256_of
from circuit_tracer.errors import DictionaryError
from circuit_tracer.graphs.folder import new_folder
from circuit_tracer.graphs.graph import Identity
from circuit_tracer.transcoders.dictionary import Dictionary, LayerTranscoder

FORMAT = "circuit-tracer-dictionary"
VERSION = 1
CONFIG = DICTIONARY_FILE
READABLE = ("F64", "F32", "F16", "BF16")
"""safetensors dtypes a weight may have."""
GET_AGAIN = "get the files again, or train the dictionary anew"

Shape = tuple[int, ...]


def layer_file(layer: int) -> str:
    """Name of one layer's weight file."""
    return f"layer_{layer}.safetensors"


# Writing


def save_dictionary(dictionary: Dictionary, folder: Path) -> Identity:
    """Write `folder` as a whole, each tensor in the dtype it has; the identity it now has.

    What `dictionary.config` holds (model, training, evaluation) goes into `dictionary.json`.
    Raises OutputError where it cannot be written.
    """
    with new_folder(folder, overwrite=True, marker=CONFIG, ours=_our_files(folder)) as fresh:
        for transcoder in dictionary.layers:
            # save_file would make the file readable by its owner alone
            (fresh / layer_file(transcoder.layer)).write_bytes(save(_tensors(transcoder)))
        sha256 = weights_sha256(fresh, dictionary.n_layers)
        config = {**_described(dictionary), "sha256": sha256, **dictionary.config}
        (fresh / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    return Identity(name=folder.name, source="folder", sha256=sha256, kind=dictionary.kind)


def _our_files(folder: Path) -> list[str]:
    """Names in the folder that a dictionary before may have left there."""
    layers = [file.name for file in folder.glob("layer_*.safetensors")]
    return [CONFIG, f".{CONFIG}.partial", CARDS_FILE, *layers]


def _tensors(transcoder: LayerTranscoder) -> dict[str, Tensor]:
    names = ("W_enc", "b_enc", "W_dec", "b_dec", "threshold", "W_skip")
    found = {name: getattr(transcoder, name) for name in names}
    return {name: t.detach().cpu().contiguous() for name, t in found.items() if t is not None}


def _described(dictionary: Dictionary) -> dict[str, Any]:
    first = dictionary.layers[0]
    return {
        "format": FORMAT,
        "version": VERSION,
        "kind": dictionary.kind,
        "n_layers": dictionary.n_layers,
        "d_model": first.W_enc.shape[1],
        "n_features": [t.n_features for t in dictionary.layers],
        "activation": first.activation,
        "k": first.k,
        "skip": first.W_skip is not None,
        "reads": dictionary.reads,
        "writes": "mlp.hook_out",
    }


def weights_sha256(folder: Path, n_layers: int) -> str:
    """One hash over all weight files, in layer order."""
    return sha256_of(folder / layer_file(layer) for layer in range(n_layers))


# Reading


def read_config(folder: Path) -> dict[str, Any]:
    """`dictionary.json`, checked for everything the loader relies on."""
    path = folder / CONFIG
    _refuse_pickles(folder)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DictionaryError(
            f"the folder {folder.name} holds no dictionary: {CONFIG} is missing; give a folder "
            f"with {CONFIG} and {layer_file(0)}, {layer_file(1)}, ..."
        ) from error
    except (OSError, ValueError) as error:
        raise DictionaryError(
            f"{folder.name}/{CONFIG} cannot be read as JSON; {GET_AGAIN}"
        ) from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise DictionaryError(
            f'{folder.name}/{CONFIG} does not say "format": "{FORMAT}", so it is not one of ours; '
            "give another folder"
        )
    if config.get("version") != VERSION:
        raise DictionaryError(
            f"{folder.name}/{CONFIG} has version {config.get('version')} of the format and this "
            f"program reads version {VERSION}; use a matching circuit-tracer"
        )
    _check_fields(folder, config)
    return config


def _check_fields(folder: Path, config: Mapping[str, Any]) -> None:
    def is_count(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and value > 0

    def wrong(name: str, expected: str) -> DictionaryError:
        return DictionaryError(
            f'{folder.name}/{CONFIG} has "{name}": {json.dumps(config.get(name))} where it needs '
            f"{expected}; {GET_AGAIN}"
        )

    for name in ("n_layers", "d_model"):
        if not is_count(config.get(name)):
            raise wrong(name, "a whole number above 0")
    choices = {
        "kind": ("plt", "clt"),
        "activation": ("relu", "jumprelu", "topk"),
        "reads": ("mlp.hook_in", "ln2.hook_normalized", "hook_resid_mid"),
        "writes": ("mlp.hook_out",),
    }
    for name, allowed in choices.items():
        if config.get(name) not in allowed:
            raise wrong(name, " or ".join(allowed))
    for name in ("model", "training", "evaluation"):
        if not isinstance(config.get(name) or {}, dict):
            raise wrong(name, "an object")
    if not _are_figures((config.get("evaluation") or {}).get("layers") or []):
        raise wrong("evaluation", "figures of every layer")
    features = config.get("n_features")
    if not isinstance(features, list) or not all(is_count(f) for f in features):
        raise wrong("n_features", "a list with the number of features of every layer")
    if len(features) != config["n_layers"]:
        raise DictionaryError(
            f"{folder.name}/{CONFIG} has {config['n_layers']} layers but {len(features)} numbers "
            f"of features; {GET_AGAIN}"
        )
    if config["activation"] == "topk" and not is_count(config.get("k")):
        raise DictionaryError(
            f"{folder.name}/{CONFIG} says topk but not its k (how many features a token keeps); "
            'add "k"'
        )


def _are_figures(layers: Any) -> bool:
    """Whether these are the evaluation's layers as they are printed: numbers under known names."""
    names = ("fvu", "fvu_median", "fvu_pooled", "l0", "dead")
    return isinstance(layers, list) and all(
        isinstance(layer, dict) and all(isinstance(layer.get(name), (int, float)) for name in names)
        for layer in layers
    )


def _refuse_pickles(folder: Path) -> None:
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() in PICKLES:
            raise DictionaryError(
                f"{file.name} is a pickle-based file, which can run code when opened, so it is "
                "refused; convert it to safetensors, or take it out of the dictionary's folder"
            )


def check_headers(folder: Path, config: Mapping[str, Any]) -> None:
    """Every weight file is there, whole, and holds what the config says; no weight is read."""
    n_layers, d = config["n_layers"], config["d_model"]
    _check_files(folder, n_layers)
    for layer in range(n_layers):
        F = config["n_features"][layer]
        written = 1 if config["kind"] == "plt" else n_layers - layer
        expected: dict[str, Shape] = {
            "W_enc": (F, d),
            "b_enc": (F,),
            "W_dec": (F, written, d),
            "b_dec": (d,),
        }
        if config["activation"] == "jumprelu":
            expected["threshold"] = (F,)
        if config.get("skip"):
            expected["W_skip"] = (d, d)
        _check_header(folder / layer_file(layer), expected)


def _check_files(folder: Path, n_layers: int) -> None:
    pattern = re.compile(r"layer_(\d+)\.safetensors")
    there = {int(m[1]) for f in folder.iterdir() if (m := pattern.fullmatch(f.name))}
    missing = sorted(set(range(n_layers)) - there)
    if missing:
        names = ", ".join(layer_file(i) for i in missing[:5])
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise DictionaryError(f"{folder.name} lacks {names}{more}; {GET_AGAIN}")
    extra = sorted(there - set(range(n_layers)))
    if extra:
        raise DictionaryError(
            f"{folder.name} has {layer_file(extra[0])} but its {CONFIG} speaks of {n_layers} "
            "layers; remove the file or put the right config beside it"
        )


def _check_header(path: Path, expected: Mapping[str, Shape]) -> None:
    place = f"{path.parent.name}/{path.name}"
    try:
        with safe_open(path, framework="pt") as file:
            headers = {
                name: (tuple(part.get_shape()), part.get_dtype())
                for name in file.keys()  # noqa: SIM118 - not a mapping
                for part in [file.get_slice(name)]
            }
    except (SafetensorError, OSError) as error:
        raise DictionaryError(
            f"{place} is cut off or damaged ({str(error)[:80]}); {GET_AGAIN}"
        ) from error
    for name, shape in expected.items():
        if name not in headers:
            raise DictionaryError(f"{place} lacks the tensor {name}; {GET_AGAIN}")
        found, dtype = headers[name]
        if found != shape:
            hint = (
                "; it is stored the other way round, transpose it"
                if len(shape) == 2 and found == shape[::-1]
                else f"; {GET_AGAIN}"
            )
            raise DictionaryError(
                f"{name} in {place} has shape {list(found)} where {list(shape)} is needed{hint}"
            )
        if dtype not in READABLE:
            raise DictionaryError(
                f"{name} in {place} has dtype {dtype}; store it as one of {', '.join(READABLE)}"
            )
    for name in headers:
        if name not in expected:
            raise DictionaryError(
                f"{place} holds a tensor {name} that {CONFIG} does not announce; {GET_AGAIN}"
            )


def load_dictionary(
    folder: Path,
    config: Mapping[str, Any],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    source: str = "folder",
    name: str | None = None,
) -> Dictionary:
    """The dictionary in `folder`, whose config has been read and whose headers are checked."""
    sha256 = weights_sha256(folder, config["n_layers"])
    if config.get("sha256") not in (None, sha256):
        raise DictionaryError(
            f"the weights in {folder.name} are not those {CONFIG} was written with (their sha256 "
            f"differs): they were damaged or changed; {GET_AGAIN}"
        )
    layers = tuple(
        _load_layer(folder, layer, config, device, dtype) for layer in range(config["n_layers"])
    )
    return Dictionary(
        kind=config["kind"],
        layers=layers,
        reads=config["reads"],
        identity=Identity(
            name=name or folder.name, source=source, sha256=sha256, kind=config["kind"]
        ),
        config={k: v for k, v in config.items() if k not in _STRUCTURE},
    )


_STRUCTURE = (
    *("format", "version", "kind", "n_layers", "d_model", "n_features", "activation", "k"),
    *("skip", "reads", "writes", "sha256"),
)
"""Keys of the config that the weights and fields of a `Dictionary` already say."""


def _load_layer(
    folder: Path,
    layer: int,
    config: Mapping[str, Any],
    device: torch.device | str,
    dtype: torch.dtype,
) -> LayerTranscoder:
    path = folder / layer_file(layer)
    tensors: dict[str, Tensor] = {}
    with safe_open(path, framework="pt", device=str(device)) as file:
        for name in file.keys():  # noqa: SIM118 - not a mapping
            tensors[name] = file.get_tensor(name).to(dtype)
    check_finite(tensors, f"{folder.name}/{path.name}")
    return LayerTranscoder(
        layer=layer,
        W_enc=tensors["W_enc"],
        b_enc=tensors["b_enc"],
        W_dec=tensors["W_dec"],
        b_dec=tensors["b_dec"],
        activation=config["activation"],
        threshold=tensors.get("threshold"),
        k=config["k"] if config["activation"] == "topk" else None,
        W_skip=tensors.get("W_skip"),
    )


def check_finite(tensors: Mapping[str, Tensor], place: str) -> None:
    """DictionaryError naming the first tensor with NaN or infinity."""
    bad: Iterable[str] = (n for n, t in tensors.items() if not bool(torch.isfinite(t).all()))
    for name in bad:
        raise DictionaryError(f"{name} in {place} holds NaN or infinite numbers; {GET_AGAIN}")


def update_config(folder: Path, **entries: Any) -> None:
    """Add or replace entries of `dictionary.json` (evaluation figures, ...), atomically."""
    config = {**read_config(folder), **entries}
    partial = folder / f".{CONFIG}.partial"
    partial.write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    partial.replace(folder / CONFIG)
