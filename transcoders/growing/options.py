"""The command lines of scripts that grow a model: one option for every field of its plan."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SPROUT = Path(__file__).resolve().parents[1] / "sprout" / "model"
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


def grow_from_parent(
    grow: Callable[[PlanT, Path, Path], None],
    plan: PlanT,
    description: str,
    *,
    out: Path,
    parent: Path = SPROUT,
) -> None:
    """The command line of a model that is grown from another: `grow` gets the chosen plan, the
    parent's folder (sprout's) and the folder to write."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, default=out, help="model folder to write")
    parser.add_argument("--parent", type=Path, default=parent, help="model folder to start from")
    add_plan(parser, plan)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    grow(chosen_plan(options, plan), options.parent, options.out)
