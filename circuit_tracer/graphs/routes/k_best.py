"""The k best routes of a layered graph, one after the other (Jimenez and Marzal, 1999).

A route's strength is the product of its edges' signed shares. The next best route into a node is
the best of all its edges, each extending the best route into its source that it has not extended
yet. A source is asked for its next route only once the one before is used up, so nothing is looked
at that the k best do not need; where to begin is known from one walk up the nodes, which gives the
strength of the best route into each. This is exact. Edges between the same two nodes may be
several: the parts of one edge.

Routes of one sign are looked for over (node, sign) instead of nodes: a negative edge leads to the
other sign. That is a graph of twice the size and as exact.

Shapes: n nodes, m edges.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from heapq import heapify, heappop, heappush
from itertools import islice
from typing import Literal, NamedTuple, get_args

import numpy as np

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.graph import Bools, Edges, Floats, Ints

Sign = Literal["any", "+", "-"]
"""Which routes are asked for: all, those that push the target up, or those that push it down."""

MOST_ROUTES = 100_000
"""More are a mistake: nobody reads them, and they take minutes."""


@dataclass(frozen=True)
class Route:
    """One way through the edges."""

    rows: tuple[int, ...]
    """Nodes from the start to the end, both included."""
    edges: tuple[int, ...]
    """Indices of the edges between them."""
    strength: float
    """Signed product of their shares."""


def best_routes(
    steps: Edges,
    shares: Floats,
    is_start: Bools,
    ends: Ints,
    *,
    k: int,
    sign: Sign = "any",
    direct: bool = True,
) -> list[list[Route]]:
    """The k best routes into each end, strongest first; of equal ones, those of earlier edges.

    `steps` are sorted by target, their nodes in topological order; `shares` (m,) are their signed
    shares; `is_start` (n,). `direct=False` leaves out routes of a single edge. Raises UsageError
    for k below 1 or above `MOST_ROUTES`, or another sign.
    """
    check_count(k)
    if sign not in get_args(Sign):
        raise UsageError(f'The sign of paths is "{sign}": give one of {", ".join(get_args(Sign))}.')
    if sign == "any":
        ranked = _Ranked(steps, shares, is_start)
        return [list(islice(ranked.into(end, direct=direct), k)) for end in ends.tolist()]
    doubled, which = _by_sign(steps, shares)
    both = np.zeros(2 * len(is_start), dtype=np.bool_)
    both[::2] = is_start
    ranked = _Ranked(doubled, shares[which], both)
    return [
        [
            replace(
                route,
                rows=tuple(state // 2 for state in route.rows),
                edges=tuple(int(which[edge]) for edge in route.edges),
            )
            for route in islice(ranked.into(2 * end + (sign == "-"), direct=direct), k)
        ]
        for end in ends.tolist()
    ]


def check_count(k: int) -> None:
    """Raise UsageError for a number of routes that is none, below 1 or above `MOST_ROUTES`."""
    if not isinstance(k, int | np.integer):
        raise UsageError(f"The number of paths is {k}: ask for a whole number.")
    if k < 1:
        raise UsageError(f"The number of paths is {k}: ask for at least 1.")
    if k > MOST_ROUTES:
        raise UsageError(f"{k:,} paths are too many: ask for at most {MOST_ROUTES:,}.")


def _by_sign(steps: Edges, shares: Floats) -> tuple[Edges, Ints]:
    """The edges between (node, sign), numbered 2 node + (0 for up, 1 for down), and whose they are.

    A positive edge keeps the sign of what it extends, a negative one turns it. Sorted by target.
    """
    turns = shares < 0
    source = np.concatenate([2 * steps.source + turns, 2 * steps.source + ~turns])
    target = np.concatenate([2 * steps.target, 2 * steps.target + 1])
    order = np.argsort(target, kind="stable")  # within a target the sources stay sorted
    which = order % len(steps) if len(steps) else order
    return Edges(source[order], target[order], steps.weight[which]), which


class _Step(NamedTuple):
    """A route into a node, by its last edge."""

    size: float
    """Absolute strength of the whole route."""
    edge: int
    """-1 for the empty route at a start."""
    rank: int
    """Which of the routes into the edge's source it extends."""


@dataclass
class _Node:
    """The routes into one node."""

    open: list[tuple[float, int, int]]
    """A heap of (-size, edge, rank): what each edge can extend next."""
    routes: list[_Step] = field(default_factory=list)
    """Strongest first."""
    extended: int = 0
    """How many of `routes` have handed their edge on to its source's next route."""


class _Ranked:
    """All routes of a graph, as far as somebody asked for them."""

    def __init__(self, steps: Edges, shares: Floats, is_start: Bools) -> None:
        self.steps, self.shares, self.is_start = steps, shares, is_start
        self.sizes = np.abs(shares)
        self.best = self._strongest()
        self.nodes: dict[int, _Node] = {}

    def into(self, end: int, *, direct: bool) -> Iterator[Route]:
        """Routes into a node, strongest first, but for the empty one."""
        rank = 0
        while (step := self._step(end, rank)) is not None:
            rank += 1
            if step.edge < 0:
                continue
            route = self._traced(end, step)
            if direct or len(route.edges) > 1:
                yield route

    def _strongest(self) -> Floats:
        """(n,) size of the strongest route into each node; 0 where there is none."""
        best = self.is_start.astype(np.float64)
        targets, first = np.unique(self.steps.target, return_index=True)
        last = np.append(first, len(self.steps))[1:]
        source = self.steps.source
        for target, start, end in zip(targets.tolist(), first.tolist(), last.tolist(), strict=True):
            arriving = self.sizes[start:end] * best[source[start:end]]
            best[target] = max(best[target], float(arriving.max()))
        return best

    def _step(self, node: int, rank: int) -> _Step | None:
        """The route of a rank into a node; None if there are fewer."""
        here = self.nodes.get(node) or self._opened(node)
        while len(here.routes) <= rank:
            self._extend(here)
            if not here.open:
                return None
            size, edge, of_source = heappop(here.open)
            here.routes.append(_Step(-size, edge, of_source))
        return here.routes[rank]

    def _opened(self, node: int) -> _Node:
        into = self.steps.into(node, node + 1)
        sizes = self.sizes[into] * self.best[self.steps.source[into]]
        there = np.flatnonzero(sizes > 0)
        edges = (there + into.start).tolist()
        first = [(-size, edge, 0) for size, edge in zip(sizes[there].tolist(), edges, strict=True)]
        if self.is_start[node]:
            first.append((-1.0, -1, 0))
        heapify(first)
        self.nodes[node] = _Node(first)
        return self.nodes[node]

    def _extend(self, here: _Node) -> None:
        """Let the edge of the last route extend its source's next one."""
        for step in here.routes[here.extended :]:
            here.extended += 1
            if step.edge < 0:
                continue
            following = self._step(int(self.steps.source[step.edge]), step.rank + 1)
            if following is not None:
                size = float(self.sizes[step.edge]) * following.size
                heappush(here.open, (-size, step.edge, step.rank + 1))

    def _traced(self, end: int, step: _Step) -> Route:
        rows, edges, sign = [end], [], 1
        last: _Step | None = step
        while last is not None and last.edge >= 0:
            edges.append(last.edge)
            rows.append(int(self.steps.source[last.edge]))
            sign = -sign if self.shares[last.edge] < 0 else sign
            last = self._step(rows[-1], last.rank)
        return Route(tuple(reversed(rows)), tuple(reversed(edges)), sign * step.size)
