"""Several graphs compared in pairs, between a ceiling and a floor that say what an overlap means.

The ceiling is the overlap of the first graph with those of paraphrases, the floor that of every
graph with those of unrelated prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from circuit_tracer.graphs.comparing.alignment import roles_of
from circuit_tracer.graphs.comparing.changes import Change, changes
from circuit_tracer.graphs.comparing.comparison import Pair, compare, two_models
from circuit_tracer.graphs.comparing.merging import merge
from circuit_tracer.graphs.comparing.overlap import SHUFFLES, Overlap, between, mean_overlap
from circuit_tracer.graphs.pruning import PrunedGraph


@dataclass(frozen=True)
class Comparison:
    """All that is compared."""

    graphs: tuple[PrunedGraph, ...]
    pairs: Mapping[tuple[int, int], Pair]
    """By the numbers of the two graphs."""
    ceiling: tuple[Pair, ...]
    """The first graph with each paraphrase."""
    floor: tuple[Pair, ...]
    """Every graph with each unrelated one."""

    def bound(self, name: str) -> tuple[Overlap | None, Overlap | None]:
        """The mean overlap of the "ceiling" or the "floor": of whole graphs, and after pruning."""
        pairs: tuple[Pair, ...] = getattr(self, name)
        return mean_overlap([one.whole for one in pairs]), mean_overlap([one.kept for one in pairs])

    def place(self, pair: Pair) -> Overlap | None:
        """Where a pair's overlap after pruning lies between floor (0) and ceiling (1)."""
        return between(pair.kept, self.bound("floor")[1], self.bound("ceiling")[1])

    def record(self, names: Sequence[str]) -> dict[str, Any]:
        """The comparison as JSON values; `names` say where the graphs were read."""
        return {
            "graphs": [
                {
                    "path": name,
                    "prompt": one.graph.info.prompt,
                    "model": one.graph.info.model.name,
                    "scores": one.scores,
                }
                for name, one in zip(names, self.graphs, strict=True)
            ],
            **self._changes,
            "pairs": [
                {
                    "first": first,
                    "second": second,
                    "columns": [column._asdict() for column in pair.columns],
                    "whole": {**vars(pair.whole), "p": pair.p_whole},
                    "kept": {**vars(pair.kept), "p": pair.p_kept},
                    "features": pair.counts,
                    "place": self.place(pair),
                }
                for (first, second), pair in self.pairs.items()
            ],
            **{
                name: dict(zip(("whole", "kept"), self.bound(name), strict=True))
                for name in ("ceiling", "floor")
            },
        }

    @property
    def of_two_models(self) -> bool:
        """Whether there are two graphs, of models with different weights."""
        graphs = [one.graph for one in self.graphs]
        return len(graphs) == 2 and two_models(*graphs)

    def changes(self) -> tuple[Change, ...]:
        """What appeared, vanished, flipped from the first graph to the second."""
        first, second = self.graphs[:2]
        return changes(merge(first, second, self.pairs[0, 1].columns), (first, second))

    @property
    def _changes(self) -> dict[str, Any]:
        if not self.of_two_models:
            return {}
        return {
            "changes": [
                {k: v for k, v in vars(one).items() if k != "rows"} for one in self.changes()
            ]
        }


def compare_all(
    graphs: Sequence[PrunedGraph],
    *,
    ceiling: Sequence[PrunedGraph] = (),
    floor: Sequence[PrunedGraph] = (),
    roles: Mapping[str, Mapping[str, str | int]] | None = None,
    shuffles: int = SHUFFLES,
    seed: int = 0,
) -> Comparison:
    """Compare every two graphs, the first with the ceiling's and each with the floor's.

    `roles` are those of positions by prompt, as `read_roles` gives them. Raises UsageError as
    `compare`.
    """

    def pair(first: PrunedGraph, second: PrunedGraph, shuffles: int = 0) -> Pair:
        at = roles_of(first.graph, roles or {}), roles_of(second.graph, roles or {})
        return compare(first, second, roles=at, shuffles=shuffles, seed=seed)

    return Comparison(
        graphs=tuple(graphs),
        pairs={
            (first, second): pair(graphs[first], graphs[second], shuffles)
            for first, second in combinations(range(len(graphs)), 2)
        },
        ceiling=tuple(pair(graphs[0], other) for other in ceiling),
        floor=tuple(pair(one, other) for other in floor for one in graphs),
    )
