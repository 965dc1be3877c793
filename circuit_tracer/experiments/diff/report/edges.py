"""Tables of step 6."""

from __future__ import annotations

from collections.abc import Iterator

from circuit_tracer.experiments.diff.results.edges import EdgesResult, ModuleRow, Parts, TargetEdges
from circuit_tracer.experiments.kit.tables import Table
from circuit_tracer.render.numbers import decimals, percent, with_interval

STEP = "6. Edges"
MOST_MODULES = 6
"""Of a target, those that changed most."""


def tables(found: EdgesResult) -> Iterator[Table]:
    """By module, all the way down to weights, then the modules and sources of each target."""
    columns = ("target", "base", "tuned", "V, O", "Q, K", "MLPs", "other", "input", "cross")
    miss = max((max(one.miss, one.weights_miss) for one in found.targets), default=0.0)
    note = (
        f"Mean over {found.prompts} test prompts. Shares of the change, tuned minus base: changed "
        "weights on the base's input (V, O to other), the base's weights on changed input, and "
        f"what both make together. On no prompt do parts miss more than {miss:.0e} of the change."
    )
    yield Table(STEP, columns, tuple(_row(one) for one in found.targets), note, "By module")
    kinds = list(dict.fromkeys(s.kind for one in found.targets for s in one.weights))
    rows = tuple((one.name, *_kinds(one, kinds)) for one in found.targets if one.weights)
    note = (
        "The same change by the weights that made it, wherever they are: changed input comes from "
        "weights changed below (integrated gradients from the base's weights to the tuned ones)."
    )
    yield Table(STEP, ("target", *kinds), rows, note, "All the way down to weights")
    yield from map(_places, found.targets)


PART_NAMES = ("change", "V, O or MLP", "Q, K", "input", "cross")


def _row(one: TargetEdges) -> tuple[str, ...]:
    parts = (one.values_output, one.queries_keys, one.mlps, one.elsewhere, one.input, one.cross)
    values = decimals(one.base.value), decimals(one.tuned.value)
    return (one.name, *values, *(with_interval(part, percent=True) for part in parts))


def _kinds(one: TargetEdges, kinds: list[str]) -> Iterator[str]:
    for kind in kinds:
        share = one.weights_of(kind)
        yield percent(0.0) if share is None else with_interval(share, percent=True)


def _places(one: TargetEdges) -> Table:
    """The modules that changed most, then what all heads bring from tokens."""
    strongest = sorted(one.modules, key=lambda row: -abs(row.parts.change))[:MOST_MODULES]
    rows = [(_name(row), *_parts(row.parts)) for row in strongest if row.parts.change]
    heads = [(f"heads, from {row.token}", *_parts(row.parts)) for row in one.sources]
    title = f"Into {one.name}"
    return Table(STEP, ("from", *PART_NAMES), (*rows, *heads) if rows else (), title=title)


def _name(row: ModuleRow) -> str:
    if row.module == "head":
        return f"L{row.layer}.H{row.head}"
    return row.module if row.layer < 0 else f"L{row.layer} {row.module}"


def _parts(parts: Parts) -> tuple[str, ...]:
    values = (parts.change, parts.weights, parts.pattern_weights, parts.input, parts.cross)
    return tuple(decimals(value, sign=True) for value in values)
