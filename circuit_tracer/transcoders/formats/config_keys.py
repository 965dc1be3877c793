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

_HARMLESS = re.compile(
    r"_.*|\w*(version|seed|device|dtype|dataset|wandb|name|path|url|license|author|creator|date|"
    r"description|comment|tags|init|loss|penalty|coefficient|coeff|learning|warm_?up|decay|adam|"
    r"optimi[sz]er|scheduler|steps|tokens|batch|buffer|checkpoint|log|train|eval|dead|ghost|auxk?|"
    r"sparsity|l0|l1|lp|epoch|context|prefetch|worker|stream|memory|compile|autocast|window|noise|"
    r"finetuning_method|finetuning_tokens|frequency|n_layers|neuronpedia|results|metrics|repo|"
    r"revision|commit|sha256|folder|release|prepend_bos|hidden_dim|bandwidth|init_method|"
    r"mixing_fraction|gradient|store|lens|kwargs|canonical|use_sparse)\w*|lr\w*|id|layer|model|"
    r"d_(in|out|sae|model|mlp)|width|sae_type|scan|type|multi_topk|normalize_(sae_)?decoder|"
    r"decoder_exactly_fixed_norm|expansion_factor|num_latents|\w*_id|tied_at_start"
)
_COMPUTES = re.compile(
    r"\w*(activation|act_fn|thresh|norm|scal|gat(e|ing)|glu|skip|affine|bias|b_dec|b_enc|cent(er|re)|"
    r"shift|mean|relu|top_?k|rectif|signed|clamp|clip|hook|architecture|transpos|tied|head_index|"
    r"reshape|rotat|hadamard|temperature|softmax|whiten|residual|nonlin|log_|exp_|delta)\w*|k|ks"
)


def check_keys(settings: Mapping[str, Any], used: Collection[str], path: Path) -> tuple[str, ...]:
    """Notes on keys that nothing uses; DictionaryError for one that would change the dictionary."""
    unused = []
    for key, value in settings.items():
        if key in used or value in (None, False, "", "none") or value in ([], {}):
            continue
        if _COMPUTES.fullmatch(key) and not _HARMLESS.fullmatch(key):
            raise DictionaryError(
                f'{place_of(path)} says "{key}": {str(value)[:40]}, which is not understood and '
                "may change what the features compute; remove it if it changes nothing, or ask "
                "for support of it"
            )
        if not _HARMLESS.fullmatch(key):
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
