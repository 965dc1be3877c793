"""The strip of a transcript as one self-contained HTML page: rest on a step to see where it came
from."""

from __future__ import annotations

from circuit_tracer.experiments.steps.report.terminal import MEANING, headline
from circuit_tracer.experiments.steps.results import StepsReport
from circuit_tracer.graphs.files.json_values import plain
from circuit_tracer.render.html import assembled, viewer_file
from circuit_tracer.render.markup import words


def steps_html(report: StepsReport) -> str:
    """The page of a report."""
    body = (
        f"<h1>{words(report.prompt)}</h1>\n<p>{words(headline(report))}</p>\n"
        f'<ol id="strip"></ol>\n<p>{words(MEANING)} The tick is the noise floor, and grey is '
        "what lies below it. Rest on a row, or tab to it, to see what it draws on.</p>"
    )
    return assembled(
        f"Steps: {report.prompt}",
        style=viewer_file("steps.css"),
        body=body,
        script=viewer_file("steps.js"),
        data=plain(report),
    )
