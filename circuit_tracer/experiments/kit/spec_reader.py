"""What somebody wrote in TOML as a dataclass, whose fields say which keys there are.

Every mistake is a UsageError of one sentence that says what is wrong, where, and what to do.
"""

from __future__ import annotations

from dataclasses import fields
from difflib import get_close_matches
from typing import Any, TypeVar

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
