"""Gemma Scope's transcoders (google/gemma-scope-2b-pt-transcoders): one npz a layer, no config.

    layer_{i}/width_{w}/average_l0_{n}/params.npz
        W_enc (d, F), W_dec (F, d), b_enc (F), b_dec (d), threshold (F)

JumpReLU over ReLU. They read the MLP's input without the norm's weight (`ln2.hook_normalized`) and
write what is added to the residual stream, after the post-feedforward norm (`hook_mlp_out`); no
file says so. Of several widths and sparsities in a repository one a layer is chosen.

Source: Lieberum et al. 2024; read points as in circuit-tracer's and SAELens' registries.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from circuit_tracer.errors import DictionaryError
from circuit_tracer.transcoders.formats.files import by_layer, check_contiguous
from circuit_tracer.transcoders.formats.layout import Layout
from circuit_tracer.transcoders.formats.plan import LayerPlan, Plan
from circuit_tracer.transcoders.formats.reader import Folder, Reader
from circuit_tracer.transcoders.formats.tensors import npz_headers

WANTED_L0 = 100
"""The sparsity that SAELens' canonical Gemma Scope releases are chosen by."""
_FILE = re.compile(r"(?:.*/)?layer_(\d+)/(?:width_(\w+)/)?(?:average_l0_(\d+)/)?params\.npz")


LAYOUT = Layout(
    "Gemma Scope's layout",
    {name: name for name in ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")},
    transposed=("W_enc",),
)


def _choice(names: Collection[str]) -> list[str]:
    """One file a layer: the smallest width that has all layers, the L0 closest to 100."""
    matches = [(m, name) for name in names if (m := _FILE.fullmatch(name))]
    layers_of: dict[str, set[int]] = {}
    for m, _ in matches:
        layers_of.setdefault(m[2] or "", set()).add(int(m[1]))
    every = set().union(*layers_of.values())
    widths = sorted(layers_of, key=_width)
    complete = [width for width in widths if layers_of[width] == every]
    width = (complete or widths or [""])[0]
    chosen: dict[int, str] = {}
    for m, name in sorted(matches, key=lambda pair: _distance(pair[0][3])):
        if (m[2] or "") == width:
            chosen.setdefault(int(m[1]), name)
    return [chosen[layer] for layer in sorted(chosen)]


def _plan(folder: Folder) -> Plan:
    """From the arrays' headers and the folders' names."""
    chosen = READER.choose(folder.files)
    files = by_layer({name: folder.files[name] for name in chosen}, _FILE.pattern)
    if not files:
        raise DictionaryError(
            f"{folder.name} holds no layer_0/width_16k/average_l0_76/params.npz or the like; "
            "give the folder or repository of a whole dictionary"
        )
    check_contiguous(files, folder.name, "layer_{}/.../params.npz")
    return Plan(
        format=READER.name,
        kind="plt",
        layers=tuple(npz_layer(layer, path) for layer, (_, path) in files.items()),
        activation="jumprelu",
        reads="ln2.hook_normalized",
        writes="hook_mlp_out",
        model_name=_model_of(folder.repository),
        notes=(_chosen(chosen),),
    )


def npz_layer(layer: int, path: Path) -> LayerPlan:
    """One layer of Gemma Scope."""
    return LAYOUT.plan(layer, path, npz_headers(path))


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
        "layer_*/width_16k/average_l0_7? after the repository's name chooses others"
    )


def _model_of(repository: str) -> str | None:
    match = re.search(r"gemma-scope-(2b|9b|27b)-(pt|it)", repository)
    return match and f"google/gemma-2-{match[1]}{'-it' if match[2] == 'it' else ''}"


READER = Reader(
    "gemma-scope",
    recognised_by=_FILE.pattern,
    parts=_FILE.pattern,
    plan=_plan,
    choice=_choice,
)
