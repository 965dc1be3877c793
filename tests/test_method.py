"""docs/method.md is what the code cites: every cited section is there, each is numbered."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SECTION = re.compile(r"^## (\d+)\. ", re.MULTILINE)
CITED = re.compile(r"method\.md,?\s+(?:sections?\s+)?(\d+)(?:\s+and\s+(\d+))?")
MENTIONED = re.compile(r"method\.md")
LINKED = re.compile(r"\]\((?:(?:\.\./|docs/)*([\w-]+\.md))?#([\w-]+)\)")


def sections() -> list[int]:
    page = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    return [int(number) for number in SECTION.findall(page)]


def test_sections_are_numbered_in_order() -> None:
    assert sections() == list(range(1, len(sections()) + 1))


def test_every_citation_names_a_section_that_is_there() -> None:
    known, wrong, cited = set(sections()), [], 0
    for path in sorted((ROOT / "circuit_tracer").rglob("*.py")):
        text = re.sub(r"\s+", " ", path.read_text(encoding="utf-8"))
        found = [match.groups() for match in CITED.finditer(text)]
        cited += len(found)
        if len(found) != len(MENTIONED.findall(text)):
            wrong.append(f"{path.name}: a citation without a section")
        named = {int(number) for pair in found for number in pair if number}
        wrong += [f"{path.name}: section {number}" for number in named - known]
    assert not wrong
    assert cited > 30, "or the pattern no longer finds them"


def test_every_link_to_a_heading_names_one_that_is_there() -> None:
    pages = {path.name: path for path in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"))}
    links = [
        (path.name, page or path.name, heading)
        for path in pages.values()
        for page, heading in LINKED.findall(path.read_text(encoding="utf-8"))
    ]
    wrong = [link for link in links if link[2] not in headings(pages[link[1]])]
    assert wrong == []
    assert links, "or the pattern no longer finds them"


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    lines = page.read_text(encoding="utf-8").splitlines()
    titles = [line.lstrip("# ").lower() for line in lines if line.startswith("#")]
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in titles}
