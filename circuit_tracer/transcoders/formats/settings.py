"""The configs of all formats: read, asked for values of a kind, checked for what nothing uses.

A key that sounds like something a dictionary computes with and that its reader does not use is
refused, unless it has the value that changes nothing. What only training or book-keeping uses is
harmless, and the rest is named in a note.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from circuit_tracer.errors import DictionaryError
from circuit_tracer.transcoders.formats.files import GET_AGAIN, place_of, read_table

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


class Settings(dict[str, Any]):
    """A config that somebody else wrote."""

    def __init__(self, values: Mapping[str, Any], path: Path) -> None:
        """`path` is its file, for messages."""
        super().__init__(values)
        self.path = path

    @classmethod
    def read(cls, path: Path) -> Settings:
        """From a JSON or YAML file; DictionaryError if it cannot be read."""
        return cls(read_table(path), path)

    def wrong(self, what: str) -> DictionaryError:
        """The refusal of a config, by what it does wrong and what to do about it."""
        return DictionaryError(f"{place_of(self.path)} {what}")

    def text(self, *keys: str) -> str | None:
        """The first of these settings that is a text."""
        return next((self[key] for key in keys if isinstance(self.get(key), str)), None)

    def count(self, key: str) -> int:
        """A whole number above 0 that has to be there."""
        if not is_count(self.get(key)):
            raise self.needs(key, "a whole number above 0")
        return int(self[key])

    def number(self, key: str) -> float:
        """A finite number that has to be there."""
        value = self.get(key)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not abs(value) < 1e30:
            raise self.needs(key, "a number")
        return float(value)

    def needs(self, key: str, what: str) -> DictionaryError:
        """The refusal of a value."""
        value = json.dumps(self.get(key), default=str)[:40]
        return self.wrong(f'has "{key}": {value} where it needs {what}; {GET_AGAIN}')

    def agrees(self, key: str, found: object) -> None:
        """DictionaryError if the config says something else than the weights beside it."""
        value = self.get(key)
        if value is not None and value != found:
            raise self.wrong(
                f'has "{key}": {str(value)[:40]} and the weights beside it have {found}; put the '
                "config there that belongs to them"
            )

    def notes(self, used: Collection[str]) -> tuple[str, ...]:
        """Notes on keys that nothing uses; DictionaryError for one that would change the weights'
        meaning."""
        unused = []
        for key, value in self.items():
            if key in used or value in (None, False, "", "none") or value in ([], {}):
                continue
            if _TRAINING.fullmatch(key):
                continue
            if _COMPUTES.fullmatch(key):
                raise self.wrong(
                    f'says "{key}": {str(value)[:40]}, which is not understood and may change what '
                    "the features compute; remove it if it changes nothing, or ask for support of "
                    "it"
                )
            if not _BOOKS.fullmatch(key):
                unused.append(key)
        if not unused:
            return ()
        return (f"{place_of(self.path)} says {', '.join(unused[:8])}, which nothing here uses",)


def is_count(value: Any) -> bool:
    """Whether this is a whole number above 0."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def plain_sae(what: str) -> DictionaryError:
    """The refusal of a sparse autoencoder that is not of the residual stream, in SAELens' layout or
    ours."""
    return DictionaryError(
        f"{what} is a plain sparse autoencoder: it reconstructs what it reads and computes no MLP "
        "output, so no MLP can be replaced by it; give transcoders, or to steer and ablate a "
        "sparse autoencoder of the residual stream in SAELens' layout"
    )
