"""Write sparse autoencoders of the residual stream in SAELens' layout (saelens.py says what it is).

One layer goes into the folder itself, several into a folder each, named by their hooks
(`blocks.1.hook_resid_post`), as SAELens' own releases have them.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from circuit_tracer.bundled import CARDS_FILE
from circuit_tracer.errors import DictionaryError
from circuit_tracer.graphs.files.atomic import new_folder
from circuit_tracer.models.parts import RESIDUAL
from circuit_tracer.transcoders.dictionary import Dictionary, LayerTranscoder
from circuit_tracer.transcoders.formats.plan import hash_files
from circuit_tracer.transcoders.formats.saelens import CONFIG, LAYOUT, WEIGHTS
from circuit_tracer.transcoders.formats.writing import Writable, write_safetensors

ARCHITECTURES = {"relu": "standard", "topk": "topk", "jumprelu": "jumprelu"}


def save_saelens(
    dictionary: Dictionary,
    folder: Path,
    *,
    overwrite: bool = False,
    cards: Path | None = None,
) -> tuple[str, ...]:
    """Write `folder` as a whole, each tensor in the dtype it has; feature `cards` come along.

    The configs keep the hash by which the dictionary is known: a copy is no other dictionary.
    Returns what there is to know about the copy, in sentences. Raises DictionaryError for
    transcoders and for what SAELens would read otherwise, OutputError where it cannot be written.
    """
    _check(dictionary)
    homes = {number: _home(dictionary, number) for number in dictionary.numbers}
    marker, ours = f"{next(iter(homes.values()))}{CONFIG}", _our_files(folder)
    with new_folder(folder, overwrite=overwrite, marker=marker, ours=ours) as fresh:
        for number, home in homes.items():
            (fresh / home).mkdir(exist_ok=True)
            _write_layer(fresh / home / WEIGHTS, dictionary.layers[number])
        weights = tuple(fresh / home / WEIGHTS for home in homes.values())
        known = {}
        if dictionary.identity.sha256:
            known["sha256"] = hash_files(weights)
            known["converted_from"] = dictionary.identity.sha256
        for number, home in homes.items():
            config = _config(dictionary, dictionary.layers[number], known)
            text = json.dumps(config, indent=1) + "\n"
            (fresh / home / CONFIG).write_text(text, encoding="utf-8")
        if cards is not None:
            shutil.copyfile(cards, fresh / CARDS_FILE)
    if not (dictionary.config.get("model") or {}).get("name"):
        return (f"the model's name is not known; write it into each {CONFIG}",)
    return ()


def _check(dictionary: Dictionary) -> None:
    name = dictionary.identity.name
    if dictionary.kind != "sae":
        raise DictionaryError(
            f"{name} holds transcoders, and only sparse autoencoders of the residual stream are "
            "written in SAELens' layout; convert it to ours or circuit-tracer"
        )
    first = dictionary.layers[dictionary.numbers[0]]
    if not first.rectified and first.activation != "relu":
        raise DictionaryError(
            f"{name} has features that are active with negative values, which SAELens would cut "
            "off; convert it to ours"
        )


def _home(dictionary: Dictionary, number: int) -> str:
    """The folder of a layer, with a slash; "" for the only one."""
    return "" if len(dictionary.numbers) == 1 else f"blocks.{number}.{RESIDUAL}/"


def _our_files(folder: Path) -> list[str]:
    """Names in the folder that sparse autoencoders before may have left there."""
    return [CONFIG, WEIGHTS, CARDS_FILE, *(one.name for one in folder.glob(f"blocks.*.{RESIDUAL}"))]


def _write_layer(path: Path, t: LayerTranscoder) -> None:
    names = {**LAYOUT.required, **LAYOUT.optional}
    tensors: dict[str, Writable] = {names[name]: value for name, value in t.tensors().items()}
    tensors["W_enc"] = t.W_enc.T
    write_safetensors(path, tensors, shapes={"W_dec": tuple(t.W_enc.shape)})


def _config(dictionary: Dictionary, t: LayerTranscoder, known: dict[str, str]) -> dict[str, Any]:
    F, d = t.W_enc.shape
    k = {"k": t.k, "rescale_acts_by_decoder_norm": False} if t.activation == "topk" else {}
    return {
        "architecture": ARCHITECTURES[t.activation],
        "d_in": d,
        "d_sae": F,
        **k,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": False,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {
            "model_name": (dictionary.config.get("model") or {}).get("name") or "unknown",
            "hook_name": f"blocks.{t.layer}.{RESIDUAL}",
            "prepend_bos": True,
            **known,
        },
    }
