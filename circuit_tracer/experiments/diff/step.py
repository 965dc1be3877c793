"""What a step is: something measured and stored as a stage, and the tables made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import numpy as np

from circuit_tracer.experiments.diff.study import Side, Study
from circuit_tracer.experiments.kit.measurement_table import Row
from circuit_tracer.experiments.kit.passes import Ask
from circuit_tracer.experiments.kit.statistics import means_by
from circuit_tracer.experiments.kit.study import Progress
from circuit_tracer.experiments.kit.tables import Table
from circuit_tracer.graphs.bootstrap import Bootstrap
from circuit_tracer.graphs.graph import Floats

Result = TypeVar("Result")


class Earlier:
    """What the steps before have found, and what several steps of one run need."""

    def __init__(self) -> None:
        self._by_kind: dict[type[Any], Any] = {}
        self._made: dict[Any, Any] = {}

    def add(self, found: object) -> None:
        """One step's."""
        self._by_kind[type(found)] = found

    def of(self, kind: type[Result]) -> Result:
        """A step's result by its type; LookupError where that was not measured."""
        return cast(Result, self._by_kind[kind])

    def has(self, kind: type[Any]) -> bool:
        """Whether a step's result is there."""
        return kind in self._by_kind

    def once(self, make: Callable[[Study], Result], study: Study) -> Result:
        """What is made of the study when the first step asks for it."""
        if make not in self._made:
            self._made[make] = make(study)
        return cast(Result, self._made[make])


@dataclass(frozen=True)
class Step(Generic[Result]):
    """One step of the comparison; `name` is its stage and its field in the report."""

    name: str
    kind: type[Result]
    """A dataclass of plain values."""
    measure: Callable[[Study, Earlier, Progress], tuple[Result, list[Row]]]
    """The result, and every single measurement that it is made of."""
    tables: Callable[[Result], Iterator[Table]]
    brief: Callable[[Result], Iterator[Table]] = lambda found: iter(())
    """For the terminal."""
    named: Callable[[Study, Result], Result] = lambda study, found: found
    """The result with names that do not come from measuring: the labels of today's cards."""
    lacks: Callable[[Study, Earlier], str] = lambda study, earlier: ""
    """Why it cannot be measured, in a sentence; "" where it can."""


def answer_rows(
    study: Study, side: Side, asks: Sequence[Ask], values: Iterable[float], **more: Any
) -> Iterator[Row]:
    """Answers of a model as measurements: leads of the right answer in logits."""
    for ask, value in zip(asks, values, strict=True):
        yield {"model": side, "value": value, **more, **of_ask(study, ask)}


def of_ask(study: Study, ask: Ask) -> Row:
    """Columns that say which prompt it was."""
    topic = study.topic(ask.item)
    return {"topic": topic, "family": ask.family, "claim": ask.claim, "item": ask.text}


class Shares:
    """Right answers over the items of some prompts, with a stream of random numbers to itself."""

    def __init__(self, study: Study, asks: Sequence[Ask], stream: int) -> None:
        self._item = np.unique([ask.item for ask in asks], return_inverse=True)[1]
        self.draws: Bootstrap = study.bootstrap(int(self._item.max()) + 1, stream)

    def right(self, contrast: Floats) -> Floats:
        """(items,) share of each one's prompts answered rightly."""
        return means_by(self._item, (contrast > 0).astype(float), self.draws.n)
