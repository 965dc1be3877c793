"""The trust report that lies beside a graph: which graph it is of, and what it concludes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from circuit_tracer.graphs.pruning import PrunedGraph

TRUST_FILE = "trust.json"
TRUST_FIGURE = "trust.svg"


@dataclass(frozen=True)
class StoredVerdict:
    """What `circuit-tracer trust` concluded, in its words."""

    level: str
    """"sound", "care", "doubtful" or "broken"."""
    headline: str


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
        verdict = record["verdict"]
        level, headline = verdict["level"], verdict["headline"]
        if record["fingerprint"] != fingerprint(pruned):
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not isinstance(level, str) or not isinstance(headline, str):
        return None
    return StoredVerdict(level, headline)
