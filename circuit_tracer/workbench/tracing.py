"""Trace a prompt into a folder: the graph, pruned, perhaps by head and tested, and its files."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from circuit_tracer import attribution
from circuit_tracer.attribution.directions import DirectionTarget
from circuit_tracer.attribution.head_loadings import head_loadings
from circuit_tracer.attribution.settings import TraceSettings
from circuit_tracer.attribution.totals_tracing import TracedTotals, trace_totals
from circuit_tracer.attribution.tracing import OnProgress, Progress, Trace
from circuit_tracer.errors import UsageError
from circuit_tracer.experiments.trust.results import Trust
from circuit_tracer.experiments.trust.spec import TrustSettings
from circuit_tracer.graphs import PrunedGraph, prune
from circuit_tracer.graphs.files.records import totals_table
from circuit_tracer.graphs.head_loadings import HeadLoadings
from circuit_tracer.graphs.pruning import check_thresholds
from circuit_tracer.processes import is_first, processes
from circuit_tracer.progress import OnStage, silent
from circuit_tracer.workbench.arguments import check_arguments
from circuit_tracer.workbench.folders import Extras, check_place, write_trace
from circuit_tracer.workbench.formats import FILE_NAMES, check_formats
from circuit_tracer.workbench.opening import Opened
from circuit_tracer.workbench.token_notes import given_tokens, note_forms
from circuit_tracer.workbench.trust_reports import measure, other_dictionary

logger = logging.getLogger(__name__)

TRACING = ("forward", "encode", "sweep", "prune", "heads")
"""Stages that are tracing; the others open, test and write."""
SMALL_GRAPH = 3000
"""Nodes up to which the graph of a bundled model is tested without being asked."""
LONG = 5.0
"""Seconds from which it is worth noting beforehand what a sweep or a test will take."""


@dataclass(frozen=True)
class TracedFolder:
    """A prompt's graph and the folder it was written to."""

    folder: Path
    trace: Trace
    pruned: PrunedGraph
    heads: HeadLoadings | None
    trust: Trust | None
    seconds: Mapping[str, float]
    """Wall time by stage: forward, encode, sweep, prune, heads, trust, write."""
    files: Mapping[str, str]
    """What was written where, by its form: "trace", "nodes", "svg", ..."""

    def record(self) -> dict[str, Any]:
        """The result as JSON: targets, scores, counts, seconds, settings, verdict and files."""
        pruned, info = self.pruned, self.pruned.graph.info
        return {
            "prompt": info.prompt,
            "tokens": list(info.tokens),
            "targets": [
                {
                    "token": target.token,
                    "position": target.position,
                    "probability": target.probability,
                    "logit": target.logit,
                }
                for target in info.targets
            ],
            "totals": totals_table(info),
            "scores": asdict(pruned.scores),
            "conservation": {
                "max_relative_residual": info.conservation_residual,
                "tolerance": info.conservation_tolerance,
            },
            "counts": {
                "active_features": self.trace.n_active,
                "expanded_features": self.trace.n_expanded,
                "nodes": len(pruned.graph.nodes),
                "edges": len(pruned.graph.edges),
                "kept_nodes": int(pruned.node_kept.sum()),
                "kept_edges": int(pruned.edge_kept.sum()),
            },
            "seconds": {stage: round(value, 4) for stage, value in self.seconds.items()},
            "settings": {
                **info.settings,
                "model": info.model.as_plain(),
                "dictionary": info.dictionary.as_plain(),
                "dtype": info.dtype,
                "node_threshold": pruned.node_threshold,
                "edge_threshold": pruned.edge_threshold,
                "versions": dict(info.versions),
            },
            "trust": None if self.trust is None else asdict(self.trust.verdict),
            "files": dict(self.files),
        }


@dataclass(frozen=True)
class FolderSettings:
    """What becomes of a traced graph: how it is pruned, tested and written."""

    node_threshold: float = 0.8
    edge_threshold: float = 0.98
    formats: Sequence[str] | None = None
    """Files to write besides the graph's own: "json", "svg", "html", ...; None: JSON, SVG and, of
    up to 100,000 kept edges, GraphML."""
    heads: bool = False
    """Whether to store through which attention heads every kept edge passes."""
    trust: bool | None = None
    """Whether to test the graph by intervening; None: briefly, if it is a small one of a bundled
    model."""
    max_nodes: int = 60
    """Most features and errors that a figure shows."""
    overwrite: bool = False

    def check(self, folder: Path, prompt: str, *, explains_logits: bool = True) -> None:
        """Refuse before minutes of work what would be refused after them.

        Raises OutputError for the folder, UsageError for the rest.
        """
        check_place(folder, self.overwrite, prompt)
        check_formats(self.formats or (), tuple(FILE_NAMES))
        check_thresholds(self.node_threshold, self.edge_threshold)
        if self.trust and not explains_logits:
            raise UsageError(
                "`trust` measures logits, and this graph explains a direction; leave it out, or "
                "trace a token"
            )
        for name, asked, later in (
            ("heads", self.heads, "heads GRAPH --save"),
            ("trust", self.trust, "trust GRAPH"),
        ):
            if asked and processes().count > 1:
                raise UsageError(
                    f"`{name}` does not work under torchrun; trace without it, then run "
                    f"circuit-tracer {later} in one process"
                )


def trace_into(
    folder: Path | str,
    opened: Opened,
    prompt: str,
    settings: TraceSettings | None = None,
    output: FolderSettings | None = None,
    *,
    direction: DirectionTarget | None = None,
    on_progress: OnStage | None = None,
) -> TracedFolder | None:
    """Trace a prompt and write its graph to a folder, whole or not at all.

    `direction` is explained in place of logits; such a graph is not tested by intervening.
    Under `torchrun` only the first process writes; the others get None. Raises OutputError for a
    folder that is taken, and whatever `attribution.trace` raises.
    """
    for what, kind, gives in (
        (opened, Opened, "`open_pair`"),
        (settings or TraceSettings(), TraceSettings, "TraceSettings(...)"),
        (output or FolderSettings(), FolderSettings, "FolderSettings(...)"),
    ):
        if not isinstance(what, kind):
            raise UsageError(
                f"a {type(what).__name__} is no {kind.__name__}; give what {gives} gives"
            )
    check_arguments(trace_into, {"folder": folder, "prompt": prompt})
    folder, output = Path(folder), output or FolderSettings()
    output.check(folder, prompt, explains_logits=direction is None)
    report = on_progress or silent
    asked = settings or TraceSettings()
    traced = traced_prompt(opened, prompt, asked, direction, telling(report))
    if not is_first():
        return None
    seconds = dict(traced.seconds)
    with _timed("prune", seconds, report, "pruning"):
        thresholds = output.node_threshold, output.edge_threshold
        pruned = prune(traced.graph, node_threshold=thresholds[0], edge_threshold=thresholds[1])
        pruned = opened.labelled(pruned)
    heads = trust = None
    if output.heads:
        with _timed("heads", seconds, report, "taking edges apart by head"):
            heads = head_loadings(opened.model, opened.dictionary, pruned)
    if output.trust or (output.trust is None and _is_quick_to_test(pruned)):
        with _timed("trust", seconds, report, "testing the graph"):
            other = other_dictionary(opened, pruned) if output.trust else None
            quick = TrustSettings(quick=not output.trust)
            noted = LONG if output.trust else None
            trust = measure(opened, pruned, quick, other, report, noted)
    with _timed("write", seconds, report, "writing"):
        extras = Extras(output.max_nodes, heads)
        files = write_trace(
            pruned, folder, output.formats, extras, trust=trust, overwrite=output.overwrite
        )
    return TracedFolder(folder, traced, pruned, heads, trust, seconds, files)


def traced_prompt(
    opened: Opened,
    prompt: str,
    settings: TraceSettings,
    direction: DirectionTarget | None = None,
    on_progress: OnProgress | None = None,
) -> Trace:
    """The graph itself, with notes on the tokens that the settings name."""
    note_forms(opened.model, given_tokens(settings))
    pair, labels = (opened.model, opened.dictionary), opened.labels
    return attribution.trace(
        *pair, prompt, settings, direction=direction, labels=labels, on_progress=on_progress
    )


def totals_only(
    opened: Opened,
    prompt: str,
    settings: TraceSettings,
    direction: DirectionTarget | None = None,
    on_progress: OnProgress | None = None,
) -> TracedTotals:
    """What the tokens do to the targets, without a graph; raises what `attribution.trace` does."""
    note_forms(opened.model, given_tokens(settings))
    pair = opened.model, opened.dictionary
    return trace_totals(*pair, prompt, settings, direction=direction, on_progress=on_progress)


def telling(report: OnStage) -> OnProgress:
    """Progress as a report; what a long sweep will take stays to be read."""

    def tell(now: Progress) -> None:
        if now.note and now.seconds > LONG:
            logger.info(now.note)  # also where there is no terminal
        report(now.stage, now.done, now.total)

    return tell


def _is_quick_to_test(pruned: PrunedGraph) -> bool:
    """Whether a brief report takes a second or so: a bundled model, a prompt of some words."""
    is_small = len(pruned.graph.nodes) <= SMALL_GRAPH
    is_bundled = pruned.graph.info.model.source == "bundled"
    explains_logits = pruned.graph.info.targets[0].direction is None
    return explains_logits and is_small and is_bundled and processes().count == 1


@contextmanager
def _timed(stage: str, seconds: dict[str, float], report: OnStage, words: str) -> Iterator[None]:
    """A stage of the work, reported as it begins and timed."""
    report(words, 0, 0)
    start = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - start
