"""The command lines of scripts that grow a model, one option for every field of its plan, or train
dictionaries."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from transformers import LlamaForCausalLM

from transcoders.growing.language.corpus import vocabulary
from transcoders.growing.model_folder import read_model, write_model

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


def grow_from_sprout(
    teach: Callable[[LlamaForCausalLM, dict[str, int], PlanT], None],
    examine: Callable[[Path, Path, PlanT], Any],
    plan: PlanT,
    description: str,
    *,
    out: Path,
    stored: Callable[[PlanT], dict[str, Any]] = lambda plan: {},
) -> None:
    """The same where `teach` changes sprout's weights in place, given the words' ids: the model
    folder is written (`stored`: how, beside `write_model`'s defaults) and then examined."""

    def grow(plan: PlanT, parent: Path, out: Path) -> None:
        started = time.perf_counter()
        model, ids = read_model(parent)
        teach(model, ids, plan)
        seconds = round(time.perf_counter() - started)
        growing = {"parent": "sprout", "wall_seconds": seconds, "plan": asdict(plan)}
        write_model(model, vocabulary(), growing, out, **stored(plan))
        print(f"grown in {seconds} s", file=sys.stderr)
        print(json.dumps(examine(out, parent, plan), indent=2))

    grow_from_parent(grow, plan, description, out=out)


def parse_training(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The options of a script that trains dictionaries, its own among them."""
    parser.add_argument("--max-tokens", type=int, help="train shorter, to try something")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    return options
