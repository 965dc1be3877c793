"""What a step is: something measured and stored as a stage, and what is read from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from circuit_tracer.experiments.diff.study import Progress, Study
from circuit_tracer.experiments.kit.measurement_table import Row

Measured = TypeVar("Measured")


class Earlier:
    """What the steps before have measured."""

    def __init__(self) -> None:
        self._by_kind: dict[type[Any], Any] = {}

    def add(self, found: object) -> None:
        """One step's."""
        self._by_kind[type(found)] = found

    def of(self, kind: type[Measured]) -> Measured:
        """A step's by its type; LookupError where that was not measured."""
        return cast(Measured, self._by_kind[kind])

    def has(self, kind: type[Any]) -> bool:
        """Whether a step was measured."""
        return kind in self._by_kind


def needs_nothing(study: Study, earlier: Earlier) -> str:
    """Of a step that can always be measured."""
    return ""


@dataclass(frozen=True)
class Step(Generic[Measured]):
    """One step of the comparison; `name` is its stage and its field in the report."""

    name: str
    kind: type[Measured]
    """A dataclass of plain values and arrays."""
    measure: Callable[[Study, Earlier, Progress], Measured]
    result: Callable[[Study, Measured], Any]
    """The result as the report has it, torch-free (results/)."""
    rows: Callable[[Study, Measured], Iterator[Row]]
    """Every single measurement."""
    lacks: Callable[[Study, Earlier], str] = needs_nothing
    """Why it cannot be measured, in a sentence; "" where it can."""
