"""Options of the scripts that grow a model: one for every field of its plan."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

PlanT = TypeVar("PlanT", bound="DataclassInstance")


def add_plan(parser: argparse.ArgumentParser, plan: DataclassInstance) -> None:
    """One option a field, the field's value by default; and the number of threads."""
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    for name, value in asdict(plan).items():
        flag = "--" + name.replace("_", "-")
        parser.add_argument(flag, type=type(value), default=value, help=f"default {value}")


def chosen_plan(options: argparse.Namespace, plan: PlanT) -> PlanT:
    """The plan with the values that were given."""
    return replace(plan, **{name: getattr(options, name) for name in asdict(plan)})
