"""`trust.json` beside a graph: which graph it is of, what it concludes, and its spelling."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from circuit_tracer.errors import reason
from circuit_tracer.experiments.trust.results import Trust
from circuit_tracer.graphs.files.json_values import from_plain, plain
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.reading import UNREADABLE
from circuit_tracer.render.trust_panel import StoredVerdict

logger = logging.getLogger(__name__)

TRUST_FILE = "trust.json"
TRUST_FIGURE = "trust.svg"

# The stored name of a stage keeps its first spelling.
_STORED_STAGES = {"indirect effects": "knock-on effects"}


def as_stored(report: Trust) -> dict[str, Any]:
    """A report in JSON's own types, as it is stored; NaN becomes null."""
    seconds = {_STORED_STAGES.get(name, name): time for name, time in report.seconds.items()}
    record: dict[str, Any] = plain(replace(report, seconds=seconds))
    return record


def fingerprint(pruned: PrunedGraph) -> str:
    """A hash of what distinguishes a graph: prompt, weights, targets, size, what was kept."""
    graph = pruned.graph
    info, nodes = graph.info, graph.nodes
    values = np.nan_to_num(nodes.value[graph.target_rows])
    facts = (
        info.prompt,
        info.token_ids,
        info.model.sha256,
        info.dictionary.sha256,
        [target.vocabulary_ids for target in info.targets],
        len(nodes),
        len(graph.edges),
        int(pruned.node_kept.sum()),
        int(pruned.edge_kept.sum()),
        [f"{value:.6g}" for value in values.tolist()],
    )
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def stored_report(folder: Path, pruned: PrunedGraph) -> Mapping[str, Any] | None:
    """The report in a traced folder; None where there is none, or only one of another graph.

    One that cannot be read is left out with a note.
    """
    try:
        record: Mapping[str, Any] = json.loads((folder / TRUST_FILE).read_text(encoding="utf-8"))
        verdict_in(record)
        return record if record["fingerprint"] == fingerprint(pruned) else None
    except FileNotFoundError:
        return None
    except UNREADABLE as error:
        logger.info(
            f"{folder / TRUST_FILE} cannot be read ({reason(error)}) and is left out; run "
            "circuit-tracer trust again"
        )
        return None


def read_verdict(folder: Path, pruned: PrunedGraph) -> StoredVerdict | None:
    """The verdict of `stored_report`."""
    report = stored_report(folder, pruned)
    return None if report is None else verdict_in(report)


def rests_on_more(stored: Mapping[str, Any], fresh: Mapping[str, Any]) -> bool:
    """Whether a stored report of the same graph has what a fresh one lacks: a part, or amounts."""
    before, now = stored["settings"], fresh["settings"]
    if before["quick"] != now["quick"]:
        return bool(now["quick"])
    if any(before.get(name, 0) > now[name] for name in ("features", "random_sets", "draws")):
        return True
    old, new = (
        {name for name, part in report.get("measured", {}).items() if part not in (None, [])}
        for report in (stored, fresh)
    )
    return bool(old - new)


def verdict_in(record: Mapping[str, Any]) -> StoredVerdict:
    """The verdict of a report as JSON. Raises KeyError, TypeError or ValueError for no such."""
    is_brief = bool(record["settings"]["quick"])
    return from_plain(StoredVerdict, {**record["verdict"], "is_brief": is_brief})
