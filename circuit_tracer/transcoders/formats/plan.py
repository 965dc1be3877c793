"""What a reader finds in a dictionary's headers, and how weights are read by it.

Every format differs in names, orientation and settings only, so a reader's whole work is a `Plan`:
for each layer where its tensors lie and which way round they are. Checking the plan, reading the
weights, leaving decoders on disk and hashing files is then the same for all of them, here.

Shapes: F features of a layer, W layers written to, L layers, d model width.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from circuit_tracer.bundled import sha256_of
from circuit_tracer.errors import DictionaryError
from circuit_tracer.graphs.graph import Identity
from circuit_tracer.models.parts import ReadPoint, WritePoint
from circuit_tracer.transcoders.decoders import DecoderFile
from circuit_tracer.transcoders.dictionary import (
    Activation,
    Dictionary,
    Kind,
    LayerTranscoder,
    every_layer,
)
from circuit_tracer.transcoders.formats.files import GET_AGAIN
from circuit_tracer.transcoders.formats.tensors import (
    Stored,
    check_dtype,
    check_finite,
    check_shape,
)

Weights = dict[str, Tensor]
Fold = Callable[[Weights], Weights]
Rows = Literal["rows", "columns", "written", "all layers"]
"""How a decoder is stored: (F, d); (d, F); (F, W, d); (F, L, d), of which the last W count."""


@dataclass(frozen=True)
class LayerPlan:
    """One layer: its sizes and where its tensors lie. Shapes are asserted when it is made."""

    layer: int
    n_features: int
    d_model: int
    tensors: Mapping[str, Stored]
    """By internal name: `W_enc`, `W_dec`, and what there is of `b_enc` and `b_dec` (else zeros),
    `threshold`, `W_skip` and further tensors that `fold` takes."""
    transposed: Collection[str] = ()
    """Names of the matrices that the file has the other way round."""
    decoder: Rows = "rows"
    n_written: int = 1
    k: int | None = None
    fold: Fold | None = None
    """What is multiplied into the weights when they are read (norm factors); in float64."""

    def __post_init__(self) -> None:
        F, d, W = self.n_features, self.d_model, self.n_written
        shapes: dict[str, tuple[int, ...]] = {
            "W_enc": (F, d),
            "W_dec": {
                "rows": (F, d),
                "columns": (d, F),
                "written": (F, W, d),
                "all layers": (F, self.layer + W, d),
            }[self.decoder],
            "threshold": (F,),
            "b_enc": (F,),
            "b_dec": (d,),
            "W_skip": (d, d),
            "scaling_factor": (F,),
        }
        for name, shape in shapes.items():
            stored = self.tensors.get(name)
            one_for_all = name == "threshold" and stored is not None and stored.shape in ((), (1,))
            if stored is not None and not one_for_all:
                check_shape(stored, shape[::-1] if name in self.transposed else shape)
        for stored in self.tensors.values():
            check_dtype(stored)

    @property
    def stored_decoder(self) -> Stored:
        """The decoder as it is stored."""
        return self.tensors["W_dec"]

    @property
    def can_stay_on_disk(self) -> bool:
        """Whether decoder rows can be read singly: they lie in order and nothing is folded in."""
        return (
            self.stored_decoder.offset is not None
            and self.decoder != "columns"
            and self.fold is None
        )

    def decoder_bytes(self, dtype: torch.dtype | None) -> int:
        """What the decoder takes in memory."""
        itemsize = (dtype or self.stored_decoder.torch_dtype).itemsize
        return self.n_features * self.n_written * self.d_model * itemsize


@dataclass(frozen=True)
class Plan:
    """A whole dictionary by its headers."""

    format: str
    kind: Kind
    layers: tuple[LayerPlan, ...]
    activation: Activation
    reads: ReadPoint
    writes: WritePoint
    rectified: bool = True
    reads_as: str = ""
    """What the files themselves call the reading point; empty if they do not say."""
    writes_as: str = ""
    model_name: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """What was chosen or assumed, in sentences for the user."""
    sha256: str | None = None
    """What the files' config says the weights' hash is (our format only)."""
    hash_weights: Callable[[], str] | None = None
    """How that hash is taken, where it is not the hash of the files' hashes."""
    converted_from: str | None = None
    """Hash of the dictionary that these are a copy of in another format: they are the same."""
    depth: int = 0
    """Layers of the model, for sparse autoencoders: as far as files or the model itself say it."""

    @property
    def n_layers(self) -> int:
        """Number of the model's layers, as far as it is known."""
        return max(self.depth, self.layers[-1].layer + 1)

    @property
    def d_model(self) -> int:
        """Width of what is read and written."""
        return self.layers[0].d_model

    @property
    def files(self) -> tuple[Path, ...]:
        """Weight files in layer order, each once."""
        tensors = (stored for layer in self.layers for stored in layer.tensors.values())
        return tuple(dict.fromkeys(stored.path for stored in tensors))


def check_plan(plan: Plan, place: str) -> Plan:
    """The plan if its layers make one dictionary: all there, equally wide, with what they need."""
    numbers = [layer.layer for layer in plan.layers]
    if plan.kind == "sae":
        whole = numbers == sorted(set(numbers)) and numbers[0] >= 0
    else:
        whole = numbers == list(range(len(numbers)))
    if not whole or not numbers:
        raise DictionaryError(
            f"{place} has layers {numbers[:8]}, not every layer from 0 to the last; {GET_AGAIN}"
        )
    for layer in plan.layers:
        if layer.d_model != plan.d_model:
            raise DictionaryError(
                f"layer {layer.layer} of {place} has width {layer.d_model} and layer "
                f"{numbers[0]} has {plan.d_model}; {GET_AGAIN}"
            )
        has_skip = "W_skip" in layer.tensors
        if has_skip != ("W_skip" in plan.layers[0].tensors):
            raise DictionaryError(
                f"layer {layer.layer} of {place} {'has' if has_skip else 'lacks'} a skip "
                f"connection that layer {numbers[0]} {'lacks' if has_skip else 'has'}; give layers "
                "of one kind"
            )
        if plan.activation == "topk" and layer.k is None:
            raise DictionaryError(
                f"{place} is a TopK dictionary and does not say its k (how many features a token "
                "keeps), without which features mean nothing; add k to its config"
            )
    return plan


# Reading weights


def load_plan(
    plan: Plan,
    *,
    name: str,
    source: str,
    location: str = "",
    format: str = "",
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = torch.float32,
    lazy: bool = False,
) -> Dictionary:
    """The dictionary of a plan, called `name`; `location` and `format` are its identity's.

    `dtype` None keeps what is stored; `lazy` leaves decoders on disk.

    Raises DictionaryError for NaN, and for weights that are not those their config speaks of.
    """
    actual = (plan.hash_weights or (lambda: hash_files(plan.files)))()
    if plan.sha256 not in (None, actual):
        raise DictionaryError(
            f"the weights in {plan.files[0].parent.name} are not those its config was written "
            f"with (their sha256 differs): they were damaged or changed; {GET_AGAIN}"
        )
    layers = [_load_layer(plan, layer, device, dtype, lazy) for layer in plan.layers]
    model = {"model": {"name": plan.model_name}} if plan.model_name else {}
    return Dictionary(
        kind=plan.kind,
        layers=every_layer(layers, plan.n_layers),
        reads=plan.reads,
        writes=plan.writes,
        identity=Identity(
            name, source, plan.converted_from or actual, plan.kind, location=location, format=format
        ),
        config={**model, **plan.config},
        notes=plan.notes,
    )


def hash_files(files: tuple[Path, ...]) -> str:
    """sha256 over the files' own sha256 sums, in order.

    The blobs of a Hugging Face cache are named by theirs, so that many gigabytes need no reading.
    """
    digest = sha256()
    for file in files:
        real = file.resolve()
        named = real.parent.name == "blobs" and len(real.name) == 64
        digest.update((real.name if named else sha256_of([file])).encode())
    return digest.hexdigest()


def _load_layer(
    plan: Plan, layer: LayerPlan, device: torch.device | str, dtype: torch.dtype | None, lazy: bool
) -> LayerTranscoder:
    stays = lazy and layer.can_stay_on_disk
    tensors = {
        name: stored.read()
        for name, stored in layer.tensors.items()
        if not (stays and name == "W_dec")
    }
    check_finite(tensors, layer.tensors["W_enc"].place)
    tensors = _oriented(layer, tensors)
    if layer.fold is not None:
        stored_dtype = torch.promote_types(tensors["W_enc"].dtype, torch.float32)
        folded = layer.fold({name: tensor.double() for name, tensor in tensors.items()})
        tensors = {name: tensor.to(dtype or stored_dtype) for name, tensor in folded.items()}
    moved: dict[str, Any] = {
        name: tensor.to(device=device, dtype=dtype or tensor.dtype).contiguous()
        for name, tensor in tensors.items()
    }
    if stays:
        moved["W_dec"] = _decoder_file(layer).to(device=device, dtype=dtype)
    return LayerTranscoder(
        layer=layer.layer,
        activation=plan.activation,
        k=layer.k if plan.activation == "topk" else None,
        rectified=plan.rectified,
        **moved,
    )


def _oriented(layer: LayerPlan, tensors: Weights) -> Weights:
    """Tensors the way round that the internal form has them, zeros for biases that are missing."""
    oriented = dict(tensors)
    for name in {"W_enc", "W_skip"} & oriented.keys() & set(layer.transposed):
        oriented[name] = oriented[name].T
    for name, length in (("b_enc", layer.n_features), ("b_dec", layer.d_model)):
        oriented.setdefault(name, torch.zeros(length, dtype=oriented["W_enc"].dtype, device="cpu"))
    if "threshold" in oriented:
        oriented["threshold"] = oriented["threshold"].reshape(-1).expand(layer.n_features)
    if "W_dec" in oriented:
        rows = oriented["W_dec"].T if layer.decoder == "columns" else oriented["W_dec"]
        if layer.decoder == "all layers":
            rows = rows[:, layer.layer :]
        oriented["W_dec"] = rows if rows.ndim == 3 else rows[:, None]
    return oriented


def _decoder_file(layer: LayerPlan) -> DecoderFile:
    stored, first = layer.stored_decoder, layer.layer if layer.decoder == "all layers" else 0
    return DecoderFile(
        path=stored.path,
        offset=stored.offset or 0,
        stored_shape=(layer.n_features, layer.n_written + first, layer.d_model),
        stored_dtype=stored.torch_dtype,
        first=first,
        written_at=stored.path.stat().st_mtime_ns,
    )
