"""EleutherAI sparsify: a folder a hook point (`layers.0.mlp`, `h.0.mlp`), config and weights.

    sae.safetensors: encoder.weight (F, d), encoder.bias, W_dec (F, d), b_dec, [W_skip (out, in)]

ReLU comes before top-k. A transcoder (`transcode: true`) does not subtract b_dec from what it
reads. It reads the input of the module it is named after and writes that module's output.
`num_latents` 0 means d_in x `expansion_factor`. Until February 2025 the run's config.json alone
said `transcode`, and b_dec was subtracted from what transcoders read, too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from circuit_tracer.errors import DictionaryError
from circuit_tracer.transcoders.formats.files import (
    GET_AGAIN,
    by_layer,
    check_contiguous,
    place_of,
    read_table,
)
from circuit_tracer.transcoders.formats.layout import Layout
from circuit_tracer.transcoders.formats.plan import Plan, Weights
from circuit_tracer.transcoders.formats.reader import Folder, LayerReading, Reader, joined
from circuit_tracer.transcoders.formats.settings import Settings, plain_sae
from circuit_tracer.transcoders.formats.tensors import safetensors_headers

CONFIG, WEIGHTS = "cfg.json", "sae.safetensors"
USED = {"activation", "k", "num_latents", "expansion_factor", "d_in", "transcode"}
USED |= {"skip_connection"}
"""Keys of the config that mean something here."""
_FILE = r"(?:.*/)?(?:[\w.]+\.)?(?:layers|h)\.(\d+)(?:\.[\w.]+)?/sae\.safetensors"


LAYOUT = Layout(
    "sparsify's layout",
    {"W_enc": "encoder.weight", "b_enc": "encoder.bias", "W_dec": "W_dec", "b_dec": "b_dec"},
    {"W_skip": "W_skip"},
)


def _plan(folder: Folder) -> Plan:
    """From headers, configs and the folders' names."""
    files = by_layer(folder.files, _FILE)
    if not files:
        raise DictionaryError(
            f"{folder.name} has no folders such as layers.0.mlp with {WEIGHTS} in them; give "
            "the folder that holds every layer's"
        )
    check_contiguous(files, folder.name, f"layers.{{}}.mlp/{WEIGHTS}")
    run = _run(folder)
    layers = [
        _layer(layer, path, Settings.read(folder.neighbour(name, CONFIG)), run)
        for layer, (name, path) in files.items()
    ]
    notes = tuple(dict.fromkeys(note for layer in layers for note in layer.notes))[:1]
    model = run.get("model")
    model = model if isinstance(model, str) else None
    plan = joined(READER.name, folder, layers, model=model)
    return replace(
        plan,
        reads_as=f"{plan.reads_as} (its input)",
        writes_as=f"{plan.writes_as} (its output)",
        notes=notes,
    )


def _layer(layer: int, path: Path, config: Settings, run: Mapping[str, Any]) -> LayerReading:
    headers = safetensors_headers(path)
    is_early = "transcode" not in config and (run.get("transcode") is True or "W_skip" in headers)
    if config.get("transcode") is not True and not is_early:
        raise plain_sae(f'{place_of(config.path)} without "transcode": true')
    if config.get("activation", "topk") != "topk":
        raise config.wrong(
            f'has the activation "{config["activation"]}" where topk is '
            "known; ask for support of it"
        )
    fold = _centred if is_early else None
    plan = LAYOUT.plan(layer, path, headers, k=config.count("k"), fold=fold)
    _check_sizes(config, plan.n_features, plan.d_model)
    if config.get("skip_connection") is not None or "W_skip" in headers:
        settings = Settings({"skip_connection": False, **config}, config.path)
        settings.agrees("skip_connection", "W_skip" in headers)
    notes = config.notes(USED)
    hook = path.parent.name
    return LayerReading(plan, "topk", reads_as=hook, writes_as=hook, notes=notes)


def _check_sizes(config: Settings, F: int, d: int) -> None:
    width = config.get("d_in", d)
    latents = config.get("num_latents") or width * config.get("expansion_factor", 32)
    if width != d or latents != F:
        raise config.wrong(
            f"speaks of {latents} features and width {width} and the weights "
            f"beside it have {F} and {d}; {GET_AGAIN}"
        )


def _centred(weights: Weights) -> Weights:
    """With b_dec subtracted from what is encoded, by the encoder's bias."""
    return {**weights, "b_enc": weights["b_enc"] - weights["W_enc"] @ weights["b_dec"]}


def _run(folder: Folder) -> Mapping[str, Any]:
    """The run's config at the top, where it is there: it names the model."""
    path = folder.files.get("config.json")
    return {} if path is None else read_table(path)


READER = Reader(
    "sparsify",
    recognised_by=rf"(.*/)?{re.escape(WEIGHTS)}",
    parts=rf"(.*/)?({re.escape(CONFIG)}|{re.escape(WEIGHTS)})|config\.json",
    plan=_plan,
)
