"""`compare` of reports that `dissociate` wrote: does the experiment tell the models apart?"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from circuit_tracer.cli.drawing import bytes_of
from circuit_tracer.cli.output import print_json, print_rich
from circuit_tracer.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence


def are_reports(paths: Sequence[Path]) -> bool:
    """Whether all of them are reports of `dissociate` (folders or their JSON files), none a graph.

    UsageError for a mixture.
    """
    from circuit_tracer.experiments.dissociation.results_file import DISSOCIATION_FILE

    found = [
        path.name == DISSOCIATION_FILE or (path / DISSOCIATION_FILE).is_file() for path in paths
    ]
    if any(found) and not all(found):
        graph = paths[found.index(False)]
        raise UsageError(
            f"{graph} is no report of dissociate, but others are; compare graphs with graphs and "
            "reports with reports"
        )
    return all(found)


def compare_reports(
    paths: Sequence[Path], figure: Path | None, form: str | None, *, overwrite: bool, json: bool
) -> None:
    """The figures of every model beside each other, and whether their intervals meet."""
    from circuit_tracer.experiments.dissociation.report.compare import compare_dissociations
    from circuit_tracer.experiments.dissociation.report.terminal import comparison_page
    from circuit_tracer.experiments.dissociation.results_file import read_report

    found = compare_dissociations([read_report(path) for path in paths])
    if figure is not None and form is not None:
        _write(found.svg, figure, form, overwrite)
    if json:
        measures = [{**asdict(one), "apart": one.is_apart} for one in found.measures]
        print_json({"models": list(found.models), "measures": measures})
        return
    print_rich(comparison_page(found))
    if figure is not None:
        print(f"\n{figure}")


def _write(drawn: str, path: Path, form: str, overwrite: bool) -> None:
    from circuit_tracer.graphs import new_file

    with new_file(path, overwrite) as file:
        file.write_bytes(bytes_of(drawn, form))
