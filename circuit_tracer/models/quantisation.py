"""Packed checkpoints: FP8 with scales is multiplied out, sparse matrices are expanded (bitmask.py),
everything else is refused by name.

An FP8 checkpoint (Qwen3-FP8, DeepSeek's layout) holds `X.weight` in float8 and
`X.weight_scale_inv`, one factor for every block of `weight_block_size` rows and columns, or one for
the whole matrix:
W[i, j] = float8[i, j] * scale[i // rows, j // columns]. Kernels for it also round activations to
float8; here they are not rounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from circuit_tracer.errors import ModelError
from circuit_tracer.models.bitmask import Bitmask, find_bitmask, is_bitmask
from circuit_tracer.models.weight_files import StoredTensor, read_tensor

PLAIN = ("F64", "F32", "F16", "BF16")
"""Stored dtypes that are read as they are."""
FLOAT8 = {"F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2}
SCALE, INPUT_SCALE = "_scale_inv", "activation_scale"
_KNOWN = {"quant_method", "fmt", "activation_scheme", "weight_block_size", "modules_to_not_convert"}
_KNOWN |= {"ignored_layers", "dequantize", "scale_fmt"}
_FILES = {"quantize_config.json": "gptq", "quant_config.json": "awq"}
_FILES |= {"hf_quant_config.json": "modelopt"}
"""Files in which some quantisers put what belongs into config.json."""


class Quantisation(NamedTuple):
    """How the float8 weights of a checkpoint are to be read."""

    blocks: tuple[int, int] | None
    """Rows and columns that share a scale; None for one scale a matrix."""
    dtype: torch.dtype
    """float8_e4m3fn or float8_e5m2."""

    @property
    def note(self) -> str:
        """What was done, in a sentence for the user."""
        part = f"block of {self.blocks[0]} x {self.blocks[1]}" if self.blocks else "matrix"
        name = str(self.dtype).removeprefix("torch.")
        return (
            f"the weights are stored in {name} with a scale for every {part}; they were multiplied "
            "out, and activations are not rounded to 8 bits as an FP8 kernel rounds them"
        )

    def stored(self, headers: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
        """By weight, the tensor of the file that holds it: scales left out."""
        return {n: one for n, one in headers.items() if not n.endswith((SCALE, INPUT_SCALE))}

    def weights(self, headers: Mapping[str, StoredTensor], dtype: torch.dtype) -> dict[str, Tensor]:
        """All weights of a checkpoint, float8 ones multiplied out in float32 (float64 if asked
        for)."""
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        weights = {}
        for name, stored in self.stored(headers).items():
            tensor = read_tensor(name, stored)
            if stored.dtype in FLOAT8:
                scale = read_tensor(name + SCALE, headers[name + SCALE]).to(wide)
                tensor = scaled(tensor.to(wide), scale, self.blocks)
            weights[name] = tensor
        return weights


def find_quantisation(
    folder: Path, config: Mapping[str, Any], headers: Mapping[str, StoredTensor], place: str
) -> Quantisation | Bitmask | None:
    """How a checkpoint is quantised or packed; None if it is not. `place` is for messages.

    Raises ModelError for ways that are not read.
    """
    settings = _settings(config)
    method = str(settings.get("quant_method") or settings.get("quant_type") or "an unnamed method")
    if is_bitmask(settings):
        return find_bitmask(headers, place)
    file = next((name for name in _FILES if (folder / name).is_file()), None)
    if settings and method != "fp8":
        raise _refusal(place, f"with {method}")
    if not settings and file is not None:
        raise _refusal(place, f"with {_FILES[file]} ({file})")
    odd = next((n for n, stored in headers.items() if _is_packed(n, stored)), None)
    if odd is not None and not (settings and headers[odd].dtype in FLOAT8):
        raise _refusal(place, f"({odd[:80]} is stored in {headers[odd].dtype})")
    if not settings:
        return None
    return _float8(place, settings, headers)


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    for part in (config, config.get("text_config") or {}):
        for key in ("quantization_config", "compression_config"):
            if isinstance(part, Mapping) and part.get(key):
                settings = part[key]
                return (
                    dict(settings)
                    if isinstance(settings, Mapping)
                    else {"quant_method": str(settings)}
                )
    return {}


def _is_packed(name: str, stored: StoredTensor) -> bool:
    """Whether a tensor is a weight that is not a plain floating-point one."""
    mask = name.endswith((".bias", ".masked_bias", "position_ids"))  # causal masks, old buffers
    return stored.dtype not in PLAIN and not mask


def _refusal(place: str, how: str) -> ModelError:
    return ModelError(
        f"the weights in {place} are quantised {how}, which is not read; give the model in "
        "float32, bfloat16 or float16 (most are also published so; else dequantize() it with "
        "transformers and save_pretrained)"
    )


def _float8(
    place: str, settings: Mapping[str, Any], headers: Mapping[str, StoredTensor]
) -> Quantisation:
    unknown = sorted(key for key, value in settings.items() if key not in _KNOWN and value)
    if unknown:
        raise _refusal(place, f"with fp8 and a setting {unknown[0]} that is not known")
    size = settings.get("weight_block_size")
    if size is not None and not (
        isinstance(size, (list, tuple)) and len(size) == 2 and all(_is_count(n) for n in size)
    ):
        raise _refusal(place, f"with fp8 in blocks of {str(size)[:40]}")
    found = [name for name, stored in headers.items() if stored.dtype in FLOAT8]
    if not found:
        raise ModelError(
            f"config.json of {place} says fp8 and no weight there is stored so; remove "
            "quantization_config from it, or get the files again"
        )
    quantisation = Quantisation(tuple(size) if size else None, FLOAT8[headers[found[0]].dtype])
    for name in found:
        _check_scale(place, name, headers, quantisation.blocks)
    for name in headers:
        if name.endswith(SCALE) and name.removesuffix(SCALE) not in found:
            raise ModelError(f"{name[:80]} in {place} scales no float8 weight; get it again")
    return quantisation


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _check_scale(
    place: str,
    name: str,
    headers: Mapping[str, StoredTensor],
    blocks: tuple[int, int] | None,
) -> None:
    scale, shape = headers.get(name + SCALE), headers[name].shape
    if scale is None:
        raise ModelError(
            f"{name[:80]} in {place} is stored in {headers[name].dtype} without its scale "
            f"{name[:80]}{SCALE}; get the model's files again"
        )
    wanted: tuple[tuple[int, ...], ...] = ((), (1,), (1, 1))
    if blocks is not None:
        wanted = (tuple(-(-n // block) for n, block in zip(shape, blocks, strict=False)),)
    if scale.shape not in wanted or scale.dtype not in PLAIN or len(shape) != 2:
        raise ModelError(
            f"{name[:80]}{SCALE} in {place} has shape {list(scale.shape)} and dtype "
            f"{scale.dtype} where {list(wanted[0])} in float32 is needed; get the files again"
        )


def scaled(
    weight: Float[Tensor, "out in"], scale: Tensor, blocks: tuple[int, int] | None
) -> Float[Tensor, "out in"]:
    """A matrix times the scales of its blocks."""
    if blocks is None:
        return weight * scale.reshape(())
    rows, columns = blocks
    each = scale.repeat_interleave(rows, 0).repeat_interleave(columns, 1)
    return weight * each[: weight.shape[0], : weight.shape[1]]
