"""SAELens' layout: a folder a layer with `cfg.json` and `sae_weights.safetensors`.

    W_enc (d_in, F), W_dec (F, d_out), b_enc, b_dec, [threshold (F)], [W_skip (d_out, d_in)]

`architecture` is transcoder, jumprelu_transcoder, topk_transcoder or batchtopk_transcoder, each
also as ..._skip_transcoder; of sparse autoencoders standard, jumprelu, topk or batchtopk. These are
read where they are of the residual stream: blocks.1.hook_resid_post, or hook_resid_pre of the next
layer, which is the same stream. They need not have every layer. BatchTopK keeps k features a token
only on average over a batch, so it is read in the form SAELens saves for inference, JumpReLU with
thresholds, and refused without.
Hooks are under `metadata` (from version 6 on) or in the config itself (older, flat). Where a
Hugging Face path stands beside a TransformerLens name, the path decides: published configs have
named the wrong TransformerLens hook.

Folded in when read: the lengths n of decoder rows, with which `rescale_acts_by_decoder_norm`
multiplies pre-activations before top-k (W_enc n, b_enc n, W_dec / n), `apply_b_dec_to_input`
(b_enc - W_enc b_dec; of sparse autoencoders true where it is not said, of transcoders refused, as
SAELens has it), a known scaling factor s of `normalize_activations: expected_average_only_in`
(W_enc s, W_dec / s, b_dec / s, as SAELens does) and a `scaling_factor` tensor (a factor for every
decoder row). A normalisation by each token's own norm is no linear map and is refused.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from circuit_tracer.errors import DictionaryError
from circuit_tracer.transcoders.dictionary import Activation
from circuit_tracer.transcoders.formats.files import place_of
from circuit_tracer.transcoders.formats.hooks import ambiguity, read_point, stream_after
from circuit_tracer.transcoders.formats.layout import Layout
from circuit_tracer.transcoders.formats.plan import Fold, Plan, Weights
from circuit_tracer.transcoders.formats.reader import (
    Folder,
    LayerReading,
    Reader,
    by_number,
    joined,
)
from circuit_tracer.transcoders.formats.settings import Settings, is_count, plain_sae
from circuit_tracer.transcoders.formats.tensors import Headers, safetensors_headers

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
ARCHITECTURES: dict[str, Activation] = {
    "transcoder": "relu",
    "jumprelu_transcoder": "jumprelu",
    "topk_transcoder": "topk",
    "batchtopk_transcoder": "jumprelu",
    "standard": "relu",
    "jumprelu": "jumprelu",
    "topk": "topk",
    "batchtopk": "jumprelu",
}
"""Name, without the "skip_" that a skip adds, -> activation; an older config may name another."""
USED = {"architecture", "metadata", "model_name", "hook_name", "hook_point", "hook_name_out"}
USED |= {"hook_point_out", "out_hook_point", "hf_hook_name", "hf_hook_name_out", "hook_layer"}
USED |= {"hook_layer_out", "hook_point_layer", "activation_fn", "activation_fn_str", "k", "d_sae"}
USED |= {"activation_fn_kwargs", "rescale_acts_by_decoder_norm", "apply_b_dec_to_input", "d_in"}
USED |= {"normalize_activations", "finetuning_scaling_factor", "d_out", "converted_from", "sha256"}
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
    named = {
        name: (path, _config(folder.neighbour(name, CONFIG)))
        for name, path in folder.files.items()
        if name.rpartition("/")[2] == WEIGHTS
    }
    readings = [(name.rpartition("/")[0], _layer(*found, name)) for name, found in named.items()]
    streams = [stream_after(reading.reads_as) is not None for _, reading in readings]
    form = "a folder whose config reads at layer {}"
    is_sae = bool(streams) and all(streams)
    layers = by_number(readings, folder, form, gaps=is_sae)
    plan = joined(READER.name, folder, layers, kind="sae" if is_sae else "plt")
    config = next(iter(named.values()))[1]
    origin = config.text("converted_from"), config.text("sha256")
    return replace(plan, converted_from=origin[0], sha256=origin[1])


def _config(path: Path) -> Settings:
    """A folder's settings; hooks and names are beside the others in the older form."""
    config = Settings.read(path)
    metadata = config.get("metadata")
    return Settings({**config, **metadata}, path) if isinstance(metadata, dict) else config


def _layer(path: Path, config: Settings, name: str) -> LayerReading:
    notes = config.notes((*USED, *_FACTORS))
    architecture = _architecture(config)
    headers = safetensors_headers(path)
    reads_as, writes_as, ambiguous = _hooks(config)
    activation = _activation(config, architecture, headers)
    layer = number = _number(reads_as, name.rpartition("/")[0])
    if (stream := stream_after(reads_as)) is not None:
        layer = _checked_stream(stream, config, reads_as)
    for key in ("hook_layer", "hook_layer_out", "hook_point_layer"):
        config.agrees(key, number)
    fold = _fold(config, headers)
    plan = LAYOUT.plan(layer, path, headers, k=_k(config), fold=fold)
    for key, size in (("d_in", plan.d_model), ("d_out", plan.d_model), ("d_sae", plan.n_features)):
        config.agrees(key, size)
    model = config.text("model_name")
    return LayerReading(plan, activation, reads_as, writes_as, model, notes + ambiguous)


def _architecture(config: Settings) -> str:
    """The architecture's name; DictionaryError for one that is not known."""
    name = str(config.get("architecture"))
    if name.replace("skip_", "") in ARCHITECTURES:
        return name
    raise config.wrong(
        f'has the architecture "{name}", where '
        f"{', '.join(ARCHITECTURES)} and the same with skip_ are known; ask for support of it"
    )


def _checked_stream(layer: int, config: Settings, reads_as: str) -> int:
    """The layer after which a sparse autoencoder reads, if there is one."""
    if layer < 0:
        raise config.wrong(
            f'reads at "{reads_as}", before the first layer; give one that reads after a layer'
        )
    return layer


def _hooks(config: Settings) -> tuple[str, str, tuple[str, ...]]:
    """Names of the reading and the writing point; Hugging Face's where both are there.

    DictionaryError for a sparse autoencoder of another place than the residual stream.
    """
    lens_in = config.text("hook_name", "hook_point")
    lens_out = config.text("hook_name_out", "hook_point_out", "out_hook_point")
    reads_as = config.text("hf_hook_name") or lens_in
    if not _is_transcoder(config):
        if stream_after(reads_as) is None:
            raise plain_sae(f'{place_of(config.path)}, of "{reads_as}",')
        assert reads_as is not None
        return reads_as, reads_as, ()
    writes_as = config.text("hf_hook_name_out") or lens_out
    if reads_as is None or writes_as is None:
        missing = "hook_name" if reads_as is None else "hook_name_out"
        raise config.wrong(
            f"does not say where the transcoder "
            f"{'reads' if reads_as is None else 'writes'}; add {missing} to it"
        )
    if reads_as == writes_as:
        raise plain_sae(place_of(config.path))
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


def _activation(config: Settings, architecture: str, headers: Headers) -> Activation:
    """What the architecture and the weights beside it agree on."""
    kind = architecture.replace("skip_", "")
    activation = ARCHITECTURES[kind]
    has_thresholds = "threshold" in headers
    if kind.startswith("batchtopk") and not has_thresholds:
        raise config.wrong(
            "is BatchTopK as it is trained: it keeps k features a "
            "token only on average over a batch; save its inference form, JumpReLU with thresholds"
        )
    named = config.text("activation_fn_str", "activation_fn") or "relu"
    if named not in ("relu", "topk") or (named == "topk" and activation == "jumprelu"):
        raise config.wrong(
            f'names the activation "{named}" for a {architecture}, which is not '
            "known; ask for support of it"
        )
    if named == "topk":
        activation = "topk"
    if has_thresholds != (activation == "jumprelu"):
        raise config.wrong(
            f"is a {architecture} and the weights beside it "
            f"{'have' if has_thresholds else 'lack'} thresholds; correct its architecture"
        )
    if ("W_skip" in headers) != ("skip_" in architecture):
        raise config.wrong(
            f"is a {architecture} and the weights beside it "
            f"{'have' if 'W_skip' in headers else 'lack'} W_skip; correct its architecture"
        )
    return activation


def _k(config: Settings) -> int | None:
    kwargs = config.get("activation_fn_kwargs")
    k = kwargs.get("k", config.get("k")) if isinstance(kwargs, dict) else config.get("k")
    return k if isinstance(k, int) and is_count(k) else None


def _fold(config: Settings, headers: Headers) -> Fold | None:
    """What the config asks to be done to activations, as a change of the weights."""
    factor = _factor(config)
    centred = config.get("apply_b_dec_to_input", not _is_transcoder(config)) is True
    by_length = config.get("rescale_acts_by_decoder_norm") is True
    _check_factors(config, headers)
    if factor == 1.0 and not centred and not by_length and "scaling_factor" not in headers:
        return None

    def fold(weights: Weights) -> Weights:
        folded = dict(weights)
        if by_length:
            lengths = folded["W_dec"].norm(dim=-1).squeeze(1)
            folded["W_enc"] = folded["W_enc"] * lengths[:, None]
            folded["b_enc"] = folded["b_enc"] * lengths
            folded["W_dec"] = folded["W_dec"] / lengths.where(lengths > 0, 1.0)[:, None, None]
        if centred:
            folded["b_enc"] = folded["b_enc"] - folded["W_enc"] @ folded["b_dec"]
        rows = folded.pop("scaling_factor", None)
        if rows is not None:
            folded["W_dec"] = folded["W_dec"] * rows[:, None, None]
        folded["W_enc"] = folded["W_enc"] * factor
        folded["W_dec"], folded["b_dec"] = folded["W_dec"] / factor, folded["b_dec"] / factor
        return folded

    return fold


def _is_transcoder(config: Settings) -> bool:
    return "transcoder" in str(config.get("architecture"))


def _check_factors(config: Settings, headers: Headers) -> None:
    """DictionaryError for factors that are asked for and cannot be taken."""
    if config.get("finetuning_scaling_factor") and "scaling_factor" not in headers:
        raise config.wrong(
            "speaks of a finetuning_scaling_factor and the weights beside it "
            "lack scaling_factor; get the files again"
        )
    if config.get("apply_b_dec_to_input") and _is_transcoder(config):
        raise config.wrong(
            "asks for apply_b_dec_to_input, which SAELens refuses of transcoders: their b_dec "
            "belongs to what they write; set it to false if what they read was never shifted by it"
        )
    topk = "topk" in (config.text("activation_fn_str", "activation_fn") or "")
    topk = topk or str(config.get("architecture")).startswith("topk")
    if config.get("rescale_acts_by_decoder_norm") and (not topk or "scaling_factor" in headers):
        raise config.wrong(
            "asks for rescale_acts_by_decoder_norm, whose meaning is known for "
            "TopK alone; fold it (fold_W_dec_norm) before saving, and set it to false"
        )


def _factor(config: Settings) -> float:
    way = config.get("normalize_activations")
    if way in (None, False, "none"):
        return 1.0
    key = next((key for key in _FACTORS if key in config), None)
    if way in (True, "expected_average_only_in") and key is not None:
        return config.number(key)
    why = (
        "without saying its factor"
        if way in (True, "expected_average_only_in")
        else "token by token, which is no linear map"
    )
    raise config.wrong(
        f"normalises activations ({way}) {why}, so it cannot be folded into the "
        "weights; fold it before saving, and set normalize_activations to none"
    )


READER = Reader(
    "saelens",
    recognised_by=rf"(.*/)?{re.escape(WEIGHTS)}",
    parts=rf"(.*/)?({re.escape(CONFIG)}|{re.escape(WEIGHTS)})",
    plan=_plan,
)
