"""`compare` of reports that `dissociate` wrote: does the experiment tell the models apart?"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from circuit_tracer import graphs
from circuit_tracer.cli.output import print_json, print_rich
from circuit_tracer.errors import UsageError
from circuit_tracer.experiments.dissociation import results_file
from circuit_tracer.experiments.dissociation.report import compare, terminal
from circuit_tracer.workbench import drawing

if TYPE_CHECKING:
    from collections.abc import Sequence


def are_reports(paths: Sequence[Path]) -> bool:
    """Whether all of them are reports of `dissociate` (folders or their JSON files), none a graph.

    UsageError for a mixture.
    """
    found = [
        path.name == results_file.DISSOCIATION_FILE
        or (path / results_file.DISSOCIATION_FILE).is_file()
        for path in paths
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
    found = compare.compare_dissociations([results_file.read_report(path) for path in paths])
    if figure is not None and form is not None:
        _write(found.svg, figure, form, overwrite)
    if json:
        measures = [{**asdict(one), "apart": one.is_apart} for one in found.measures]
        print_json({"models": list(found.models), "measures": measures})
        return
    print_rich(terminal.comparison_page(found))
    if figure is not None:
        print(f"\n{figure}")


def _write(drawn: str, path: Path, form: str, overwrite: bool) -> None:
    with graphs.new_file(path, overwrite) as file:
        file.write_bytes(drawing.bytes_of(drawn, form))
