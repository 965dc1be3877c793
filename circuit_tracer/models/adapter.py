"""A LoRA adapter beside a model (adapter_config.json, adapter_model.safetensors), merged exactly.

    W + scale * B A        scale = alpha / r, or alpha / sqrt(r) with use_rslora
    modules_to_save, bias  whole tensors that take the place of the model's

Hu et al. 2021, as peft merges it (`merge_and_unload`). A setting or a tensor that is not understood
is refused: an adapter merged in part is another model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from circuit_tracer.errors import ModelError
from circuit_tracer.models.weight_files import ADAPTER, ADAPTER_CONFIG
from circuit_tracer.reading import read_json

_PREFIX = "base_model.model."
_USED = {"peft_type", "r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern"}
_USED |= {"modules_to_save", "bias", "fan_in_fan_out"}
_HARMLESS = {"task_type", "base_model_name_or_path", "revision", "auto_mapping", "peft_version"}
_HARMLESS |= {"inference_mode", "lora_dropout", "target_modules", "exclude_modules"}
_HARMLESS |= {"layers_to_transform", "layers_pattern", "qalora_group_size", "runtime_config"}
"""What the tensors say themselves, what training alone uses, and names."""
_PLAIN_STARTS = (None, True, False, "gaussian", "eva", "orthogonal")
"""Ways to initialise that leave the model's own weights as they are."""


def has_adapter(folder: Path, place: str) -> bool:
    """Whether a folder holds an adapter; ModelError for half of one."""
    names = [name for name in (ADAPTER_CONFIG, ADAPTER) if (folder / name).is_file()]
    if len(names) == 1 or (not names and (folder / "adapter_model.bin").is_file()):
        lacking = next(name for name in (ADAPTER, ADAPTER_CONFIG) if name not in names)
        raise ModelError(
            f"{place} holds part of an adapter and no {lacking}; put it there "
            "(peft's save_pretrained writes it), or take the adapter out to see the model itself"
        )
    return bool(names)


def merge_adapter(module: nn.Module, folder: Path, place: str) -> str:
    """Add a folder's adapter to an opened model; a note that says so.

    Raises ModelError for an adapter that is no plain LoRA, or is one of another model.
    """
    config = _settings(folder, place)
    tensors = load_file(folder / ADAPTER)
    pairs: dict[str, dict[str, Tensor]] = {}
    merged = 0
    with torch.no_grad():
        for key, tensor in tensors.items():
            name = key.removeprefix(_PREFIX).replace(".base_layer.", ".")
            factor = re.fullmatch(r"(.+)\.lora_([AB])\.weight", name)
            if not key.startswith(_PREFIX) or (factor is None and "lora_" in name):
                raise _refusal(place, f"holds the tensor {key[:80]}")
            if factor is not None:
                pairs.setdefault(factor[1], {})[factor[2]] = tensor
            else:
                _replace(module, name, tensor, config, place)
                merged += 1
        for name, pair in pairs.items():
            _add(module, name, pair, config, place)
    return f"the LoRA adapter beside the model was merged into {len(pairs) + merged} of its weights"


def _settings(folder: Path, place: str) -> dict[str, Any]:
    config = read_json(folder / ADAPTER_CONFIG, ModelError, "get it again")
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        kind = config.get("peft_type") if isinstance(config, dict) else None
        raise _refusal(place, f"is of the type {str(kind)[:40]}")
    start = config.pop("init_lora_weights", None)
    if start not in _PLAIN_STARTS:
        raise _refusal(place, f"was started with {str(start)[:40]}, which changes the weights too")
    for key, value in config.items():
        if value and key not in _USED | _HARMLESS:
            raise _refusal(place, f"has the setting {key[:40]}")
    return config


def _refusal(place: str, why: str) -> ModelError:
    return ModelError(
        f"the adapter in {place} {why}, and only plain LoRA is merged here; merge it with "
        "peft (merge_and_unload), save the model, and give that folder"
    )


def _weight(module: nn.Module, name: str, place: str) -> tuple[nn.Module, Tensor]:
    """A layer and its tensor; ModelError for one that is not there, or is shared with another."""
    home, _, last = name.rpartition(".")
    try:
        layer = module.get_submodule(home)
        weight = layer.get_parameter(last)
    except AttributeError as error:
        raise ModelError(
            f"the adapter in {place} is for another model: this one has no {name[:80]}; take "
            "the adapter out of the folder"
        ) from error
    inputs: Any = module.get_input_embeddings()  # type: ignore[operator]
    outputs: Any = module.get_output_embeddings()  # type: ignore[operator]
    if outputs is not None and inputs.weight is outputs.weight and weight is inputs.weight:
        raise _refusal(place, f"changes {home}, whose weights two layers share")
    return layer, weight


def _add(
    module: nn.Module,
    name: str,
    pair: Mapping[str, Tensor],
    config: Mapping[str, Any],
    place: str,
) -> None:
    layer, weight = _weight(module, f"{name}.weight", place)
    if set(pair) != {"A", "B"}:
        raise _refusal(place, f"has one of two factors of {name}")
    transposed = type(layer).__name__ == "Conv1D"  # stores (in, out)
    if not (transposed or isinstance(layer, nn.Linear)):
        raise _refusal(place, f"changes {name}, which is no linear layer")
    A, B = pair["A"].double(), pair["B"].double()
    rank = _chosen(config.get("rank_pattern"), name, config.get("r"))
    alpha = _chosen(config.get("alpha_pattern"), name, config.get("lora_alpha"))
    shape = tuple(reversed(weight.shape)) if transposed else tuple(weight.shape)
    if (B.shape[0], A.shape[1]) != shape or not A.shape[0] == B.shape[1] == rank or not alpha:
        raise ModelError(
            f"the adapter's factors of {name} have shapes {list(B.shape)} and {list(A.shape)}, "
            f"which do not fit a rank of {rank} and a weight of {list(shape)}; get its files again"
        )
    scale = alpha / (rank**0.5 if config.get("use_rslora") else rank)
    change = scale * (B @ A)
    weight.copy_(weight.double() + (change.T if transposed else change).to(weight.device))


def _chosen(pattern: Any, name: str, default: Any) -> Any:
    """The value for a layer: that of the first pattern which its name ends in."""
    for key, value in (pattern or {}).items():
        if re.match(rf"(.*\.)?({key})$", name):
            return value
    return default


def _replace(
    module: nn.Module, name: str, tensor: Tensor, config: Mapping[str, Any], place: str
) -> None:
    """Put a tensor that was trained as a whole in the model's place."""
    home, _, last = name.rpartition(".")
    listed = any(home.split(".")[-len(s.split(".")) :] == s.split(".") for s in _saved(config))
    if not listed and not (last == "bias" and config.get("bias") not in (None, "none")):
        raise _refusal(place, f"holds the tensor {name[:80]}, of which its config does not speak")
    _, weight = _weight(module, name, place)
    if weight.shape != tensor.shape:
        raise ModelError(
            f"{name[:80]} of the adapter in {place} has shape {list(tensor.shape)} and the "
            f"model's has {list(weight.shape)}; get its files again"
        )
    weight.copy_(tensor)


def _saved(config: Mapping[str, Any]) -> list[str]:
    return [str(name) for name in config.get("modules_to_save") or ()]
