"""Tables of step 1."""

from __future__ import annotations

from collections.abc import Iterator

from circuit_tracer.experiments.diff.results.behaviour import (
    AnswerRow,
    BehaviourResult,
    CollateralRow,
)
from circuit_tracer.experiments.kit.tables import Table
from circuit_tracer.render.numbers import whole_percent, with_interval

STEP = "1. Behaviour"


def tables(found: BehaviourResult) -> Iterator[Table]:
    """By purpose and form, by topic, in contexts, what is to stay."""
    columns = ("right answers", "form", "items", "base", "tuned", "change", "one of the two")
    rows = [_row(one) for one in found.rows if one.part == "role"]
    spread = with_interval(found.spread, percent=True)
    note = f"Spread, held-out loss over trained loss: {spread}."
    yield Table(STEP, columns, tuple(rows), note, "By purpose and form")
    topics = [_row(one) for one in found.rows if one.part == "topic"]
    yield Table(STEP, ("topic", *columns[1:]), tuple(topics), title="By topic")
    contexts = [_row(one) for one in found.rows if one.part == "context"]
    like = with_interval(found.like_context, percent=True)
    note = f'The tuned model answers {like} of these prompts as the base does in "toward".'
    yield Table(STEP, ("in the context", *columns[1:]), tuple(contexts), note, "In two contexts")
    kept = [(one.name, str(one.prompts), *_shares(one)) for one in found.collateral]
    kept_columns = ("right answers", "prompts", "base", "tuned")
    yield Table(STEP, kept_columns, tuple(kept), title="What was to stay as it was")
    text_columns = ("nats a token", "base", "tuned", "change")
    yield Table(STEP, text_columns, (_loss(found),), title="Ordinary text")


def _row(one: AnswerRow) -> tuple[str, ...]:
    name = one.name if one.part == "role" else f"{one.name} ({one.role})"
    return (
        name,
        one.family or "all",
        str(one.items),
        whole_percent(one.base.value),
        whole_percent(one.tuned.value),
        with_interval(one.change, percent=True, sign=True),
        whole_percent(one.coherent_tuned),
    )


def _shares(one: CollateralRow) -> tuple[str, ...]:
    return tuple(with_interval(share, percent=True) for share in (one.base, one.tuned))


def _loss(found: BehaviourResult) -> tuple[str, ...]:
    levels = (with_interval(one) for one in (found.loss_base, found.loss_tuned))
    return ("loss", *levels, with_interval(found.loss_change, sign=True))
