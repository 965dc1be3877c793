"""What every way of loading weights shares: quiet libraries, and no weight missing or left over."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

import torch
import transformers

from circuit_tracer.errors import ModelError
from circuit_tracer.models.weight_files import StoredTensor, read_tensor

_MASK = re.compile(r".*\battn\.bias|.*\battention\.bias")
_MASKED = re.compile(r".*\.(attn|attention)\.masked_bias")
_ANGLES = re.compile(r".*\brotary_emb\.inv_freq")
_ELSEWHERE = re.compile(
    r"(model\.)?(mtp|vision_tower|vision_model|multi_modal_projector)\..*|(.*\.)?position_ids"
)
"""Heads that predict later tokens, the half of a model that reads images, numbers of positions."""


def check_complete(loading: Mapping[str, Any], name: str) -> None:
    """ModelError if weights were missing or of another shape: they would be random numbers."""
    for fault, words in (("missing_keys", "missing"), ("mismatched_keys", "of another shape")):
        keys = loading.get(fault) or ()  # of other shapes with both
        if found := sorted(key if isinstance(key, str) else str(key[0]) for key in keys):
            more = f" and {len(found) - 1} more" if len(found) > 1 else ""
            raise ModelError(
                f"the weights of {name} do not match its config.json: {found[0]}{more} "
                f"{'is' if not more else 'are'} {words}; get the model's files again"
            )


def check_all_used(
    module: Any, headers: Mapping[str, StoredTensor], loading: Mapping[str, Any], name: str
) -> None:
    """ModelError for a tensor that the model did not take: with it, it is another model.

    transformers reports only some of them. Known to be harmless are old buffers that say what the
    model computes itself (causal masks and rotary frequencies, compared with it), heads that
    predict later tokens and the half that reads images.
    """
    kept = set(module.state_dict())
    reported = {str(key) for key in loading.get("unexpected_keys") or ()}
    left = reported - set(headers)  # under the name they would have had
    left |= {key for key in headers if key in reported or _is_hidden(key, kept, module)}
    left = {key for key in left if not _is_harmless(key, headers.get(key), module)}
    if left:
        shown = ", ".join(key[:80] for key in sorted(left)[:3])
        more = f" and {len(left) - 3} more" if len(left) > 3 else ""
        raise ModelError(
            f"the weights of {name} hold {shown}{more}, which the model that config.json "
            "describes does not take, so another model would be traced; correct config.json "
            "(model_type, attention_bias, ...) or get the model's files again"
        )
    prefix = f"{module.base_model_prefix}."
    twice = [key for key in headers if f"{prefix}{key}" in headers]
    n_hidden = sum(_is_hidden(key, kept, module) for key in headers)
    if twice or len(headers) - len(reported) > len(kept) + n_hidden:
        what = f"{twice[0]} and {prefix}{twice[0]}" if twice else "more tensors than the model has"
        raise ModelError(f"the weights of {name} hold {what}; get the model's files again")


def check_dtypes(module: Any, dtype: Any, name: str) -> None:
    """ModelError unless every parameter has the dtype that was asked for."""
    for key, parameter in module.named_parameters():
        if parameter.dtype != dtype:
            raise ModelError(
                f"{key} of {name} was read in {str(parameter.dtype).removeprefix('torch.')} where "
                f"{str(dtype).removeprefix('torch.')} was asked for; save the model in bfloat16 or "
                "float32"
            )


def _is_hidden(key: str, kept: set[str], module: Any) -> bool:
    """Whether transformers leaves a tensor out without reporting it."""
    patterns = [*(module._keys_to_ignore_on_load_unexpected or ()), r"rotary_emb\.inv_freq"]
    patterns.append(r"(^|\.)position_ids$")
    taken = key in kept or f"{module.base_model_prefix}.{key}" in kept
    return not taken and any(re.search(pattern, key) for pattern in patterns)


def _is_harmless(key: str, stored: StoredTensor | None, module: Any) -> bool:
    if _ELSEWHERE.fullmatch(key):
        return True
    if stored is None:
        return False
    if _MASKED.fullmatch(key):
        return stored.shape in ((), (1,))
    if _MASK.fullmatch(key):
        return _is_causal_mask(read_tensor(key, stored)) if len(stored.shape) == 4 else False
    return bool(_ANGLES.fullmatch(key)) and _are_own_angles(read_tensor(key, stored), module)


def _is_causal_mask(mask: Any) -> bool:
    """(1, 1, n, n), ones up to the diagonal."""
    square = torch.ones(mask.shape[-2:], dtype=torch.bool, device=mask.device).tril()
    return mask.shape[:2] == (1, 1) and torch.equal(mask[0, 0].bool(), square)


def _are_own_angles(angles: Any, module: Any) -> bool:
    """Whether these are the frequencies by which the model turns queries and keys itself."""
    own = [b.cpu() for n, b in module.named_buffers() if n.endswith("inv_freq")]
    return any(
        angles.shape == buffer.shape and torch.allclose(angles.float(), buffer.float(), rtol=1e-2)
        for buffer in own
    )


def quiet_libraries() -> None:
    """stderr is for our own progress and sentences, not for the loaders' bars and reports."""
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
