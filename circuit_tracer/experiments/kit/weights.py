"""Which weights a model or a dictionary has, for the keys of what is stored and used again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import fields, replace
from itertools import chain

import torch
from torch import Tensor

from circuit_tracer.graphs.graph import Identity
from circuit_tracer.models import Model
from circuit_tracer.transcoders.dictionary import Dictionary
from circuit_tracer.transcoders.neurons import AnyDictionary


def weights_hash(one: Model | AnyDictionary) -> str:
    """Of the files that it came from; of what was made in memory, of its tensors as they are now.

    A module that has been trained since has another one; neurons are the model's own, and have
    none of their own in memory. All weights are read for it.
    """
    if one.identity.sha256:
        return one.identity.sha256
    found = hashlib.sha256()
    for name, value in _parts(one):
        found.update(f"{name} {value.shape if isinstance(value, Tensor) else value}".encode())
        if isinstance(value, Tensor) and not value.is_meta:  # what is offloaded cannot be read
            plain = value.detach().cpu().contiguous()
            # A dimension of one element keeps a stride of its own, which no view as bytes takes.
            flat = plain.as_strided((plain.numel(),), (1,))
            found.update(flat.view(torch.uint8).numpy().data)
    return found.hexdigest()


def identified(one: Model | AnyDictionary) -> Identity:
    """Its identity, with the hash of what lies in memory alone."""
    return replace(one.identity, sha256=weights_hash(one))


def _parts(one: Model | AnyDictionary) -> Iterator[tuple[str, object]]:
    """Tensors and plain settings by name."""
    yield "name", one.identity.name
    if isinstance(one, Model):
        yield from chain(one.module.named_parameters(), one.module.named_buffers())
    elif isinstance(one, Dictionary):
        yield "kind", (one.kind, one.reads, one.writes)
        for number, layer in enumerate(one.layers):
            for field in fields(layer):
                yield f"{number}.{field.name}", getattr(layer, field.name)
