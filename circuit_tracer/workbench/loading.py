"""Graphs from where they lie: one opened, or several compared. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs import PrunedGraph, open_graph
from circuit_tracer.graphs.comparing.calibrated import Comparison, compare_all
from circuit_tracer.graphs.files.storage import TRACE_FILE, trace_folder
from circuit_tracer.render import comparing
from circuit_tracer.workbench.arguments import check_arguments
from circuit_tracer.workbench.results import Report
from circuit_tracer.workbench.traced_graph import TracedGraph
from circuit_tracer.workbench.viewing import check_graph

AnyGraph = TracedGraph | PrunedGraph | str | Path
"""A graph opened, or where it lies."""


def load(path: str | Path) -> TracedGraph:
    """Open a folder that `trace` or `save` wrote, or a graph JSON, ours or Neuronpedia's.

    Needs no torch. Raises GraphFileError for anything else.

    >>> import circuit_tracer as ct, tempfile
    >>> folder = ct.trace("a banana is").save(f"{tempfile.mkdtemp()}/banana")
    >>> ct.load(folder).prompt, ct.load(folder / "graph.json").prompt
    ('a banana is', 'a banana is')
    """
    check_arguments(load, locals())
    place = Path(path)
    check_graph(place)
    is_whole = place.is_dir() or place.name == TRACE_FILE
    folder = trace_folder(place) if is_whole else None
    return TracedGraph(open_graph(place), folder=folder, is_whole=is_whole)


def compare(
    *graphs: AnyGraph,
    ceiling: Sequence[AnyGraph] = (),
    floor: Sequence[AnyGraph] = (),
    roles: Mapping[str, Mapping[str, str | int]] | None = None,
    shuffles: int = 200,
    seed: int = 0,
    nodes: int = 8,
) -> Report[Comparison]:
    """What graphs share, two or more: traced, or where they lie.

    `.pairs[0, 1].kept` holds influence-weighted overlaps (0..1) of features, edges and paths,
    between those of paraphrases (`ceiling`) and of unrelated prompts (`floor`) where these are
    given; p rests on so many `shuffles`. `roles` name positions that belong together, by prompt.
    Raises UsageError for fewer than two graphs.

    >>> import circuit_tracer as ct
    >>> g, h = ct.trace("a banana is"), ct.trace("a lemon is")
    >>> 0 < ct.compare(g, h, shuffles=0).pairs[0, 1].kept.features < 1
    True
    """
    if len(graphs) < 2:
        raise UsageError("compare needs two graphs or more")
    check_arguments(compare, locals())
    for name, count in (("shuffles", shuffles), ("seed", seed), ("nodes", nodes)):
        if count < 0:
            raise UsageError(f"`{name}` {count} must be at least 0")
    opened = [pruned_of(one) for one in graphs]
    names = [
        str(one) if isinstance(one, str | Path) else pruned.graph.info.prompt
        for one, pruned in zip(graphs, opened, strict=True)
    ]
    compared = compare_all(
        opened,
        ceiling=[pruned_of(one) for one in ceiling],
        floor=[pruned_of(one) for one in floor],
        roles=roles,
        shuffles=shuffles,
        seed=seed,
    )
    return Report(compared, comparing.page(compared, nodes), lambda: compared.record(names))


def pruned_of(graph: AnyGraph) -> PrunedGraph:
    """The graph itself, of an opened one or of where it lies; raises UsageError for others."""
    if isinstance(graph, str | Path):
        check_graph(Path(graph))
        return open_graph(graph)
    if isinstance(graph, TracedGraph):
        return graph.pruned
    if isinstance(graph, PrunedGraph):
        return graph
    raise UsageError(
        f"a {type(graph).__name__} is no graph; give what `trace` or `load` gives, or a folder"
    )
