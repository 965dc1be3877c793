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
from dataclasses import replace
from pathlib import Path

from circuit_tracer.errors import DictionaryError
from circuit_tracer.transcoders.decoders import DecoderFile
from circuit_tracer.transcoders.formats.files import by_layer, check_contiguous
from circuit_tracer.transcoders.formats.layout import Layout
from circuit_tracer.transcoders.formats.plan import LayerPlan, Plan
from circuit_tracer.transcoders.formats.reader import Folder, LayerReading, Reader, joined
from circuit_tracer.transcoders.formats.settings import Settings, plain_sae
from circuit_tracer.transcoders.formats.tensors import safetensors_headers

Variant = tuple[str, str, str, str]
"""Home, width, sparsity and "_affine" or nothing."""
READS = "model.layers.{layer}.pre_feedforward_layernorm.output"
WRITES = "model.layers.{layer}.post_feedforward_layernorm.output"
USED = {"hf_hook_point_in", "hf_hook_point_out", "architecture", "model_name", "type", "width"}
USED |= {"l0", "affine_connection"}
"""Keys of the config that mean something here."""
_SET = re.compile(
    r"((?:.*/)?)layer_(\d+)_width_(\w+?)_l0_([a-z]+|\d+)(_affine)?/params\.safetensors"
)
_CLT = r"(?:.*/)?params_layer_(\d+)\.safetensors"
_PREFERENCE = {"16k": 0, "small": 0, "medium": 1, "big": 2}


LAYOUT = Layout(
    "Gemma Scope 2's layout",
    {
        "W_enc": "w_enc",
        "W_dec": "w_dec",
        "b_enc": "b_enc",
        "b_dec": "b_dec",
        "threshold": "threshold",
    },
    {"W_skip": "affine_skip_connection"},
    transposed=("W_enc", "W_skip"),
)


def _choice(names: Collection[str]) -> list[str]:
    """One variant: the folder `transcoder_all`, 16k, small, affine where there are several."""
    sets = [(m, name) for name in names if (m := _SET.fullmatch(name))]
    if sets:
        layers_of: dict[Variant, set[int]] = {}
        for m, _ in sets:
            layers_of.setdefault(_variant(m), set()).add(int(m[2]))
        every = set().union(*layers_of.values())
        full = [variant for variant, layers in layers_of.items() if layers == every]
        best = min(full or layers_of, key=_order)
        homes = {name.rpartition("/")[0] for m, name in sets if _variant(m) == best}
    else:
        folders = {name.rpartition("/")[0] for name in names if re.fullmatch(_CLT, name)}
        homes = set(
            sorted(folders, key=lambda h: (_PREFERENCE.get(_sparsity(h), 3), len(h), h))[:1]
        )
    return [name for name in names if name.rpartition("/")[0] in homes]


def _plan(folder: Folder) -> Plan:
    """From headers and configs."""
    names = READER.choose(folder.files)
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
    n_layers = len(files) if crossing else None
    layers = [
        _layer(folder, safetensors_layer(layer, path, n_layers), _config_of(chosen, name))
        for layer, (name, path) in files.items()
    ]
    plan = joined(
        READER.name,
        folder,
        layers,
        kind="clt" if crossing else "plt",
        model=next((layer.model for layer in layers if layer.model), None),
        family="gemma-3",
    )
    return replace(plan, notes=(_chosen(names), *plan.notes))


def safetensors_layer(layer: int, path: Path, n_layers: int | None = None) -> LayerPlan:
    """One layer; `n_layers` for a cross-layer dictionary."""
    headers = safetensors_headers(path)
    if n_layers is None:
        return LAYOUT.plan(layer, path, headers)
    layout = replace(LAYOUT, decoder="all layers")
    plan = layout.plan(layer, path, headers, n_written=n_layers - layer)
    if layer > 0:
        _check_causal(plan)
    return plan


def _check_causal(plan: LayerPlan) -> None:
    """The first rows write nothing to earlier layers (all rows would be the whole file)."""
    stored = plan.stored_decoder
    shape = (min(plan.n_features, 64), plan.layer + plan.n_written, plan.d_model)
    file = DecoderFile(stored.path, stored.offset or 0, shape, stored.torch_dtype)
    if bool(file.whole()[:, : plan.layer].any()):
        raise DictionaryError(
            f"w_dec in {stored.place} writes to layers before layer {plan.layer}, which no "
            "transcoder can; its second axis has to be the written layer, counted from 0"
        )


def _layer(folder: Folder, plan: LayerPlan, config: Settings) -> LayerReading:
    reads_as = config.text("hf_hook_point_in") or READS
    writes_as = config.text("hf_hook_point_out") or WRITES
    if config.get("type") == "sae" or reads_as == writes_as:
        raise plain_sae(f"{folder.name}")
    if config.get("architecture") not in (None, "jump_relu"):
        raise DictionaryError(
            f"layer {plan.layer} of {folder.name} has the architecture "
            f'"{config["architecture"]}" where jump_relu is known; ask for support of it'
        )
    config.agrees("affine_connection", "W_skip" in plan.tensors)
    notes = config.notes(USED)
    model = config.text("model_name")
    return LayerReading(plan, "jumprelu", reads_as, writes_as, model, notes)


def _config_of(chosen: dict[str, Path], name: str) -> Settings:
    home, slash, _ = name.rpartition("/")
    path = chosen.get(f"{home}{slash}config.json")
    if path is None:
        return Settings({}, chosen[name])
    return Settings.read(path)


def _variant(match: re.Match[str]) -> Variant:
    return match[1], match[3], match[4], match[5] or ""


def _order(variant: Variant) -> tuple[int, str, int, bool, str]:
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
        "pattern such as transcoder_all/layer_*_width_262k_l0_big_affine after the repository's "
        "name chooses others"
    )


READER = Reader(
    "gemma-scope-2",
    recognised_by=f"{_SET.pattern}|{_CLT}",
    parts=r"(.*/)?(params\.safetensors|config\.json|params_layer_[^/]*)",
    plan=_plan,
    choice=_choice,
)
