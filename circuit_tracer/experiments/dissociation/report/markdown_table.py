"""One table of the report, as plain text cells."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """One table of the report."""

    step: str
    """Heading it stands under; several tables may share one."""
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
