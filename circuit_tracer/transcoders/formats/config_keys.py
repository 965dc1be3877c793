"""Keys of a dictionary's config: used by its reader, known to be harmless, noted or refused.

A key that sounds like something a dictionary computes with and that its reader does not use is
refused, unless it has the value that changes nothing. What only training or book-keeping uses is
harmless, and the rest is named in a note.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from circuit_tracer.errors import DictionaryError
from circuit_tracer.transcoders.formats.files import place_of

_COMPUTES = re.compile(
    r"\w*(activation|act_fn|act_func|thresh|norm|scal|gat(e|ing)|glu|skip|affine|bias|b_dec|b_enc|"
    r"cent(er|re)|shift|mean|relu|top_?k|rectif|signed|clamp|clip|hook|architecture|transpos|tied|"
    r"head_index|reshape|rotat|hadamard|temperature|softmax|whiten|residual|nonlin|log_|exp_|delta|"
    r"alpha|multiplier|offset|power)\w*|k|ks"
)
"""Names of what some dictionaries compute with."""
_TRAINING = re.compile(
    r"(\w+_)?(init|loss|penalty|coefficient|coeff|warm_?up|decay|lr|dead|ghost|auxk?|sparsity|noise|"
    r"bandwidth|optimi[sz]er|adam|mixing|gradients?)(_\w+)?|normalize_(sae_)?decoder|lp_norm|"
    r"decoder_exactly_fixed_norm|use_batch_norm_mse|use_sparse_activations|use_cached_activations|"
    r"cached_activations_path|jumprelu_tanh_scale|multi_topk|hook_eval|log_\w+_frequency|"
    r"wandb_\w+|log_to_wandb|finetuning_(method|tokens)|normalize_decoder_frequency"
)
"""Names with such words in them that training alone uses."""
_BOOKS = re.compile(
    r"_.*|(\w+_)?(version|seed|device|dtype|dataset|wandb|name|path|url|license|author|creator|date|"
    r"description|comment|tags|learning|scheduler|steps|tokens|tokenized|batch|buffer|checkpoints?|"
    r"train|training|eval|l0|l1|lp|epochs?|context|prefetch|workers?|streaming|memory|compile|"
    r"autocast|window|frequency|layers|neuronpedia|results|metrics|repo|revision|commit|sha256|"
    r"folder|release|seconds|prepend_bos|kwargs|id|seqpos_slice|size)(_\w+)?|layer|model|"
    r"d_(in|out|sae|model|mlp)|width|sae_type|scan|type|expansion_factor|num_latents|strict_loading"
)
"""Names of what is written down beside it: sizes, texts, dates, places."""


def check_keys(settings: Mapping[str, Any], used: Collection[str], path: Path) -> tuple[str, ...]:
    """Notes on keys that nothing uses; DictionaryError for one that would change the dictionary."""
    unused = []
    for key, value in settings.items():
        if key in used or value in (None, False, "", "none") or value in ([], {}):
            continue
        if _TRAINING.fullmatch(key):
            continue
        if _COMPUTES.fullmatch(key):
            raise DictionaryError(
                f'{place_of(path)} says "{key}": {str(value)[:40]}, which is not understood and '
                "may change what the features compute; remove it if it changes nothing, or ask "
                "for support of it"
            )
        if not _BOOKS.fullmatch(key):
            unused.append(key)
    if not unused:
        return ()
    return (f"{place_of(path)} says {', '.join(unused[:8])}, which nothing here uses",)


def agrees(settings: Mapping[str, Any], key: str, found: object, path: Path) -> None:
    """DictionaryError if a config says something else than the weights beside it."""
    said = settings.get(key)
    if said is not None and said != found:
        raise DictionaryError(
            f'{place_of(path)} has "{key}": {str(said)[:40]} and the weights beside it have '
            f"{found}; put the config there that belongs to them"
        )
