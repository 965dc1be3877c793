"""Turn a dictionary of any readable format into ours, circuit-tracer's or SAELens', bit for bit.

The copy is known by the hash of the original, so that graphs through either can be compared, and
feature cards come along. Tensors keep the dtype they are stored in. Factors that a format leaves to
its loader are folded in, then in float32. Decoders that can stay on disk are copied a piece at a
time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from circuit_tracer.bundled import CARDS_FILE
from circuit_tracer.errors import OutputError, UsageError
from circuit_tracer.transcoders.cards import CardBook
from circuit_tracer.transcoders.formats.circuit_tracer_writer import save_circuit_tracer
from circuit_tracer.transcoders.formats.native import save_dictionary
from circuit_tracer.transcoders.formats.plan import load_plan
from circuit_tracer.transcoders.formats.saelens_writer import save_saelens
from circuit_tracer.transcoders.opening import find_dictionary, plan_dictionary

Target = Literal["ours", "circuit-tracer", "saelens"]


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
        raise UsageError(
            f'a dictionary can be converted to ours, circuit-tracer or saelens, not to "{to}"'
        )
    original = find_dictionary(reference, format=from_format)
    if out.resolve() == original.path.resolve():
        raise OutputError(f"{out} is the dictionary itself; choose another folder to convert it to")
    plan = plan_dictionary(original)
    lazy = all(layer.can_stay_on_disk for layer in plan.layers)
    dictionary = load_plan(plan, name=original.name, source=original.source, dtype=None, lazy=lazy)
    cards, notes = _cards(original.files.get(CARDS_FILE), dictionary.identity.sha256)
    notes = (*plan.notes, *notes)
    if to == "ours":
        known_by = dictionary.identity.sha256
        save_dictionary(dictionary, out, overwrite=overwrite, converted_from=known_by, cards=cards)
        return notes
    save = save_saelens if to == "saelens" else save_circuit_tracer
    return (*notes, *save(dictionary, out, overwrite=overwrite, cards=cards))


def _cards(path: Path | None, sha256: str) -> tuple[Path | None, tuple[str, ...]]:
    """The file of feature cards if they are of these very weights; else what there is to know."""
    if path is None or CardBook(path).dictionary_sha256 == sha256:
        return path, ()
    return None, ("the feature cards were made for other weights and were not copied",)
