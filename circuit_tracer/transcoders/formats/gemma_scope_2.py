"""Gemma Scope 2 (google/gemma-scope-2-{270m,1b,4b,12b,27b}-{pt,it}): Gemma 3's transcoders.

    transcoder_all/layer_{i}_width_{16k,262k}_l0_{small,big}[_affine]/{params.safetensors,config.json}
        w_enc (d, F), w_dec (F, d), b_enc, b_dec, threshold, [affine_skip_connection (in, out)]
    clt/width_{w}_l0_{n}[_affine]/params_layer_{i}.safetensors
        the same with w_dec (F, L, d): axis 1 is the written layer itself, not counted from i

JumpReLU over ReLU. The skip is stored (in, out) and used as x @ A: read the other way round it
explains about half as much. Features of a cross-layer dictionary write to their own layer and
later; the entries for earlier ones have to be zeros.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from circuit_tracer.errors import DictionaryError
from circuit_tracer.transcoders.decoders import DecoderFile
from circuit_tracer.transcoders.formats.config_keys import agrees, check_keys
from circuit_tracer.transcoders.formats.files import by_layer, check_contiguous, read_table
from circuit_tracer.transcoders.formats.hooks import read_point, write_point
from circuit_tracer.transcoders.formats.plan import LayerPlan, Plan, Slot
from circuit_tracer.transcoders.formats.reader import Folder
from circuit_tracer.transcoders.formats.settings import all_equal, plain_sae, text_of
from circuit_tracer.transcoders.formats.tensors import (
    Headers,
    find_tensor,
    length_of,
    refuse_others,
    safetensors_headers,
)

READS = "model.layers.{layer}.pre_feedforward_layernorm.output"
WRITES = "model.layers.{layer}.post_feedforward_layernorm.output"
USED = {"hf_hook_point_in", "hf_hook_point_out", "architecture", "model_name", "type", "width"}
USED |= {"l0", "affine_connection"}
"""Keys of the config that mean something here."""
_SET = re.compile(
    r"((?:.*/)?)layer_(\d+)_width_(\w+?)_l0_([a-z]+|\d+)(_affine)?/params\.safetensors"
)
_CLT = r"(?:.*/)?params_layer_(\d+)\.safetensors"
_TENSORS = ("w_enc", "w_dec", "b_enc", "b_dec", "threshold", "affine_skip_connection")
_PREFERENCE = {"16k": 0, "small": 0, "medium": 1, "big": 2}


class GemmaScope2:
    """Reads Gemma Scope 2's folders, per-layer and cross-layer."""

    name = "gemma-scope-2"

    def recognises(self, names: Collection[str]) -> bool:
        """By `layer_{i}_width_.../params.safetensors` or `params_layer_{i}.safetensors`."""
        return any(_SET.fullmatch(name) or re.fullmatch(_CLT, name) for name in names)

    def choose(self, names: Collection[str]) -> list[str]:
        """One variant: the folder `transcoder_all`, 16k, small, affine where there are several."""
        sets = [(m, name) for name in names if (m := _SET.fullmatch(name))]
        if not sets:
            weights = [name for name in names if re.fullmatch(_CLT, name)]
            homes = {name.rpartition("/")[0] for name in weights}
            home = min(
                homes, key=lambda h: (_PREFERENCE.get(_sparsity(h), 3), len(h), h), default=""
            )
            return sorted(n for n in names if n.rpartition("/")[0] == home and _is_part(n))
        layers = {int(m[2]) for m, _ in sets}
        variants = {_variant(m) for m, _ in sets}
        full = [v for v in variants if {int(m[2]) for m, _ in sets if _variant(m) == v} == layers]
        best = min(full or variants, key=_order)
        homes = {name.rpartition("/")[0] for m, name in sets if _variant(m) == best}
        return sorted(n for n in names if n.rpartition("/")[0] in homes and _is_part(n))

    def plan(self, folder: Folder) -> Plan:
        """From headers and configs."""
        names = self.choose(folder.files)
        chosen = {name: folder.files[name] for name in names}
        crossing = not any(_SET.fullmatch(name) for name in names)
        pattern = _CLT if crossing else r"(?:.*/)?layer_(\d+)_width_\w+/params\.safetensors"
        files = by_layer(chosen, pattern)
        if not files:
            raise DictionaryError(
                f"{folder.name} holds no layer_0_width_16k_l0_small/params.safetensors or the "
                "like; give the folder of a whole dictionary, such as transcoder_all"
            )
        check_contiguous(files, folder.name, "the weights of layer {}")
        n_layers = len(files)
        layers = tuple(
            safetensors_layer(layer, path, n_layers if crossing else None)
            for layer, (_, path) in files.items()
        )
        configs = {layer: _config_of(chosen, name) for layer, (name, _) in files.items()}
        return _plan(self.name, folder, layers, configs, crossing, (_chosen(names),))


def safetensors_layer(layer: int, path: Path, n_layers: int | None = None) -> LayerPlan:
    """One layer; `n_layers` for a cross-layer dictionary."""
    headers = safetensors_headers(path)
    refuse_others(headers, _TENSORS, path, "Gemma Scope 2's layout")
    skip = headers.get("affine_skip_connection")
    plan = LayerPlan(
        layer=layer,
        n_features=length_of(headers, "b_enc", path),
        d_model=length_of(headers, "b_dec", path),
        n_written=1 if n_layers is None else n_layers - layer,
        W_enc=Slot(find_tensor(headers, "w_enc", path), transposed=True),
        W_dec=find_tensor(headers, "w_dec", path),
        decoder="rows" if n_layers is None else "all layers",
        b_enc=headers["b_enc"],
        b_dec=headers["b_dec"],
        threshold=find_tensor(headers, "threshold", path),
        W_skip=None if skip is None else Slot(skip, transposed=True),
    )
    if n_layers is not None and layer > 0:
        _check_causal(plan, headers)
    return plan


def _check_causal(plan: LayerPlan, headers: Headers) -> None:
    """The first rows write nothing to earlier layers (all rows would be the whole file)."""
    stored = headers["w_dec"]
    shape = (min(plan.n_features, 64), plan.layer + plan.n_written, plan.d_model)
    file = DecoderFile(stored.path, stored.offset or 0, shape, stored.torch_dtype)
    if bool(file.whole()[:, : plan.layer].any()):
        raise DictionaryError(
            f"w_dec in {stored.place} writes to layers in front of layer {plan.layer}, which no "
            "transcoder can; its second axis has to be the written layer, counted from 0"
        )


def _plan(
    name: str,
    folder: Folder,
    layers: tuple[LayerPlan, ...],
    configs: dict[int, dict[str, Any]],
    crossing: bool,
    notes: tuple[str, ...],
) -> Plan:
    model = next((m for c in configs.values() if (m := text_of(c, "model_name"))), None)
    reads_as, writes_as = {}, {}
    for layer, config in configs.items():
        reads_as[layer] = text_of(config, "hf_hook_point_in") or READS
        writes_as[layer] = text_of(config, "hf_hook_point_out") or WRITES
        if config.get("type") == "sae" or reads_as[layer] == writes_as[layer]:
            raise plain_sae(f"{folder.name}")
        if config.get("architecture") not in (None, "jump_relu"):
            raise DictionaryError(
                f"layer {layer} of {folder.name} has the architecture "
                f'"{config["architecture"]}" where jump_relu is known; ask for support of it'
            )
        path = layers[layer].W_enc.stored.path.with_name("config.json")
        agrees(config, "affine_connection", layers[layer].W_skip is not None, path)
        unused = check_keys(config, USED, path)
        notes += unused if layer == 0 else ()
    reads = all_equal(
        (
            read_point(text, layer=layer, wiring=folder.wiring, model=model or "gemma-3")
            for layer, text in reads_as.items()
        ),
        "reading points",
        folder.name,
    )
    writes = all_equal(
        (write_point(text, layer=layer) for layer, text in writes_as.items()),
        "writing points",
        folder.name,
    )
    return Plan(
        format=name,
        kind="clt" if crossing else "plt",
        layers=layers,
        activation="jumprelu",
        reads=reads,
        writes=writes,
        reads_as=reads_as[0],
        writes_as=writes_as[0],
        model_name=model,
        notes=notes,
    )


def _config_of(chosen: dict[str, Path], name: str) -> dict[str, Any]:
    home, slash, _ = name.rpartition("/")
    path = chosen.get(f"{home}{slash}config.json")
    return {} if path is None else read_table(path)


def _is_part(name: str) -> bool:
    last = name.rpartition("/")[2]
    return last in ("params.safetensors", "config.json") or last.startswith("params_layer_")


def _variant(match: re.Match[str]) -> tuple[str, str, str, str]:
    return match[1], match[3], match[4], match[5] or ""


def _order(variant: tuple[str, str, str, str]) -> tuple[int, str, int, bool, str]:
    """transcoder_all first, then 16k, small, affine."""
    home, width, l0, affine = variant
    rank = 0 if home.endswith("transcoder_all/") else 1 if "transcoder" in home or not home else 2
    return rank, f"{_PREFERENCE.get(width, 1)}{width}", _PREFERENCE.get(l0, 3), not affine, home


def _sparsity(home: str) -> str:
    match = re.search(r"_l0_([a-z]+)", home)
    return match[1] if match else ""


def _chosen(names: list[str]) -> str:
    first = next(name for name in names if name.endswith(".safetensors"))
    return (
        f"chosen: {first.rpartition('/')[0] or 'the only one'} and the same of every layer; a "
        "pattern such as transcoder_all/layer_*_width_262k_l0_big_affine behind the repository "
        "chooses others"
    )


READER = GemmaScope2()
