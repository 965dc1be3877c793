"""What benchmarks write: tables in Markdown, and their places in the pages of the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table in Markdown, its cells as they are."""
    lines = ["".join(f"| {one} " if one else "| " for one in row) + "|" for row in (head, *rows)]
    return [lines[0], f"|{'---|' * len(head)}", *lines[1:]]


def put(page: str, by: str, lines: Iterable[str]) -> None:
    """Put lines where a page of docs/ has what a benchmark measured, between its two comments."""
    path, start = ROOT / "docs" / page, f"<!-- measured by benchmarks/{by}.py -->"
    before, rest = path.read_text(encoding="utf-8").split(start)
    _, end, after = rest.partition("<!-- until ")
    text = "\n".join([before + start, "", *lines, end + after])
    path.write_text(text, encoding="utf-8")
