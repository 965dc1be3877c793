"""Is what `edits` says what single runs say, and how long does it take?

    python -m benchmarks.edits [--every N] [--model MODEL] [--write]

On every shipped prompt: the most decisive word by deletion and by pull, against runs of the Hugging
Face model one text after the other, edited here by splitting at blanks; the routes' changes against
the difference of the two traced graphs as sets; CPU time on one thread. Then the three specs that
ship. `--write` puts the families into docs/edits.md and the rest into benchmarks/edits.md.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks import pages
from benchmarks.pages import ROOT
from benchmarks.prompts import prompts
from circuit_tracer.experiments.edits.report.families import family_blocks
from circuit_tracer.experiments.edits.results import EditsReport, FamiliesReport, Outcome, Word
from circuit_tracer.experiments.edits.run import ORIGINAL, EditSettings
from circuit_tracer.experiments.kit.tables import markdown_table
from circuit_tracer.graphs.comparing.alignment import align
from circuit_tracer.graphs.graph import NodeKind
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.target_effects import target_effects
from circuit_tracer.models import Model
from circuit_tracer.workbench.editing import Found, find, spec_of
from circuit_tracer.workbench.opening import Opened, open_pair

SPECS = ("edits-speaker", "edits-right", "edits-conflict")
Key = tuple[int, ...]


@dataclass(frozen=True)
class Row:
    """What one prompt showed."""

    by_deletion: bool
    """Whether the word whose deletion changes most is that of single runs."""
    by_pull: bool
    largest_error: float
    """Of any edit's contrast, in logits."""
    routes: bool
    """Whether the changes' counts are those of the graphs as sets."""
    verdict: str
    seconds: float


def alone(model: Model, text: str) -> torch.Tensor:
    """Logits at a text's end, by the Hugging Face model itself."""
    with torch.no_grad():
        ids = torch.tensor([model.tokenize(text)], device=model.device)
        logits: torch.Tensor = model.module(ids).logits[0, -1]
    return logits


def measured(opened: Opened, prompt: str) -> Row:
    """One prompt."""
    found = find(opened, prompt, None, EditSettings(graphs=2))
    report, model = found.report, opened.model
    assert isinstance(report, EditsReport)
    answer, against = (
        model.token_id(one, continues=True) for one in (report.answer, report.against)
    )

    def contrast(text: str) -> float:
        logits = alone(model, text)
        return float(logits[answer] - logits[against])

    own = contrast(prompt)
    single = {one.name: contrast(one.prompt) - own for one in report.edits}
    errors = [abs(single[one.name] - one.change) for one in report.edits]
    return Row(
        by_deletion=deleted_most(report.edits) == most_by_hand(prompt, contrast, own),
        by_pull=most(report.words, lambda word: word.pull)
        == most(report.words, lambda word: pull_of(report, word, single)),
        largest_error=max(errors, default=0.0),
        routes=all(same_counts(found, routes.edit) for routes in report.routes),
        verdict=report.verdict.kind,
        seconds=report.seconds,
    )


def deleted_most(edits: Sequence[Outcome]) -> int:
    """Number of the word whose deletion changes most; -1 for none."""
    changes = [abs(one.change) for one in edits if one.kind == "deleted"]
    return int(np.argmax(changes)) if changes else -1


def most_by_hand(prompt: str, contrast: Callable[[str], float], own: float) -> int:
    """The same from runs of the words joined again, one after the other; words stand between
    blanks in all prompts that ship."""
    words = prompt.split()
    texts = [" ".join(words[:at] + words[at + 1 :]) for at in range(len(words) - 1)]
    changes = [abs(contrast(text) - own) for text in texts]
    return int(np.argmax(changes)) if changes else -1


def most(words: Sequence[Word], pull: Callable[[Word], float]) -> int:
    """Number of the word that pulls most."""
    return int(np.argmax([abs(pull(one)) for one in words])) if words else -1


def pull_of(report: EditsReport, word: Word, changes: dict[str, float]) -> float:
    """A word's pull from single runs."""
    kinds = {one.name: one.kind for one in report.edits}
    some = [name for name in word.edits if kinds[name] == "replaced"] or list(word.edits)
    return -statistics.fmean(changes[name] for name in some)


def same_counts(found: Found, name: str) -> bool:
    """Whether what appeared, vanished and flipped is the difference of the two graphs."""
    assert isinstance(found.report, EditsReport)
    (routes,) = (one for one in found.report.routes if one.edit == name)
    before, after = found.graphs[ORIGINAL], found.graphs[routes.folder]
    columns = align(before.graph, after.graph)
    first = kept(before, {one.first: at for at, one in enumerate(columns)})
    second = kept(after, {one.second: at for at, one in enumerate(columns)})
    both = first.keys() & second.keys()
    counts = {
        "appeared": len(second.keys() - first.keys()),
        "vanished": len(first.keys() - second.keys()),
        "flipped": sum(first[one] * second[one] < 0 for one in both),
    }
    return counts == routes.counts


def kept(pruned: PrunedGraph, places: dict[int | None, int]) -> dict[tuple[Key, ...], float]:
    """Kept edges by what they join, kept features and errors, each with its sign: of the edge's
    weight, of the node's effect on the contrast."""
    graph, nodes = pruned.graph, pruned.graph.nodes

    def key(row: int) -> Key:
        is_feature = nodes.kind[row] == NodeKind.FEATURE
        feature = int(nodes.feature[row]) if is_feature else -1
        return (int(nodes.kind[row]), int(nodes.layer[row]), places[nodes.position[row]], feature)

    keys = {row: key(row) for row in pruned.kept_rows.tolist()}
    effect, edges = target_effects(graph).total[:, 0], graph.edges
    found: dict[tuple[Key, ...], float] = {
        (keys[int(edges.source[at])], keys[int(edges.target[at])]): float(np.sign(edges.weight[at]))
        for at in np.flatnonzero(pruned.edge_kept).tolist()
    }
    inner = (NodeKind.FEATURE, NodeKind.ERROR)
    return found | {
        (one,): float(np.sign(effect[row])) for row, one in keys.items() if nodes.kind[row] in inner
    }


def summary(rows: Sequence[Row], title: str) -> str:
    """The table of all prompts."""
    verdicts = Counter(row.verdict for row in rows)
    seconds = sorted(row.seconds for row in rows)

    def share(values: Iterable[bool]) -> str:
        return f"{sum(values)} of {len(rows)}"

    lines = [
        ("most decisive word by deletion is that of single runs",
         share(r.by_deletion for r in rows)),
        ("most decisive word by pull is that of single runs", share(r.by_pull for r in rows)),
        ("largest difference of any edit's contrast from its single run",
         f"{max(r.largest_error for r in rows):.1e} logits"),
        ("changes of the routes are the difference of the two graphs",
         share(r.routes for r in rows)),
        ("verdicts", ", ".join(f"{kind} {count}" for kind, count in verdicts.most_common())),
        ("CPU seconds a prompt, two edits traced: median, largest",
         f"{statistics.median(seconds):.2f}, {seconds[-1]:.2f}"),
    ]  # fmt: skip
    return f"{title}\n\n{markdown_table(('', ''), lines)}\n"


def families(opened: Opened, name: str) -> str:
    """The table of a spec."""
    report = find(opened, name, spec_of(name), EditSettings(graphs=0)).report
    assert isinstance(report, FamiliesReport)
    return "\n\n".join([f"**{report.name}**: {report.question}", *family_blocks(report)]) + "\n"


def main() -> None:
    """Parse the command line, measure, print."""
    parser = pages.parser(__doc__)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--model", default="sprout")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    opened = open_pair(arguments.model, device="cpu", threads=1)
    rows = [measured(opened, one["prompt"]) for _, one in prompts()[:: arguments.every]]
    table = summary(rows, f"{len(rows)} prompts, {arguments.model}")
    specs = [families(opened, name) for name in SPECS]
    print("\n".join([table, *specs]))
    if arguments.write:
        by = "Written by `python -m benchmarks.edits --write`."
        head = f"# Edits on every shipped prompt\n\n{by}\n\n"
        (ROOT / "benchmarks" / "edits.md").write_text(head + table, encoding="utf-8")
        pages.put("edits.md", "edits", specs)


if __name__ == "__main__":
    main()
