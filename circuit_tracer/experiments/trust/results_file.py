"""The trust report that lies beside a graph: which graph it is of, and what it concludes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from circuit_tracer.graphs.files.json_values import from_plain
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.render.trust_panel import StoredVerdict

TRUST_FILE = "trust.json"
TRUST_FIGURE = "trust.svg"


def fingerprint(pruned: PrunedGraph) -> str:
    """What tells one graph from another: prompt, weights, targets and their values, size, and
    what was kept."""
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


def read_verdict(folder: Path, pruned: PrunedGraph) -> StoredVerdict | None:
    """The verdict in a traced folder; None where there is none, or only one of another graph."""
    try:
        record = json.loads((folder / TRUST_FILE).read_text(encoding="utf-8"))
        if record["fingerprint"] != fingerprint(pruned):
            return None
        return verdict_in(record)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def stored_report(folder: Path, pruned: PrunedGraph) -> Mapping[str, Any] | None:
    """The whole report in a traced folder; None where `read_verdict` says None."""
    if read_verdict(folder, pruned) is None:
        return None
    record: Mapping[str, Any] = json.loads((folder / TRUST_FILE).read_text(encoding="utf-8"))
    return record


def rests_on_more(stored: Mapping[str, Any], fresh: Mapping[str, Any]) -> bool:
    """Whether a stored report of the same graph has what a fresh one lacks: a part, or amounts."""
    before, now = stored["settings"], fresh["settings"]
    if before["quick"] != now["quick"]:
        return bool(now["quick"])
    if any(before.get(name, 0) > now[name] for name in ("features", "random_sets", "draws")):
        return True
    return bool(_measured(stored) - _measured(fresh))


def _measured(report: Mapping[str, Any]) -> set[str]:
    return {name for name, found in report.get("measured", {}).items() if found not in (None, [])}


def verdict_in(record: Mapping[str, Any]) -> StoredVerdict:
    """The verdict of a report as JSON. Raises KeyError, TypeError or ValueError for no such."""
    is_brief = bool(record["settings"]["quick"])
    return from_plain(StoredVerdict, {**record["verdict"], "is_brief": is_brief})
