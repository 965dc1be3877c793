"""The viewer: one or two graphs as one self-contained HTML page that opens from anywhere.

The page is put together from the files in viewer/ (plain JavaScript and CSS of our own, joined in
the order of `SCRIPTS`) and the graphs' record (html_data.py). Nothing is loaded from elsewhere, and
nothing could be: a strict Content-Security-Policy allows that one script and that one style sheet
by their hashes, and no request at all. Prompts, tokens and labels are inlined as JSON in which
`<`, `>` and `&` are escaped, so no text can end its element, and the scripts set text as text nodes
alone. Same graphs, same bytes.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any

from circuit_tracer.graphs.files.json_values import plain, to_json
from circuit_tracer.render.markup import words

SCRIPTS = (
    "numbers data layout pens theme dom labels draw lit plot pointer heads panel routes trust"
    " search groups names positions columns ends links diagram diagram_files exports state keys"
    " controls app"
).split()
"""The page's modules, in the order they are joined."""
GENERATOR = '<meta name="generator" content="circuit-tracer">'


def page(record: Mapping[str, Any]) -> str:
    """The HTML page of what `html_data.record` gives."""
    prompts = [str(graph["prompt"]) for graph in record["graphs"]]
    return assembled(
        " | ".join(prompts),
        style=viewer_file("page.css"),
        body=viewer_file("page.html"),
        script=joined(SCRIPTS),
        data=record,
    )


def is_ours(text: str) -> bool:
    """Whether the beginning of a file is that of a page made here."""
    return text.startswith("<!doctype html>") and GENERATOR in text[:400]


def error_page(message: str) -> str:
    """A page with one sentence, for a request that cannot be answered."""
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><p>{words(message)}</p></html>\n'
    )


def joined(names: Sequence[str]) -> str:
    """Modules of the viewer as one script with a scope of its own."""
    parts = [f"// {name}.js\n{viewer_file(f'{name}.js')}" for name in names]
    return '(() => {\n"use strict";\n' + "\n".join(parts) + "})();\n"


def viewer_file(name: str) -> str:
    """The text of one file of the viewer."""
    return files("circuit_tracer.render").joinpath("viewer", name).read_text(encoding="utf-8")


def assembled(
    name: str,
    *,
    style: str,
    body: str,
    script: str,
    data: Mapping[str, Any],
    pictures: bool = False,
) -> str:
    """A page of one style sheet, one script and one record, and a policy that allows these alone,
    and `pictures` that are in the page itself.

    `name` is anybody's text; `style`, `body` and `script` are ours. The scripts find the record in
    the element "data".
    """
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        f"{'img-src data:; ' if pictures else ''}"
        "base-uri 'none'; form-action 'none'"
    )
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            GENERATOR,
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="referrer" content="no-referrer">',
            f"<title>{words(name)}</title>",
            f"<style>{style}</style>",
            "</head>",
            "<body>",
            body.rstrip("\n"),
            f'<script id="data" type="application/json">{inline_json(data)}</script>',
            f"<script>{script}</script>",
            "</body>",
            "</html>",
            "",
        ]
    )


def with_texts(value: Any, change: Callable[[str], str]) -> Any:
    """A report or a record as JSON values, all texts in it changed."""

    def changed(one: Any) -> Any:
        if isinstance(one, dict):
            return {key: changed(part) for key, part in one.items()}
        if isinstance(one, list):
            return [changed(part) for part in one]
        return change(one) if isinstance(one, str) else one

    return changed(plain(value))


def inline_json(record: Mapping[str, Any]) -> str:
    """JSON that cannot end the element it stands in, nor a line of a script."""
    text = to_json(record)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _hash(content: str) -> str:
    """How the policy names an inline script or style sheet."""
    digest = hashlib.sha256(content.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
