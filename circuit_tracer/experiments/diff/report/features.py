"""Tables of steps 5 and 7."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from circuit_tracer.experiments.diff.results.features import (
    ControlsResult,
    DosesResult,
    EditRow,
    FeatureRow,
    FeaturesResult,
)
from circuit_tracer.experiments.kit.tables import Table
from circuit_tracer.graphs.bootstrap import Interval
from circuit_tracer.render.numbers import percent, whole_percent, with_interval

FEATURES, CONTROLS = "5. Features", "7. Controls"
SHOWN = 20
COLUMNS = ("edit", "size", "right", "restored or induced", "one of the two", "loss", "kept")


def ranking(found: FeaturesResult) -> Iterator[Table]:
    """The candidates, best first."""
    columns = ("feature", "by screening", "gives back", "by change", "by change x gradient", "base")
    more = ("tuned", "by contrast", "base ranges over", "tells the models apart")
    rows = tuple(_feature(one) for one in found.rows[:SHOWN])
    chosen = sum(one.chosen for one in found.rows)
    note = (
        f"The best of {len(found.rows)} candidates among {found.n_features:,} features of "
        f"{found.dictionary}; the first {chosen} are chosen. base, tuned: mean activation on "
        "selection topics."
    )
    if found.in_contrast is not None:
        note += f" {found.in_contrast} of them are among the first 20 by the contrast."
    yield Table(FEATURES, (*columns, *more), rows, note, "Candidates")


def _feature(one: FeatureRow) -> tuple[str, ...]:
    return (
        one.name,
        str(one.by_screening),
        percent(one.effect),
        str(one.by_change),
        str(one.by_gradient),
        f"{one.base:.3f}",
        f"{one.tuned:.3f}",
        "" if one.by_contrast is None else str(one.by_contrast),
        f"{one.base_range:.3f}",
        whole_percent(one.tells),
    )


def doses(found: DosesResult) -> Iterator[Table]:
    """The chosen features on test topics, then by form, then dose by dose."""
    note = (
        f"{found.prompts} prompts of test topics; the base answers "
        f"{whole_percent(found.base.value)} rightly, the tuned model "
        f"{whole_percent(found.tuned.value)}. size: in sizes of the shift. Patched to the base's "
        f"values prompt by prompt, the ten restore "
        f"{with_interval(found.patched_share, percent=True)}."
    )
    yield Table(FEATURES, COLUMNS, tuple(map(_edit, found.edits)), note, "The test")
    forms = [name for name, _ in found.edits[0].families] if found.edits else []
    right = [(_name(one), *_shares(share for _, share in one.families)) for one in found.edits]
    yield Table(FEATURES, ("right answers", *forms), tuple(right), title="By form")
    columns = ("dose", "size", "right", "one of the two", "loss", "kept")
    rows = [
        (
            f"{one.way}: {one.name}",
            f"{one.size:g}",
            whole_percent(one.right.value),
            whole_percent(one.coherent),
            f"{one.loss:+.3f}",
            whole_percent(one.kept),
        )
        for one in found.doses
    ]
    yield Table(FEATURES, columns, tuple(rows), title="Dose by dose")


def controls(found: ControlsResult) -> Iterator[Table]:
    """Dense and random directions; the ranges of the random and the matched tens."""
    rows = list(map(_edit, found.edits))
    rows += [_range(name, getattr(found, name)) for name in ("random", "matched")]
    note = (
        f"The chosen ten restore {with_interval(found.over_random, percent=True, sign=True)} more "
        f"than the best of the random tens, and "
        f"{with_interval(found.over_matched, percent=True, sign=True)} more than the best matched."
    )
    yield Table(CONTROLS, COLUMNS, tuple(rows), note)


def best_of(found: ControlsResult) -> Iterator[tuple[str, EditRow, tuple[EditRow, ...]]]:
    """The best of the random and of the matched tens, named, and all of them."""
    for kind, tens in (("random", found.random), ("matched", found.matched)):
        if tens:
            best = max(tens, key=lambda one: one.right.value)
            yield f"best of {len(tens)} {kind} tens", best, tens


def _name(one: EditRow) -> str:
    return f"{one.way}: {one.name}"


def _edit(one: EditRow) -> tuple[str, ...]:
    return (
        _name(one),
        f"{one.size:.2f}",
        whole_percent(one.right.value),
        with_interval(one.share, percent=True),
        whole_percent(one.coherent),
        with_interval(one.loss, sign=True),
        whole_percent(one.kept),
    )


def _shares(given: Iterable[Interval]) -> tuple[str, ...]:
    return tuple(with_interval(one, percent=True) for one in given)


def _range(name: str, given: Sequence[EditRow]) -> tuple[str, ...]:
    """The lowest to the highest of some tens."""

    def ends(values: list[float], *, sign: bool = False) -> str:
        low, high = (
            f"{one:+.3f}" if sign else whole_percent(one) for one in (min(values), max(values))
        )
        return f"{low} to {high}"

    return (
        f"restore: {len(given)} {name} tens",
        f"{min(one.size for one in given):.2f} to {max(one.size for one in given):.2f}",
        ends([one.right.value for one in given]),
        ends([one.share.value for one in given]),
        ends([one.coherent for one in given]),
        ends([one.loss.value for one in given], sign=True),
        ends([one.kept for one in given]),
    )
