"""The forms a graph is written in, and which of them a file's name asks for.

The ending of a name decides: `-o x.pdf` is a PDF. An option that says otherwise clashes with it,
and an ending that no form has is refused, so that no file is called what it is not.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from circuit_tracer.errors import OutputError, UsageError

FILE_NAMES = {
    "json": "graph.json",
    "svg": "graph.svg",
    "graphml": "graph.graphml",
    "gexf": "graph.gexf",
    "node-link": "node-link.json",
    "dot": "graph.dot",
    "pdf": "graph.pdf",
    "png": "graph.png",
    "html": "graph.html",
    "csv": "csv",
    "parquet": "parquet",
}
"""Format -> file (or folder) in a traced folder."""
DRAWN = ("svg", "dot", "pdf", "png", "html")
FIGURES = ("svg", "pdf", "png")
"""Forms that have a size and colours of their own."""
EXPORTED = ("json", "graphml", "gexf", "node-link", "csv", "parquet")
FOLDERS = ("csv", "parquet")
"""Forms of several tables: a folder, which may have any name."""
_ENDINGS = {
    **{f".{form}": form for form in FILE_NAMES if form != "node-link"},
    ".gv": "dot",
    ".htm": "html",
}


def check_formats(formats: Sequence[str], allowed: Sequence[str]) -> list[str]:
    """The formats asked for (also comma-separated), each once; raises UsageError."""
    formats = [formats] if isinstance(formats, str) else formats
    found = [form.strip() for entry in formats for form in entry.split(",") if form.strip()]
    for form in found:
        if form not in allowed:
            raise UsageError(f'unknown format "{form}"; choose from {", ".join(allowed)}')
    return list(dict.fromkeys(found))


def form_of(
    out: Path | None,
    given: str | None,
    allowed: Sequence[str],
    *,
    where: str = "`format`",
    default: str | None = None,
) -> str:
    """The one form asked for by `where` or by the name of the file, else the `default`.

    Raises UsageError where the two clash, for an ending that none of the `allowed` forms has, and
    for a name without an ending where there is no default.
    """
    wanted = None if given is None else _one(given, allowed)
    ending = "" if out is None else out.suffix.lower()
    if wanted is not None and wanted in FOLDERS and _ENDINGS.get(ending, wanted) == wanted:
        return wanted
    named = _ENDINGS.get(ending)
    if not ending and (wanted or default):
        return str(wanted or default)
    if named not in allowed:
        raise UsageError(f"{out} {_refused(ending, named)}; {_choice(allowed)}")
    if wanted not in (None, named, "node-link" if named == "json" else None):
        raise UsageError(
            f"{where} {wanted} and the name {out} exclude each other; leave out {where}, or give "
            f"the file the ending .{wanted}"
        )
    return str(wanted or named)


def check_drawing(formats: Sequence[str]) -> None:
    """Refuse PDF and PNG early where what draws them is missing; raises UsageError."""
    if {"pdf", "png"} & set(formats) and importlib.util.find_spec("typst") is None:
        raise UsageError(
            'PDF and PNG need the package typst: pip install "circuit-tracer-cli[figures]", '
            "or ask for svg"
        )


def draws_nodes(formats: Sequence[str]) -> bool:
    """Whether one of these forms shows a number of nodes that can be chosen."""
    return any(form in DRAWN and form != "html" for form in formats)


def check_figure(path: Path, *, overwrite: bool) -> None:
    """Refuse before any work the file of a figure that could not be drawn after it.

    Raises UsageError for a name of no figure, OutputError for one that is taken.
    """
    check_drawing([form_of(path, None, FIGURES)])
    if path.exists() and not overwrite:
        raise OutputError(f"{path} is there already; add `overwrite`, or choose another file")


def check_folder_name(path: Path | None, *, where: str = "`out`") -> None:
    """Refuse the name of a file where a folder is written; raises UsageError."""
    if path is not None and path.suffix.lower() in _ENDINGS and not path.is_dir():
        raise UsageError(
            f"{where} {path} is named like a file, and a folder is written; give it a name without "
            f"{path.suffix}"
        )


def _one(form: str, allowed: Sequence[str]) -> str:
    forms = check_formats([form], allowed)
    if len(forms) != 1:
        raise UsageError(f'"{form}" is not one format; choose one of {", ".join(allowed)}')
    return forms[0]


def _refused(ending: str, named: str | None) -> str:
    if not ending:
        return "has no ending that says what to draw"
    if named in EXPORTED:
        return f"ends in {ending}, which circuit-tracer export writes"
    if named in DRAWN:
        return f"ends in {ending}, which circuit-tracer render draws"
    return f"ends in {ending}, which is no known form"


def _choice(allowed: Sequence[str]) -> str:
    endings = [f".{form}" for form in allowed if form != "node-link"]
    if len(endings) == 1:
        return f"let it end in {endings[0]}"
    return f"let it end in {', '.join(endings[:-1])} or {endings[-1]}"
