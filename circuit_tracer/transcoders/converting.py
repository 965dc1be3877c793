"""Turn a dictionary of any readable format into ours or circuit-tracer's, bit for bit.

Tensors keep the dtype they are stored in. Factors that a format leaves to its loader are folded in,
then in float32. Decoders that can stay on disk are copied a piece at a time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from circuit_tracer.errors import OutputError, UsageError
from circuit_tracer.transcoders.formats.circuit_tracer_writer import save_circuit_tracer
from circuit_tracer.transcoders.formats.native import save_dictionary
from circuit_tracer.transcoders.formats.plan import load_plan
from circuit_tracer.transcoders.opening import find_dictionary, plan_dictionary

Target = Literal["ours", "circuit-tracer"]


def convert(
    reference: str | Path,
    out: Path,
    to: Target | str,
    *,
    from_format: str | None = None,
    overwrite: bool = False,
) -> tuple[str, ...]:
    """Write the dictionary `reference` into the folder `out`; what there is to know about it.

    Raises DictionaryError for what cannot be read and OutputError for what cannot be written.
    """
    if to not in get_args(Target):
        raise UsageError(f'a dictionary can be converted to ours or circuit-tracer, not to "{to}"')
    place = find_dictionary(reference, format=from_format)
    if out.resolve() == place.folder.resolve():
        raise OutputError(f"{out} is the dictionary itself; choose another folder to convert it to")
    plan = plan_dictionary(place)
    lazy = all(layer.can_stay_on_disk for layer in plan.layers)
    dictionary = load_plan(plan, name=place.name, source=place.source, dtype=None, lazy=lazy)
    if to == "ours":
        save_dictionary(dictionary, out, overwrite=overwrite)
        return plan.notes
    return (*plan.notes, *save_circuit_tracer(dictionary, out, overwrite=overwrite))
