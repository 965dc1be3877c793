"""What somebody wrote in TOML as a dataclass, whose fields say which keys there are.

Every mistake is a UsageError of one sentence that says what is wrong, where, and what to do.
"""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from difflib import get_close_matches
from typing import Any, TypeVar, get_type_hints

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.files.json_values import from_plain, key_of

LONGEST_SHOWN = 60
"""Characters of what somebody wrote that a message repeats."""
T = TypeVar("T")


def shown(text: str) -> str:
    """What somebody wrote, in a message: short, and with nothing in it that acts on a terminal."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return plain if len(plain) <= LONGEST_SHOWN else f"{plain[: LONGEST_SHOWN - 1]}…"


def read_table(kind: type[T], record: Any, where: str, **given: Any) -> T:
    """A dataclass from a table; `given` are fields that the caller has read."""
    if not isinstance(record, dict):
        raise UsageError(f"{where} has something other than a table of keys; fix it")
    known: dict[str, Field[Any]] = {key_of(one): one for one in fields(kind)}  # type: ignore[arg-type]
    for key in record:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            advice = f'did you mean "{near[0]}"?' if near else f"known are {', '.join(known)}"
            raise UsageError(f'{where} sets "{shown(key)}", which means nothing; {advice}')
    hints = get_type_hints(kind)
    for key, field in known.items():
        name = field.name
        has_default = field.default is not MISSING or field.default_factory is not MISSING
        if key in record and name not in given:
            try:
                given[name] = from_plain(hints[name], record[key], name=f'"{key}" in {where}')
            except ValueError as e:
                raise UsageError(f"{e}; fix it") from e
        elif name not in given and not has_default:
            raise UsageError(f'{where} has no "{key}"; add it')
    return kind(**given)
