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
from pathlib import Path
from typing import Any

from circuit_tracer.errors import UsageError, reason
from circuit_tracer.experiments.dissociation.spec import FamilySpec, ItemSpec, Spec
from circuit_tracer.experiments.dissociation.spec_checks import (
    check_families,
    check_items,
    shown,
)

_TOP = {
    "name": str,
    "question": str,
    "model": str,
    "transcoders": str,
    "seed": int,
    "keep": str,
    "representative": str,
    "unrelated": list,
    "families": list,
    "items": (list, str),
    "trace": dict,
}
_FAMILY = {
    "name": str,
    "route": str,
    "template": str,
    "words": list,
    "object": str,
    "answer": str,
    "paraphrase_of": str,
    "use": str,
}
_TRACE = {"max_feature_nodes": int, "coverage": float}


def read_spec(path: Path) -> Spec:
    """A spec from its file. UsageError, with what is wrong and where, for anything else."""
    try:
        record = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as e:
        raise UsageError(f"{path} cannot be read ({reason(e)}); give a spec in TOML") from e
    except (ValueError, RecursionError) as e:  # text that is not UTF-8, TOML or sane TOML
        raise UsageError(f"{path} cannot be read ({reason(e)}); give a spec in TOML") from e
    where = path.name
    _check_keys(record, _TOP, where)
    for key in ("name", "question", "families", "items"):
        if key not in record:
            raise UsageError(f'{where} has no "{key}"; add it')
    items = record["items"]
    given = _read_csv(path.parent / items) if isinstance(items, str) else items
    trace = _trace(record.get("trace", {}), where)
    spec = Spec(
        name=_slug(record["name"], where),
        question=record["question"],
        families=tuple(_family(one, where) for one in record["families"]),
        items=tuple(_item(one, i, where) for i, one in enumerate(given, start=1)),
        model=record.get("model", "sprout"),
        transcoders=record.get("transcoders"),
        seed=record.get("seed", 0),
        keep=_one_of(record.get("keep", "right"), ("right", "own"), "keep", where),
        representative=record.get("representative"),
        unrelated=tuple(_texts(record.get("unrelated", []), "unrelated", where)),
        trace=dict(trace),
    )
    check_families(spec, where)
    check_items(spec, where)
    return spec


def _check_keys(record: Any, known: Mapping[str, Any], where: str) -> None:
    if not isinstance(record, dict):
        raise UsageError(f"{where} has something other than a table of keys; mend it")
    for key, value in record.items():
        if key not in known:
            raise UsageError(
                f'{where} sets "{shown(key)}", which means nothing; use {", ".join(known)}'
            )
        kinds = known[key] if isinstance(known[key], tuple) else (known[key],)
        kinds = (*kinds, int) if float in kinds else kinds
        if not isinstance(value, kinds) or isinstance(value, bool):
            names = " or ".join(_KINDS[kind] for kind in kinds)
            raise UsageError(f'"{key}" in {where} must be {names}; it is {shown(repr(value))}')


_KINDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "a table",
}


def _trace(record: Any, where: str) -> dict[str, float]:
    """Settings of traces; what cannot be is said here, not hours later in the first trace."""
    place = f"[trace] of {where}"
    _check_keys(record, _TRACE, place)
    rows, coverage = record.get("max_feature_nodes", 1), record.get("coverage", 1.0)
    if rows < 1:
        raise UsageError(f'"max_feature_nodes" in {place} must be at least 1; it is {rows}')
    if not 0 < coverage <= 1:
        raise UsageError(
            f'"coverage" in {place} must lie above 0 and at most at 1; it is {coverage}'
        )
    return dict(record)


def _slug(name: str, where: str) -> str:
    if not name or not all(c.isalnum() or c in "-_" for c in name) or len(name) > 60:
        raise UsageError(
            f'"name" in {where} must be letters, digits, "-" and "_", because it names a folder; '
            f'it is "{shown(name)}"'
        )
    return name


def _one_of(value: Any, allowed: tuple[str, ...], key: str, where: str) -> Any:
    if value not in allowed:
        raise UsageError(
            f'"{key}" in {where} must be {" or ".join(allowed)}; it is "{shown(value)}"'
        )
    return value


def _texts(values: Any, key: str, where: str) -> list[str]:
    if not all(isinstance(value, str) and value.strip() for value in values):
        raise UsageError(f'"{key}" in {where} must be a list of texts; mend it')
    return list(values)


def _family(record: Any, where: str) -> FamilySpec:
    name = record.get("name", "?") if isinstance(record, dict) else "?"
    place = f'the family "{shown(str(name))}" of {where}'
    _check_keys(record, _FAMILY, place)
    for key in ("name", "route", "template"):
        if key not in record:
            raise UsageError(f'{place} has no "{key}"; add it')
    words = record.get("words")
    if words is not None and not _are_two(words):
        raise UsageError(f'"words" of {place} must be two words, as in ["yes", "no"]')
    return FamilySpec(
        name=_slug(name, where),
        route=_one_of(record["route"], ("fact", "judgement"), "route", place),
        template=record["template"],
        words=None if words is None else (words[0], words[1]),
        object=record.get("object", "object"),
        answer=record.get("answer", "value"),
        paraphrase_of=record.get("paraphrase_of"),
        use=_one_of(record.get("use", "all"), ("all", "direction"), "use", place),
    )


def _are_two(words: list[Any]) -> bool:
    return (len(words) == 2 and all(word and isinstance(word, str) for word in words)) and words[
        0
    ] != words[1]


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
            f"the items {path.name} cannot be read ({reason(e)}); give a CSV file beside the spec"
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
            f"line {line} of {name} has {what} fields than its first line names; mend it"
        )
    found: dict[str, Any] = {str(key): value for key, value in row.items()}
    held_out = found.get("held_out", "").strip().lower()
    if held_out not in (*_YES, *_NO):
        raise UsageError(
            f'"held_out" in line {line} of {name} must be true or false; it is "{shown(held_out)}"'
        )
    return found | ({"held_out": held_out in _YES} if "held_out" in found else {})
