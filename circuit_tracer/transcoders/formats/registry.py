"""Which formats there are, and which one a folder is in."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from circuit_tracer.errors import DictionaryError
from circuit_tracer.transcoders.formats import (
    circuit_tracer_sets,
    gemma_scope,
    gemma_scope_2,
    llama_scope,
    native,
    saelens,
    sparsify,
)
from circuit_tracer.transcoders.formats.files import refuse_pickles
from circuit_tracer.transcoders.formats.reader import Reader
from circuit_tracer.transcoders.formats.settings import plain_sae

READERS = {
    reader.name: reader
    for reader in (
        native.READER,
        gemma_scope.READER,
        gemma_scope_2.READER,
        saelens.READER,
        sparsify.READER,
        llama_scope.READER,
        circuit_tracer_sets.READER,
    )
}
"""Most telling file names first: the first that recognises a folder reads it."""


def reader_named(name: str) -> Reader:
    """The reader `--format` asks for; DictionaryError lists the names."""
    if name not in READERS:
        raise DictionaryError(
            f'there is no dictionary format "{name}"; choose one of {", ".join(READERS)}'
        )
    return READERS[name]


def recognise(names: Iterable[str], place: str) -> Reader:
    """The reader for files of these relative paths; DictionaryError if none knows them."""
    known = list(names)
    for reader in READERS.values():
        if any(re.fullmatch(reader.recognised_by, name) for name in known):
            return reader
    last = [name.rpartition("/")[2] for name in known]
    for name in last:
        if name == "ae.pt" or name.endswith(".sae.pt"):
            raise plain_sae(f"{name} in {place} (dictionary_learning's and Qwen-Scope's way)")
    refuse_pickles(map(Path, last))
    if "cfg.json" in last:
        raise DictionaryError(
            f"{place} has cfg.json but no sae_weights.safetensors (SAELens) or sae.safetensors "
            "(sparsify) beside it; put the weights there"
        )
    raise DictionaryError(
        f"{place} holds no dictionary: {native.CONFIG} is missing, and nothing there is known as "
        f"one of {', '.join(n for n in READERS if n != 'ours')} either; give the folder of a "
        "dictionary, or name its format with `format`"
    )
