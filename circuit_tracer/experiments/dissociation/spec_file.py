"""The spec of a two-route experiment: a TOML file, checked before any model is opened.

    name = "bananas"
    question = "Do completions and judgements draw on one store?"
    model = "sprout"
    keep = "right"              # or "own": what the model itself affirms counts as true
    representative = "banana"   # the object that is drawn
    unrelated = ["the capital of france is"]

    [[families]]
    name = "completion"
    route = "fact"
    template = "{article} {object} is"

    [[families]]
    name = "yes_no"
    route = "judgement"
    template = "is {article} {object} {value} ?"
    words = ["yes", "no"]       # a claim: it names a value and asks for a verdict

    [[items]]
    object = "banana"
    article = "a"
    value = "yellow"

Items may stand in a CSV file instead (`items = "things.csv"`), a column a slot. Without an `other`
for every item, each is asked with another item's value as the false one, every value as often true
as false. A family names the slot that stands for its object (`object = "city"`) and the slot that
it answers with (`answer = "opposite"`), where they are not `object` and `value`.
"""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from circuit_tracer.errors import UsageError, reason
from circuit_tracer.experiments.dissociation.spec import FamilySpec, ItemSpec, Spec, check
from circuit_tracer.experiments.kit.spec_reader import read_table, shown


@dataclass(frozen=True)
class _Trace:
    """What [trace] may set."""

    max_feature_nodes: int = 1
    coverage: float = 1.0


def read_spec(path: Path) -> Spec:
    """A spec from its file. UsageError, with what is wrong and where, for anything else."""
    try:
        record = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as e:
        raise UsageError(f"{path} cannot be read ({reason(e)}); give a spec in TOML") from e
    except (ValueError, RecursionError) as e:  # text that is not UTF-8, TOML or sane TOML
        raise UsageError(f"{path} cannot be read ({reason(e)}); give a spec in TOML") from e
    where = path.name
    given: dict[str, Any] = {}
    if isinstance(record.get("families"), list):
        given["families"] = tuple(_family(one, where) for one in record["families"])
    if isinstance(items := record.get("items"), str):
        items = _read_csv(path.parent / items)
    if isinstance(items, list):
        given["items"] = tuple(_item(one, i, where) for i, one in enumerate(items, start=1))
    if "trace" in record:
        read_table(_Trace, record["trace"], f"[trace] of {where}")
    spec = read_table(Spec, record, where, **given)
    check(spec, where)
    return spec


def _family(record: Any, where: str) -> FamilySpec:
    name = record.get("name", "?") if isinstance(record, dict) else "?"
    return read_table(FamilySpec, record, f'the family "{shown(str(name))}" of {where}')


def _item(record: Any, number: int, where: str) -> ItemSpec:
    if not isinstance(record, dict):
        raise UsageError(f"item {number} of {where} is no table; write [[items]] and its slots")
    slots = {key: value for key, value in record.items() if key != "held_out"}
    for key, value in slots.items():
        if not isinstance(value, str) or not value.strip():
            raise UsageError(
                f'"{shown(key)}" of item {number} of {where} must be text and not empty; it is '
                f"{shown(repr(value))}"
            )
    held_out = record.get("held_out", False)
    if not isinstance(held_out, bool):
        raise UsageError(f'"held_out" of item {number} of {where} must be true or false')
    return ItemSpec(slots, held_out)


def _read_csv(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            lines = csv.DictReader(stream)
            return [_csv_row(row, path.name, lines.line_num) for row in lines]
    except OSError as e:
        raise UsageError(
            f"the items {path.name} cannot be read ({reason(e)}); give a CSV file in the spec's "
            "folder"
        ) from e
    except (UnicodeDecodeError, csv.Error) as e:
        raise UsageError(
            f"the items {path.name} cannot be read ({reason(e)}); give a CSV file"
        ) from e


_YES, _NO = ("true", "1", "yes"), ("false", "0", "no", "")


def _csv_row(row: Mapping[str | None, Any], name: str, line: int) -> dict[str, Any]:
    """A line with as many fields as the first one names; `held_out` as a truth value."""
    if None in row or None in row.values():
        what = "more" if None in row else "fewer"
        raise UsageError(
            f"line {line} of {name} has {what} fields than its first line names; fix it"
        )
    found: dict[str, Any] = {str(key): value for key, value in row.items()}
    held_out = found.get("held_out", "").strip().lower()
    if held_out not in (*_YES, *_NO):
        raise UsageError(
            f'"held_out" in line {line} of {name} must be true or false; it is "{shown(held_out)}"'
        )
    return found | ({"held_out": held_out in _YES} if "held_out" in found else {})
