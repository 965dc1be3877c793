"""Keyword arguments that are the fields of a settings class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, TypeVar

import numpy as np

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.files.json_values import from_plain

S = TypeVar("S")


def made_from(kind: type[S], given: Mapping[str, Any]) -> S:
    """The settings of these fields, numpy's numbers as Python's.

    Raises UsageError for an unknown one, with those there are, and for a value of another type.
    """
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, 1)
            advice = f"did you mean `{near[0]}`?" if near else f"choose from {', '.join(known)}"
            raise UsageError(f"`{name}` is no parameter; {advice}")
    values = {
        name: one.item() if isinstance(one, np.generic) else one for name, one in given.items()
    }
    try:
        return from_plain(kind, values)
    except ValueError as error:
        name, _, wrong = str(error).partition(" ")
        raise UsageError(f"`{name}` {wrong}") from error
