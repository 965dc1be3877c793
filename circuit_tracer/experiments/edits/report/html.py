"""A report of edits as one self-contained HTML page: rest on a word to see what its edits did."""

from __future__ import annotations

from circuit_tracer.experiments.edits.report.terminal import MEANING, headline
from circuit_tracer.experiments.edits.results import EditsReport
from circuit_tracer.graphs.files.json_values import plain
from circuit_tracer.render.html import assembled, viewer_file
from circuit_tracer.render.markup import words


def edits_html(report: EditsReport) -> str:
    """The page of a report."""
    verdict = f"{report.verdict.kind}: {report.verdict.sentence}"
    body = (
        f'<h1 id="prompt"></h1>\n<p class="verdict">{words(verdict)}</p>\n'
        f"<p>{words(headline(report))}</p>\n"
        '<div id="edits"></div>\n<div id="routes"></div>\n'
        f"<p>{words(MEANING)} Rest on a word, or tab to it, to see its edits; underlined "
        "words flip the answer.</p>"
    )
    return assembled(
        f"Edits: {report.prompt}",
        style=viewer_file("edits.css"),
        body=body,
        script=viewer_file("edits.js"),
        data=plain(report),
    )
