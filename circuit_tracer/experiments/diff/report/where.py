"""Tables of step 2."""

from __future__ import annotations

from collections.abc import Iterator

from circuit_tracer.experiments.diff.results.where import WEIGHTS, WhereResult, WhereRow
from circuit_tracer.experiments.kit.tables import Table
from circuit_tracer.render.numbers import percent, whole_percent, with_interval

STEP = "2. Where the change sits"


def tables(found: WhereResult) -> Iterator[Table]:
    """Kinds and layers; then kinds by layer."""
    columns = ("weights", "layers", "changed by", "rank", "right, put back", "restored", "induced")
    wide = [one for one in found.rows if not (one.kind and one.layers)]
    note = (
        f"Of {found.prompts} held-out prompts the base answers {whole_percent(found.base.value)} "
        f"rightly, the tuned model {whole_percent(found.tuned.value)}. restored: of the lost "
        "answers, with the base's weights put back into the tuned model; induced: with the tuned "
        f"weights alone in the base. {_unchanged(found)}"
    )
    yield Table(STEP, columns, tuple(_row(one) for one in wide), note.strip(), "Kinds and layers")
    narrow = [one for one in found.rows if one.kind and one.layers]
    yield Table(STEP, columns, tuple(_row(one) for one in narrow), title="Kinds by layer")


def _unchanged(found: WhereResult) -> str:
    if not found.unchanged:
        return ""
    return f"Unchanged: {'; '.join(WEIGHTS[one] for one in found.unchanged)}."


def _row(one: WhereRow) -> tuple[str, ...]:
    return (
        WEIGHTS[one.kind],
        layers_words(one.layers),
        percent(one.changed),
        "" if one.rank is None else f"{one.rank} of {one.full_rank}",
        whole_percent(one.right_back.value),
        *(with_interval(share, percent=True) for share in (one.restored, one.induced)),
    )


def layers_words(layers: tuple[int, int] | None) -> str:
    """ "all", "3", "0-3"."""
    if layers is None:
        return "all"
    first, last = layers
    return str(first) if first == last else f"{first}-{last}"
