"""Files from outside, opened and parsed; whatever is wrong with one becomes one sentence.

The caller gives the class of the error and the advice that ends the sentence.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from circuit_tracer.errors import CircuitTracerError, reason

UNREADABLE = (
    OSError,
    ValueError,  # no UTF-8, JSON or TOML, or a value that cannot be
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,  # nested too deep
)
"""What opening a file, parsing it and taking values from it raise where it is not what it should
be."""


@contextmanager
def readable(
    place: Path | str,
    error: type[CircuitTracerError],
    advice: str,
    *,
    problem: str = "cannot be read",
    also: tuple[type[Exception], ...] = (),
) -> Iterator[None]:
    """Raise `error` for what is wrong with a file: "PLACE cannot be read (...); ADVICE".

    `also` are errors of a library that are none of `UNREADABLE`.
    """
    try:
        yield
    except FileNotFoundError as e:
        raise error(f"{place} is missing; {advice}") from e
    except UnicodeDecodeError as e:
        raise error(f"{place} is no text in UTF-8; {advice}") from e
    except UNREADABLE + also as e:
        why = "it is nested too deep" if isinstance(e, RecursionError) else reason(e)
        raise error(f"{place} {problem} ({why}); {advice}") from e


def is_lfs_pointer(path: Path) -> bool:
    """Whether a file is what Git LFS leaves in the place of a large one until it is fetched."""
    with path.open("rb") as file:
        return file.read(64).startswith(b"version https://git-lfs.github.com/")


LFS_POINTER = "it is a pointer of Git LFS in the file's place, which git lfs pull fetches"


def read_bytes(
    path: Path, error: type[CircuitTracerError], advice: str, most: int | None = None
) -> bytes:
    """The content of a file, of so many bytes at most."""
    with readable(path, error, advice), path.open("rb") as file:
        content = file.read(-1 if most is None else most + 1)
    if most is not None and len(content) > most:
        raise error(f"{path} is too large ({most >> 20} MiB at most); {advice}")
    return content


def read_json(
    path: Path, error: type[CircuitTracerError], advice: str, most: int | None = None
) -> Any:
    """A JSON file in UTF-8, 16 or 32, with a byte order mark or without."""
    content = read_bytes(path, error, advice, most)
    with readable(path, error, advice, problem="cannot be read as JSON"):
        return json.loads(content)


def read_toml(
    path: Path, error: type[CircuitTracerError], advice: str, most: int | None = None
) -> dict[str, Any]:
    """A TOML file in UTF-8, with a byte order mark or without."""
    content = read_bytes(path, error, advice, most)
    with readable(path, error, advice, problem="cannot be read as TOML"):
        return tomllib.loads(content.decode("utf-8-sig"))
