"""Settings that configs of all formats have in common: counts, numbers, names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from circuit_tracer.errors import DictionaryError
from circuit_tracer.transcoders.formats.files import GET_AGAIN, place_of


def is_count(value: Any) -> bool:
    """Whether this is a whole number above 0."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def count_of(settings: Mapping[str, Any], key: str, path: Path) -> int:
    """A whole number above 0 that has to be there."""
    if not is_count(settings.get(key)):
        raise DictionaryError(
            f'{place_of(path)} has "{key}": {str(settings.get(key))[:40]} where it needs a whole '
            f"number above 0; {GET_AGAIN}"
        )
    return int(settings[key])


def number_of(settings: Mapping[str, Any], key: str, path: Path) -> float:
    """A finite number that has to be there."""
    value = settings.get(key)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not abs(value) < 1e30:
        raise DictionaryError(
            f'{place_of(path)} has "{key}": {str(value)[:40]} where it needs a number; {GET_AGAIN}'
        )
    return float(value)


def text_of(settings: Mapping[str, Any], *keys: str) -> str | None:
    """The first of these settings that is a text."""
    return next((str(settings[k]) for k in keys if isinstance(settings.get(k), str)), None)


def plain_sae(what: str) -> DictionaryError:
    """The refusal of a sparse autoencoder, which replaces nothing."""
    return DictionaryError(
        f"{what} is a plain sparse autoencoder: it reconstructs what it reads and computes no MLP "
        "output, so no MLP can be replaced by it; give transcoders"
    )
