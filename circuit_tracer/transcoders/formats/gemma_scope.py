"""Gemma Scope's transcoders (google/gemma-scope-2b-pt-transcoders): one npz a layer, no config.

    layer_{i}/width_{w}/average_l0_{n}/params.npz
        W_enc (d, F), W_dec (F, d), b_enc (F), b_dec (d), threshold (F)

JumpReLU over ReLU. They read the MLP's input without the norm's weight (`ln2.hook_normalized`) and
write what is added to the residual stream, behind the post-feedforward norm (`hook_mlp_out`); no
file says so. Of several widths and sparsities in a repository one a layer is chosen.

Source: Lieberum et al. 2024; read points as in circuit-tracer's and SAELens' registries.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from circuit_tracer.errors import DictionaryError
from circuit_tracer.transcoders.formats.files import check_contiguous
from circuit_tracer.transcoders.formats.plan import LayerPlan, Plan, Slot
from circuit_tracer.transcoders.formats.reader import Folder
from circuit_tracer.transcoders.formats.tensors import (
    find_tensor,
    length_of,
    npz_headers,
    refuse_others,
)

WANTED_L0 = 100
"""The sparsity that SAELens' canonical Gemma Scope releases are chosen by."""
_FILE = re.compile(r"(?:.*/)?layer_(\d+)/(?:width_(\w+)/)?(?:average_l0_(\d+)/)?params\.npz")


class GemmaScope:
    """Reads Gemma Scope's npz files."""

    name = "gemma-scope"

    def recognises(self, names: Collection[str]) -> bool:
        """By `layer_{i}/.../params.npz`."""
        return any(_FILE.fullmatch(name) for name in names)

    def choose(self, names: Collection[str]) -> list[str]:
        """One file a layer: the smallest width that has all layers, the L0 closest to 100."""
        found = [(m, name) for name in names if (m := _FILE.fullmatch(name))]
        layers = {int(m[1]) for m, _ in found}
        widths = sorted({m[2] or "" for m, _ in found}, key=_width)
        complete = [
            w for w in widths if {int(m[1]) for m, _ in found if (m[2] or "") == w} == layers
        ]
        width = (complete or widths or [""])[0]
        chosen: dict[int, str] = {}
        for m, name in sorted(found, key=lambda pair: _distance(pair[0][3])):
            if (m[2] or "") == width:
                chosen.setdefault(int(m[1]), name)
        return [chosen[layer] for layer in sorted(chosen)]

    def plan(self, folder: Folder) -> Plan:
        """From the arrays' headers and the folders' names."""
        names = self.choose(folder.files)
        numbers = {int(_FILE.fullmatch(name)[1]): name for name in names}  # type: ignore[index]
        if not numbers:
            raise DictionaryError(
                f"{folder.name} holds no layer_0/width_16k/average_l0_76/params.npz or the like; "
                "give the folder or repository of a whole dictionary"
            )
        check_contiguous(numbers, folder.name, "layer_{}/.../params.npz")
        layers = tuple(npz_layer(layer, folder.files[numbers[layer]]) for layer in sorted(numbers))
        return Plan(
            format=self.name,
            kind="plt",
            layers=layers,
            activation="jumprelu",
            reads="ln2.hook_normalized",
            writes="hook_mlp_out",
            model_name=_model_of(folder.repository),
            notes=(_chosen(names),),
        )


def npz_layer(layer: int, path: Path) -> LayerPlan:
    """One layer of Gemma Scope."""
    headers = npz_headers(path)
    F, d = length_of(headers, "b_enc", path), length_of(headers, "b_dec", path)
    known = ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")
    refuse_others(headers, known, path, "Gemma Scope's layout")
    W_enc, W_dec, b_enc, b_dec, threshold = (find_tensor(headers, n, path) for n in known)
    return LayerPlan(
        layer=layer,
        n_features=F,
        d_model=d,
        n_written=1,
        W_enc=Slot(W_enc, transposed=True),
        W_dec=W_dec,
        decoder="rows",
        b_enc=b_enc,
        b_dec=b_dec,
        threshold=threshold,
    )


def _width(name: str) -> float:
    """16k -> 16, 1m -> 1024: to sort widths by."""
    match = re.fullmatch(r"(\d+)([km]?)", name)
    return int(match[1]) * (1024 if match[2] == "m" else 1) if match else float("inf")


def _distance(l0: str | None) -> tuple[int, int]:
    return (abs(int(l0) - WANTED_L0), int(l0)) if l0 else (0, 0)


def _chosen(names: list[str]) -> str:
    """What was chosen, by the part of the paths that differs."""
    sparsities = [m[3] for name in names if (m := _FILE.fullmatch(name)) and m[3]]
    width = next((m[2] for name in names if (m := _FILE.fullmatch(name))), None)
    return (
        f"chosen: width {width}, average L0 {', '.join(sparsities)} for layers 0 to "
        f"{len(names) - 1} (closest to {WANTED_L0}); a pattern such as "
        "layer_*/width_16k/average_l0_7? behind the repository chooses others"
    )


def _model_of(repository: str) -> str | None:
    match = re.search(r"gemma-scope-(2b|9b|27b)-(pt|it)", repository)
    return match and f"google/gemma-2-{match[1]}{'-it' if match[2] == 'it' else ''}"


READER = GemmaScope()
