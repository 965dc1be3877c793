"""Llama Scope's transcoders (fnlp/Llama3_1-8B-Base-LXTC-8x): one folder a layer.

    .../Llama3_1-8B-Base-L{i}TC-8x/hyperparams.json
    .../Llama3_1-8B-Base-L{i}TC-8x/checkpoints/final.safetensors
        encoder.weight (F, d), encoder.bias, decoder.weight (d, F), decoder.bias

They were trained on normalised activations: what is read times i = sqrt(d) / in, what is written
times o = sqrt(d) / out, where in and out are the average norms that the config gives
(`norm_activation: dataset-wise`). When read, as the authors' own loader does, in this order:

1. both factors go into the weights: b_enc / i, W_dec i / o, b_dec / o. A feature's activation is
   now 1 / i of the trained one. (One factor for both would inflate the output about 19 times.)
2. with `sparsity_include_decoder_norm`, decoder rows get length 1 and encoder and bias take their
   length n up, so that an activation is the length of what it adds to the MLP's output;
3. only then does `jump_relu_threshold`, one number for all features, compare: it was measured on
   exactly these pre-activations.

Source: OpenMOSS Language-Model-SAEs at the release (October 2024), He et al. 2024.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import torch

from circuit_tracer.transcoders.dictionary import Activation
from circuit_tracer.transcoders.formats.files import place_of
from circuit_tracer.transcoders.formats.layout import Layout
from circuit_tracer.transcoders.formats.plan import Fold, Plan, Weights
from circuit_tracer.transcoders.formats.reader import (
    Folder,
    LayerReading,
    Reader,
    by_number,
    joined,
)
from circuit_tracer.transcoders.formats.settings import Settings, plain_sae
from circuit_tracer.transcoders.formats.tensors import find_tensor, safetensors_headers

CONFIG, WEIGHTS = "hyperparams.json", "checkpoints/final.safetensors"
USED = {"hook_point_in", "hook_point_out", "act_fn", "top_k", "jump_relu_threshold"}
USED |= {"norm_activation", "dataset_average_activation_norm", "sparsity_include_decoder_norm"}
USED |= {"apply_decoder_bias_to_pre_encoder", "use_decoder_bias", "use_glu_encoder"}
"""Keys of the config that mean something here."""


LAYOUT = Layout(
    "Llama Scope's layout",
    {"W_enc": "encoder.weight", "b_enc": "encoder.bias", "W_dec": "decoder.weight"},
    {"b_dec": "decoder.bias"},
    decoder="columns",
)


def _plan(folder: Folder) -> Plan:
    """From headers and configs; the layer of a folder is what its config says."""
    readings = [
        (name.rpartition("/")[0], _layer(folder.neighbour(name, WEIGHTS), Settings.read(path)))
        for name, path in folder.files.items()
        if name.rpartition("/")[2] == CONFIG
    ]
    layers = by_number(readings, folder, f"a {CONFIG} that reads at layer {{}}")
    names = "/".join([folder.repository, *folder.files])
    made_for = re.search(r"Llama3_1-8B-(Base|Instruct)", names)
    instruct = "-Instruct" if made_for and made_for[1] == "Instruct" else ""
    model = f"meta-llama/Llama-3.1-8B{instruct}" if made_for else None
    return joined(READER.name, folder, layers, model=model)


def _layer(path: Path, config: Settings) -> LayerReading:
    reads_as, writes_as = config.text("hook_point_in"), config.text("hook_point_out")
    if reads_as is None or writes_as is None:
        raise config.wrong("lacks hook_point_in or hook_point_out; add it")
    if reads_as == writes_as:
        raise plain_sae(place_of(config.path))
    number = re.search(r"blocks\.(\d+)\.", reads_as)
    if number is None:
        raise config.wrong(
            f'has "hook_point_in": "{reads_as[:60]}", which names no '
            "layer; write it as blocks.0.ln2.hook_normalized"
        )
    activation = _activation(config)
    headers = safetensors_headers(path)
    config.agrees("use_decoder_bias", "decoder.bias" in headers)
    width = find_tensor(headers, "decoder.weight", path).shape[0]
    plan = LAYOUT.plan(
        int(number[1]),
        path,
        headers,
        k=config.count("top_k") if activation == "topk" else None,
        fold=_fold(config, width, activation == "jumprelu"),
    )
    notes = config.notes(USED)
    return LayerReading(plan, activation, reads_as, writes_as, notes=notes)


def _activation(config: Settings) -> Activation:
    """TopK with a threshold was turned into JumpReLU for inference."""
    name = str(config.get("act_fn", "relu")).lower()
    if name == "topk" and config.get("jump_relu_threshold"):
        name = "jumprelu"
    if config.get("use_glu_encoder"):
        raise config.wrong(
            "has a gated encoder (use_glu_encoder), which is no linear encoder "
            "and is not supported; give transcoders without one"
        )
    if name == "jumprelu":
        return "jumprelu"
    if name == "relu" and config.get("jump_relu_threshold"):
        raise config.wrong(
            f"says relu and a jump_relu_threshold of "
            f"{str(config['jump_relu_threshold'])[:40]}; correct one of them"
        )
    if name in ("relu", "topk"):
        return "relu" if name == "relu" else "topk"
    raise config.wrong(
        f'has the activation "{name}", which is none of jumprelu, topk and relu; '
        "ask for support of it"
    )


def _fold(config: Settings, d: int, thresholds: bool) -> Fold:
    """The three steps at the top of this file."""
    factor_in, factor_out = _factors(config, d)
    threshold = config.number("jump_relu_threshold") if thresholds else None
    centred = config.get("apply_decoder_bias_to_pre_encoder") is True
    by_length = config.get("sparsity_include_decoder_norm", True) is True

    def fold(weights: Weights) -> Weights:
        folded = dict(weights)
        if centred:
            folded["b_enc"] = folded["b_enc"] - folded["W_enc"] @ folded["b_dec"]
        folded["b_enc"] = folded["b_enc"] / factor_in
        folded["b_dec"] = folded["b_dec"] / factor_out
        folded["W_dec"] = folded["W_dec"] * (factor_in / factor_out)
        if by_length:
            lengths = folded["W_dec"].norm(dim=-1).squeeze(1)
            lengths = torch.where(lengths > 0, lengths, torch.ones_like(lengths))
            folded["W_dec"] = folded["W_dec"] / lengths[:, None, None]
            folded["W_enc"] = folded["W_enc"] * lengths[:, None]
            folded["b_enc"] = folded["b_enc"] * lengths
        if threshold is not None:
            folded["threshold"] = torch.full_like(folded["b_enc"], threshold)
        return folded

    return fold


def _factors(config: Settings, d: int) -> tuple[float, float]:
    way = config.get("norm_activation", "dataset-wise")
    if way in ("inference", "none", None):
        return 1.0, 1.0
    norms = config.get("dataset_average_activation_norm")
    if way != "dataset-wise":
        raise config.wrong(
            f'normalises activations "{way}", token by token, which is no linear '
            "map and cannot be folded into the weights; give transcoders with dataset-wise norms"
        )
    if not isinstance(norms, dict):
        raise config.wrong(
            "lacks dataset_average_activation_norm with in and out, without "
            "which its scale is unknown; add it"
        )
    factors = Settings(norms, config.path)
    norm_in, norm_out = factors.number("in"), factors.number("out")
    if norm_in <= 0 or norm_out <= 0:
        raise config.wrong("has an average norm of 0 or less; correct it")
    return math.sqrt(d) / norm_in, math.sqrt(d) / norm_out


READER = Reader(
    "llama-scope",
    recognised_by=rf"(.*/)?{re.escape(CONFIG)}",
    parts=rf".*({re.escape(CONFIG)}|{re.escape(WEIGHTS)})",
    plan=_plan,
)
