"""SAELens transcoders: a folder a layer with `cfg.json` and `sae_weights.safetensors`.

    W_enc (d_in, F), W_dec (F, d_out), b_enc, b_dec, [threshold (F)], [W_skip (d_out, d_in)]

`architecture` is transcoder, jumprelu_transcoder, topk_transcoder or batchtopk_transcoder, each
also as ..._skip_transcoder. BatchTopK keeps k features a token only on average over a batch, so it
is read in the form SAELens saves for inference, JumpReLU with thresholds, and refused without.
Hooks are under `metadata` (from version 6 on) or in the config itself (older, flat). Where a
Hugging Face path stands beside a TransformerLens name, the path decides: published configs have
named the wrong TransformerLens hook.

Folded in when read: the lengths n of decoder rows, with which `rescale_acts_by_decoder_norm`
multiplies pre-activations before top-k (W_enc n, b_enc n, W_dec / n), `apply_b_dec_to_input`
(b_enc - W_enc b_dec), a known scaling factor s of `normalize_activations:
expected_average_only_in` (W_enc s, W_dec / s, b_dec / s, as SAELens does) and a `scaling_factor`
tensor (a factor for every decoder row). A normalisation by each token's own norm is no linear map
and is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from circuit_tracer.errors import DictionaryError
from circuit_tracer.transcoders.dictionary import Activation
from circuit_tracer.transcoders.formats.config_keys import agrees, check_keys
from circuit_tracer.transcoders.formats.files import place_of, read_table
from circuit_tracer.transcoders.formats.hooks import ambiguity, read_point
from circuit_tracer.transcoders.formats.layout import Layout
from circuit_tracer.transcoders.formats.plan import Fold, Plan, Weights
from circuit_tracer.transcoders.formats.reader import (
    Folder,
    LayerReading,
    Reader,
    by_number,
    joined,
)
from circuit_tracer.transcoders.formats.settings import (
    is_count,
    number_of,
    plain_sae,
    text_of,
)
from circuit_tracer.transcoders.formats.tensors import Headers, safetensors_headers

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
ARCHITECTURES: dict[str, Activation] = {
    "transcoder": "relu",
    "jumprelu_transcoder": "jumprelu",
    "topk_transcoder": "topk",
    "batchtopk_transcoder": "jumprelu",
}
"""Name, without the "skip_" that a skip adds, -> activation; an older config may name another."""
USED = {"architecture", "metadata", "model_name", "hook_name", "hook_point", "hook_name_out"}
USED |= {"hook_point_out", "out_hook_point", "hf_hook_name", "hf_hook_name_out", "hook_layer"}
USED |= {"hook_layer_out", "hook_point_layer", "activation_fn", "activation_fn_str", "k", "d_sae"}
USED |= {"activation_fn_kwargs", "rescale_acts_by_decoder_norm", "apply_b_dec_to_input", "d_in"}
USED |= {"normalize_activations", "finetuning_scaling_factor", "d_out"}
"""Keys of the config that mean something here."""
_FACTORS = ("norm_scaling_factor", "activation_norm_scaling_factor", "scaling_factor")


LAYOUT = Layout(
    "SAELens' layout",
    {"W_enc": "W_enc", "W_dec": "W_dec", "b_enc": "b_enc", "b_dec": "b_dec"},
    {"threshold": "threshold", "W_skip": "W_skip", "scaling_factor": "scaling_factor"},
    transposed=("W_enc",),
)


def _plan(folder: Folder) -> Plan:
    """From headers and configs; the layer of a folder is what its config says."""
    readings = [
        (name.rpartition("/")[0], _layer(path, folder.neighbour(name, CONFIG), name))
        for name, path in folder.files.items()
        if name.rpartition("/")[2] == WEIGHTS
    ]
    layers = by_number(readings, folder, "a folder whose config reads at layer {}")
    return joined(READER.name, folder, layers)


def _layer(path: Path, config_path: Path, name: str) -> LayerReading:
    config = read_table(config_path)
    metadata = config.get("metadata")
    said = {**config, **(metadata if isinstance(metadata, dict) else {})}
    notes = check_keys(said, (*USED, *_FACTORS), config_path)
    architecture = _architecture(said, config_path)
    headers = safetensors_headers(path)
    activation = _activation(said, architecture, headers, config_path)
    reads_as, writes_as, ambiguous = _hooks(said, config_path)
    layer = _number(reads_as, name.rpartition("/")[0])
    for key in ("hook_layer", "hook_layer_out", "hook_point_layer"):
        agrees(said, key, layer, config_path)
    fold = _fold(said, headers, config_path)
    plan = LAYOUT.plan(layer, path, headers, k=_k(said), fold=fold)
    for key, size in (("d_in", plan.d_model), ("d_out", plan.d_model), ("d_sae", plan.n_features)):
        agrees(said, key, size, config_path)
    model = text_of(said, "model_name")
    return LayerReading(plan, activation, reads_as, writes_as, model, notes + ambiguous)


def _architecture(said: Mapping[str, Any], path: Path) -> str:
    """The architecture's name; DictionaryError for one that is not known."""
    name = str(said.get("architecture"))
    if name.replace("skip_", "") in ARCHITECTURES:
        return name
    if "transcoder" not in name:
        raise plain_sae(f'{place_of(path)} with the architecture "{name}"')
    raise DictionaryError(
        f'{place_of(path)} is a transcoder of the architecture "{name}", where '
        f"{', '.join(ARCHITECTURES)} and the same with skip_ are known; ask for support of it"
    )


def _hooks(said: Mapping[str, Any], path: Path) -> tuple[str, str, tuple[str, ...]]:
    """Names of the reading and the writing point; Hugging Face's where both are there."""
    lens_in = text_of(said, "hook_name", "hook_point")
    lens_out = text_of(said, "hook_name_out", "hook_point_out", "out_hook_point")
    reads_as = text_of(said, "hf_hook_name") or lens_in
    writes_as = text_of(said, "hf_hook_name_out") or lens_out
    if reads_as is None or writes_as is None:
        missing = "hook_name" if reads_as is None else "hook_name_out"
        raise DictionaryError(
            f"{place_of(path)} does not say where the transcoder "
            f"{'reads' if reads_as is None else 'writes'}; add {missing} to it"
        )
    if reads_as == writes_as:
        raise plain_sae(place_of(path))
    notes = ambiguity(reads_as)
    if lens_in and reads_as != lens_in and read_point(lens_in) != read_point(reads_as):
        notes += (
            f'the config says "{lens_in}" and "{reads_as}", which differ; the latter is used',
        )
    return reads_as, writes_as, notes


def _number(reads_as: str, home: str) -> int:
    """The layer of a folder: what its reading point says, or else the last number of its path."""
    numbers = re.findall(r"(?:blocks|layers|h)[.\[](\d+)", reads_as) or re.findall(r"\d+", home)
    if not numbers:
        raise DictionaryError(
            f'"{reads_as}" in {home or "the folder"} does not say which layer it belongs to; '
            "write the layer into the config's hook name (blocks.0.mlp.hook_in)"
        )
    return int(numbers[-1])


def _activation(
    said: Mapping[str, Any], architecture: str, headers: Headers, path: Path
) -> Activation:
    """What the architecture and the weights beside it agree on."""
    kind = architecture.replace("skip_", "")
    activation = ARCHITECTURES[kind]
    has_thresholds = "threshold" in headers
    if kind == "batchtopk_transcoder" and not has_thresholds:
        raise DictionaryError(
            f"{place_of(path)} is a BatchTopK transcoder as it is trained: it keeps k features a "
            "token only on average over a batch; save its inference form, JumpReLU with thresholds"
        )
    named = text_of(said, "activation_fn_str", "activation_fn") or "relu"
    if named not in ("relu", "topk") or (named == "topk" and activation == "jumprelu"):
        raise DictionaryError(
            f'{place_of(path)} names the activation "{named}" for a {architecture}, which is not '
            "known; ask for support of it"
        )
    if named == "topk":
        activation = "topk"
    if has_thresholds != (activation == "jumprelu"):
        raise DictionaryError(
            f"{place_of(path)} is a {architecture} and the weights beside it "
            f"{'have' if has_thresholds else 'lack'} thresholds; correct its architecture"
        )
    if ("W_skip" in headers) != ("skip_" in architecture):
        raise DictionaryError(
            f"{place_of(path)} is a {architecture} and the weights beside it "
            f"{'have' if 'W_skip' in headers else 'lack'} W_skip; correct its architecture"
        )
    return activation


def _k(said: Mapping[str, Any]) -> int | None:
    kwargs = said.get("activation_fn_kwargs")
    k = kwargs.get("k", said.get("k")) if isinstance(kwargs, dict) else said.get("k")
    return k if isinstance(k, int) and is_count(k) else None


def _fold(said: Mapping[str, Any], headers: Headers, path: Path) -> Fold | None:
    """What the config asks to be done to activations, as a change of the weights."""
    factor = _factor(said, path)
    centred = said.get("apply_b_dec_to_input") is True
    by_length = said.get("rescale_acts_by_decoder_norm") is True
    _check_factors(said, headers, path)
    if factor == 1.0 and not centred and not by_length and "scaling_factor" not in headers:
        return None

    def fold(weights: Weights) -> Weights:
        found = dict(weights)
        if by_length:
            lengths = found["W_dec"].norm(dim=-1).squeeze(1)
            found["W_enc"] = found["W_enc"] * lengths[:, None]
            found["b_enc"] = found["b_enc"] * lengths
            found["W_dec"] = found["W_dec"] / lengths.where(lengths > 0, 1.0)[:, None, None]
        if centred:
            found["b_enc"] = found["b_enc"] - found["W_enc"] @ found["b_dec"]
        rows = found.pop("scaling_factor", None)
        if rows is not None:
            found["W_dec"] = found["W_dec"] * rows[:, None, None]
        found["W_enc"] = found["W_enc"] * factor
        found["W_dec"], found["b_dec"] = found["W_dec"] / factor, found["b_dec"] / factor
        return found

    return fold


def _check_factors(said: Mapping[str, Any], headers: Headers, path: Path) -> None:
    """DictionaryError for factors that are asked for and cannot be taken."""
    if said.get("finetuning_scaling_factor") and "scaling_factor" not in headers:
        raise DictionaryError(
            f"{place_of(path)} speaks of a finetuning_scaling_factor and the weights beside it "
            "lack scaling_factor; get the files again"
        )
    topk = "topk" in (text_of(said, "activation_fn_str", "activation_fn") or "")
    topk = topk or str(said.get("architecture")).startswith("topk")
    if said.get("rescale_acts_by_decoder_norm") and (not topk or "scaling_factor" in headers):
        raise DictionaryError(
            f"{place_of(path)} asks for rescale_acts_by_decoder_norm, whose meaning is known for "
            "TopK alone; fold it (fold_W_dec_norm) before saving, and set it to false"
        )


def _factor(said: Mapping[str, Any], path: Path) -> float:
    way = said.get("normalize_activations")
    if way in (None, False, "none"):
        return 1.0
    key = next((key for key in _FACTORS if key in said), None)
    if way in (True, "expected_average_only_in") and key is not None:
        return number_of(said, key, path)
    why = (
        "without saying its factor"
        if way in (True, "expected_average_only_in")
        else "token by token, which is no linear map"
    )
    raise DictionaryError(
        f"{place_of(path)} normalises activations ({way}) {why}, so it cannot be folded into the "
        "weights; fold it before saving, and set normalize_activations to none"
    )


READER = Reader(
    "saelens",
    recognised_by=rf"(.*/)?{re.escape(WEIGHTS)}",
    parts=rf"(.*/)?({re.escape(CONFIG)}|{re.escape(WEIGHTS)})",
    plan=_plan,
)
