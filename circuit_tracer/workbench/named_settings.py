"""Keyword arguments that are the fields of a settings class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, TypeVar

from circuit_tracer.errors import UsageError

S = TypeVar("S")


def made_from(kind: type[S], given: Mapping[str, Any]) -> S:
    """The settings of these fields; raises UsageError, with what there is, for an unknown one."""
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, 1)
            advice = f"did you mean `{near[0]}`?" if near else f"choose from {', '.join(known)}"
            raise UsageError(f"`{name}` is no parameter; {advice}")
    return kind(**given)
