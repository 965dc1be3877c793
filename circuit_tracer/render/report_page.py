"""An experiment's report.md as one self-contained HTML page, its figures in it.

Only what reports are written in is known: headings, paragraphs, tables, lists, figures, fenced
code; bold, code and escapes in a line. All else stays text. No script, and a policy that allows
pictures from the page itself alone: whatever a report quotes, nothing in it runs or loads.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from html import unescape

from circuit_tracer.render.html import assembled, viewer_file
from circuit_tracer.render.markup import element, words

_SPAN = re.compile(r"\\(?P<kept>.)|\*\*(?P<bold>.+?)\*\*|`(?P<code>[^`]+)`")
_FIGURE = re.compile(r"!\[(?P<name>.*)\]\((?P<file>[^()]+)\)")
_CELLS = re.compile(r"(?<!\\)\|")


def report_page(name: str, markdown: str, pictures: Mapping[str, str]) -> str:
    """The page of a report; `pictures` are SVG texts by the names that it has for them."""
    body = "\n".join(_block(block, pictures) for block in _blocks(markdown))
    style = viewer_file("report.css")
    return assembled(name, style=style, body=body, script="", data={}, pictures=True)


def _blocks(markdown: str) -> Iterator[str]:
    """What blank lines part, outside of fences."""
    fenced = re.split(r"^(```.*?^```)$", markdown, flags=re.DOTALL | re.MULTILINE)
    for i, part in enumerate(fenced):
        yield from [part] if i % 2 else filter(None, map(str.strip, part.split("\n\n")))


def _block(block: str, pictures: Mapping[str, str]) -> str:
    if block.startswith("```"):
        return element("pre", "\n".join(map(words, block.splitlines()[1:-1])))
    if (heading := re.match(r"(#{1,4}) ", block)) is not None:
        return element(f"h{len(heading[1])}", _line(block[heading.end() :]))
    if (figure := _FIGURE.fullmatch(block)) is not None:
        return _picture(figure["name"], pictures.get(figure["file"]))
    if block.startswith("|"):
        return _table(block.splitlines())
    if block.startswith("- "):
        lines = (line.removeprefix("- ") for line in block.splitlines())
        return element("ul", *(element("li", _line(line)) for line in lines))
    return element("p", _line(block))


def _picture(name: str, svg: str | None) -> str:
    if svg is None:
        return element("p", f"({_line(name)})")
    given = base64.b64encode(svg.encode()).decode()
    return element("img", alt=unescape(name), src=f"data:image/svg+xml;base64,{given}")


def _table(lines: list[str]) -> str:
    """Columns whose rule ends in a colon are numbers."""
    rows = [[one.strip() for one in _CELLS.split(line.strip())[1:-1]] for line in lines]
    sides = ["number" if one.endswith(":") else "text" for one in rows[1]]
    head = _row("th", rows[0], sides)
    return element("table", head, *(_row("td", one, sides) for one in rows[2:]))


def _row(tag: str, cells: list[str], sides: list[str]) -> str:
    pairs = zip(cells, sides, strict=True)
    return element("tr", *(element(tag, _line(one) or " ", class_=side) for one, side in pairs))


def _line(text: str) -> str:
    """A line as markup; entities are what the report wrote for what acts in HTML."""
    found, at = [], 0
    for span in _SPAN.finditer(text):
        found.append(words(unescape(text[at : span.start()])))
        at = span.end()
        if span["bold"] is not None:
            found.append(element("b", _line(span["bold"])))
        elif span["code"] is not None:
            found.append(element("code", words(unescape(span["code"]))))
        else:
            found.append(words(span["kept"]))
    return "".join([*found, words(unescape(text[at:]))])
