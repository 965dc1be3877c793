"""What somebody wrote in TOML as a dataclass, whose fields say which keys there are.

Every mistake is a UsageError of one sentence that says what is wrong, where, and what to do.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from difflib import get_close_matches
from pathlib import Path
from string import Formatter
from typing import Any, Protocol, TypeVar

from circuit_tracer.errors import UsageError, reason
from circuit_tracer.graphs.files.json_values import from_plain, key_of
from circuit_tracer.reading import readable

LONGEST_SHOWN = 60
"""Characters of what somebody wrote that a message repeats."""
T = TypeVar("T")


class Family(Protocol):
    """A form of words in which a spec asks about every item."""

    @property
    def name(self) -> str:
        """Letters, digits, "-" and "_": it may name a folder."""

    @property
    def words(self) -> tuple[str, str] | None:
        """Two answers for a verdict; None where a value is asked for."""


def shown(text: str) -> str:
    """What somebody wrote, in a message: short, and with nothing in it that acts on a terminal."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return plain if len(plain) <= LONGEST_SHOWN else f"{plain[: LONGEST_SHOWN - 1]}…"


def read_table(kind: type[T], record: Any, where: str, **given: Any) -> T:
    """A dataclass from a table; `given` are fields that the caller has read."""
    if not isinstance(record, dict):
        raise UsageError(f"{where} has something other than a table of keys; fix it")
    known = [key_of(one) for one in fields(kind)]  # type: ignore[arg-type]
    for key in record:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            advice = f'did you mean "{near[0]}"?' if near else f"known are {', '.join(known)}"
            raise UsageError(f'{where} sets "{shown(key)}", which means nothing; {advice}')
    try:
        return from_plain(kind, record, where=where, **given)
    except ValueError as e:
        raise UsageError(f"{e}; fix it") from e


def check_name(name: str, place: str) -> None:
    """Raise UsageError for a name that could not be that of a folder."""
    if not name or not all(c.isalnum() or c in "-_" for c in name) or len(name) > 60:
        raise UsageError(
            f'"name" in {place} must be letters, digits, "-" and "_", because it names a '
            f'folder; it is "{shown(name)}"'
        )


def read_families(kind: type[T], record: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The families of a spec, as the field that they are; none for what is no list."""
    if not isinstance(listed := record.get("families"), list):
        return {}
    names = [one.get("name", "?") if isinstance(one, dict) else "?" for one in listed]
    places = [f'the family "{shown(str(name))}" of {where}' for name in names]
    pairs = zip(listed, places, strict=True)
    return {"families": tuple(read_table(kind, one, place) for one, place in pairs)}


def check_families(families: Sequence[Family], where: str) -> None:
    """Raise UsageError for names that two have or that name no folder, and words that are one."""
    names = [family.name for family in families]
    if len(set(names)) < len(names):
        raise UsageError(f"two families of {where} have one name; give each its own")
    for family in families:
        check_name(family.name, f"a family of {where}")
        words = family.words or ("yes", "no")
        if words[0] == words[1] or not all(words):
            raise UsageError(
                f'"words" in the family "{family.name}" of {where} must be two words, as in '
                '["yes", "no"]'
            )


def check_slots(items: Iterable[Mapping[str, str]], needed: Iterable[str], where: str) -> None:
    """Raise UsageError for items that lack what families name."""
    wanted = {*needed}
    for number, slots in enumerate(items, start=1):
        for slot in sorted(wanted - {*slots}):
            raise UsageError(
                f'item {number} of {where} has no "{slot}", which a family names; add it'
            )


def fingerprint(spec: Any) -> str:
    """What tells one spec from another."""
    text = json.dumps(asdict(spec), sort_keys=True, default=dict)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def slots_of(template: str) -> tuple[str, ...]:
    """The slots of a template, in order. UsageError for one that cannot be filled in."""
    try:
        parsed = list(Formatter().parse(template))
    except ValueError as e:
        raise UsageError(
            f'the template "{template}" cannot be read ({reason(e)}); write slots as {{object}}'
        ) from e
    for _, name, form, conversion in parsed:
        if name is not None and (not name.isidentifier() or form or conversion):
            raise UsageError(
                f'the template "{template}" has a slot that is no plain name; write {{object}}'
            )
    return tuple(name for _, name, _, _ in parsed if name)


def item_slots(record: Any, place: str, *, apart: str = "") -> dict[str, str]:
    """What fills the templates of one item, all of it text; the key `apart` is left out."""
    if not isinstance(record, Mapping):
        raise UsageError(f"{place} is no table; write [[items]] and its slots")
    slots = {key: value for key, value in record.items() if key != apart}
    for key, value in slots.items():
        if not isinstance(value, str) or not value.strip():
            raise UsageError(
                f'"{shown(key)}" of {place} must be text and not empty; it is {shown(repr(value))}'
            )
    return slots


def read_rows(given: Any, what: str, path: Path) -> list[tuple[Any, str]]:
    """Tables of a spec, or a CSV file beside it: each with what a message calls its place."""
    if isinstance(given, str):
        return [(row, f"line {line} of {given}") for line, row in read_csv(path.parent / given)]
    if not isinstance(given, list):
        raise UsageError(f"{path.name} has no list of {what}s; name a CSV file or write tables")
    return [(one, f"{what} {i} of {path.name}") for i, one in enumerate(given, start=1)]


def read_csv(path: Path) -> list[tuple[int, dict[str, str]]]:
    """The rows of a CSV file in the spec's folder, each with its line, as its first line names
    the columns."""
    advice = "give a CSV file in the spec's folder"
    with (
        readable(path.name, UsageError, advice, also=(csv.Error,)),
        path.open(encoding="utf-8-sig", newline="") as stream,
    ):
        lines = csv.DictReader(stream)
        return [(lines.line_num, _csv_row(row, path.name, lines.line_num)) for row in lines]


def _csv_row(row: Mapping[str | None, Any], name: str, line: int) -> dict[str, str]:
    """A line with as many fields as the first one names."""
    if None in row or None in row.values():
        what = "more" if None in row else "fewer"
        raise UsageError(
            f"line {line} of {name} has {what} fields than its first line names; fix it"
        )
    return {str(key): value for key, value in row.items()}
