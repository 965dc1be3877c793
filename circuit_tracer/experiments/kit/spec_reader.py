"""What somebody wrote in TOML as a dataclass, whose fields say which keys there are.

Every mistake is a UsageError of one sentence that says what is wrong, where, and what to do.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from circuit_tracer.errors import UsageError

LONGEST_SHOWN = 60
"""Characters of what somebody wrote that a message repeats."""
T = TypeVar("T")
_KINDS: Mapping[Any, tuple[tuple[type, ...], str]] = {
    str: ((str,), "text"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    bool: ((bool,), "true or false"),
    tuple: ((list,), "a list"),
    Mapping: ((dict,), "a table"),
}
"""By the type of a field: what TOML has for it, and what a message calls it."""


def shown(text: str) -> str:
    """What somebody wrote, in a message: short, and with nothing in it that acts on a terminal."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return plain if len(plain) <= LONGEST_SHOWN else f"{plain[: LONGEST_SHOWN - 1]}…"


def read_table(kind: type[T], record: Any, where: str, **given: Any) -> T:
    """A dataclass from a table; `given` are fields that the caller has read."""
    if not isinstance(record, dict):
        raise UsageError(f"{where} has something other than a table of keys; fix it")
    known: dict[str, Any] = {one.name: one for one in fields(kind)}  # type: ignore[arg-type]
    for key in record:
        if key not in known:
            raise UsageError(
                f'{where} sets "{shown(key)}", which means nothing; use {", ".join(known)}'
            )
    hints = get_type_hints(kind)
    for name, one in known.items():
        has_default = one.default is not MISSING or one.default_factory is not MISSING
        if name in record and name not in given:
            given[name] = _value(hints[name], record[name], f'"{name}" in {where}')
        elif name not in given and not has_default:
            raise UsageError(f'{where} has no "{name}"; add it')
    return kind(**given)


def _value(hint: Any, value: Any, place: str) -> Any:
    if get_origin(hint) in (Union, types.UnionType):
        hint = get_args(hint)[0]  # TOML has no None: what is left out is not there
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        if value not in inner:
            raise UsageError(f'{place} must be {" or ".join(inner)}; it is "{shown(str(value))}"')
        return value
    allowed, name = _KINDS[origin or hint]
    fits = isinstance(value, allowed) and (bool in allowed or not isinstance(value, bool))
    if not fits:
        raise UsageError(f"{place} must be {name}; it is {shown(repr(value))}")
    if origin is not tuple:
        return value
    if inner[-1] is not Ellipsis:  # exact tokens, of which a blank is one
        if len(value) != len(inner) or not all(isinstance(one, str) and one for one in value):
            raise UsageError(f'{place} must be two words, as in ["yes", "no"]')
    elif not all(isinstance(one, str) and one.strip() for one in value):
        raise UsageError(f"{place} must be a list of texts; fix it")
    return tuple(value)
