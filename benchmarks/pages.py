"""What benchmarks write: tables in Markdown, and their places in the pages of the documentation."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table in Markdown, its cells as they are."""
    lines = ["".join(f"| {one} " if one else "| " for one in row) + "|" for row in (head, *rows)]
    return [lines[0], f"|{'---|' * len(head)}", *lines[1:]]


def parser(text: str | None) -> argparse.ArgumentParser:
    """A benchmark's command line: the first line of its text, and whether it writes its page."""
    found = argparse.ArgumentParser(description=(text or "").partition("\n")[0])
    found.add_argument("--write", action="store_true", help="put the tables into their page")
    return found


def below_words(page: Path, text: str) -> None:
    """Put tables in place of a page's own, from the first on; the words above them stay."""
    words = page.read_text(encoding="utf-8").partition("\n|")[0].rstrip()
    page.write_text(f"{words}\n\n{text.rstrip()}\n", encoding="utf-8")


def with_sections(head: str, before: str, sections: Iterable[str], mark: str) -> str:
    """A page with these sections in place of those of the same name; the others stay. A name ends
    at a colon, or with its line."""
    known = {}
    for one in (*before.split(f"\n{mark} ")[1:], *sections):
        section = one.removeprefix(f"{mark} ").rstrip()
        known[section.splitlines()[0].partition(":")[0]] = f"\n{mark} {section}\n"
    return "".join([head.rstrip() + "\n", *known.values()])


def put(page: str, by: str, lines: Iterable[str]) -> None:
    """Put lines where a page of docs/ has what a benchmark measured, between its two comments."""
    before, _, after = _parts(page, by)
    text = "\n".join([before, "", *lines, after])
    (ROOT / "docs" / page).write_text(text, encoding="utf-8")


def there(page: str, by: str) -> str:
    """What a page of docs/ has of a benchmark."""
    return _parts(page, by)[1].strip()


def _parts(page: str, by: str) -> tuple[str, str, str]:
    """A page up to a benchmark's first comment, what it measured, and the rest from the second."""
    start = f"<!-- measured by benchmarks/{by}.py -->"
    before, rest = (ROOT / "docs" / page).read_text(encoding="utf-8").split(start)
    inner, end, after = rest.partition("<!-- until ")
    return before + start, inner, end + after
