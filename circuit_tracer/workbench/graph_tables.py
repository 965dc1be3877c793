"""What a graph says without a model: targets, scores, tables, a matrix, a network, routes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from rich.text import Text

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs import NodeKind, PrunedGraph, Target, best_paths, to_networkx
from circuit_tracer.graphs.adjacency import Adjacency, adjacency
from circuit_tracer.graphs.files.records import edge_table, node_table, route_table
from circuit_tracer.graphs.routes.k_best import Sign
from circuit_tracer.graphs.routes.paths import Path as Route
from circuit_tracer.graphs.scores import Scores
from circuit_tracer.graphs.token_text import target_texts
from circuit_tracer.graphs.token_totals import TokenTotals
from circuit_tracer.render.describe import value_text
from circuit_tracer.render.numbers import percent
from circuit_tracer.render.route_lines import leading_routes, one_line
from circuit_tracer.render.summary import summary
from circuit_tracer.render.terminal import as_text
from circuit_tracer.render.text import printable
from circuit_tracer.workbench.arguments import check_arguments
from circuit_tracer.workbench.listings import totals_listed
from circuit_tracer.workbench.named_nodes import source_rows, target_rows
from circuit_tracer.workbench.results import WIDTH, Listing
from circuit_tracer.workbench.tables import Table

if TYPE_CHECKING:
    import networkx as nx


class GraphTables:
    """A graph as values; `TracedGraph` draws, keeps and tests it as well."""

    def __init__(self, pruned: PrunedGraph) -> None:
        self.pruned = pruned

    @property
    def prompt(self) -> str:
        """The prompt."""
        return self.pruned.graph.info.prompt

    @property
    def tokens(self) -> tuple[str, ...]:
        """Its tokens as text, BOS included."""
        return self.pruned.graph.info.tokens

    @property
    def targets(self) -> tuple[Target, ...]:
        """What the graph explains: tokens with probability (0..1), logit and rank (0 is first)."""
        return self.pruned.graph.info.targets

    @property
    def scores(self) -> Scores:
        """Replacement, completeness and where influence ends, all in 0..1, of the whole graph.

        >>> import circuit_tracer as ct
        >>> g = ct.trace("a banana is", targets=["yellow"])
        >>> 0 < g.scores.replacement < 1
        True
        """
        return self.pruned.scores

    def features(self, *, whole: bool = False) -> Table:
        """The features, those of most influence first.

        Columns: row (of the node table), name, layer, position, token, feature, activation,
        influence (0..1, plain and not cumulative), direct_effect and total_effect (signed logits,
        on the first target: along its edge, along all routes), label.

        >>> import circuit_tracer as ct
        >>> first = ct.trace("a banana is", targets=["yellow"]).features()[0]
        >>> first["name"] == f"L{first['layer']}/{first['feature']}@{first['position']}"
        True
        """
        rows = node_table(self._part(whole), None, kinds=[NodeKind.FEATURE])
        columns = rows[0] if rows else node_table(self.pruned, 1)[0]  # there is always a target
        names = [name for name in columns if name != "kind"]
        return Table([{name: row[name] for name in names} for row in rows], names)

    def nodes(self, *, whole: bool = False) -> Table:
        """All nodes, targets first, then those of most influence; columns as in `features`.

        >>> import circuit_tracer as ct
        >>> ct.trace("a banana is", targets=["yellow"]).nodes()[0]["name"]
        'logit:yellow@3'
        """
        return Table(node_table(self._part(whole), None))

    def edges(self, *, whole: bool = False) -> Table:
        """The edges, those of most influence first.

        Columns: source and target (names), weight (signed, in logits or activations), sign,
        share (of the target's whole absolute input, 0..1), influence (0..1).

        >>> import circuit_tracer as ct
        >>> ct.trace("a banana is", targets=["yellow"]).edges().columns
        ('source', 'target', 'weight', 'sign', 'share', 'influence')
        """
        names = ("source", "target", "weight", "sign", "share", "influence")
        return Table(edge_table(self._part(whole), None), names)

    def adjacency(self, *, whole: bool = False) -> tuple[Adjacency, Table]:
        """The (n, n) matrix in upstream's order, and the table of the nodes in that order.

        Features, errors, tokens, targets; `matrix[target, source]`, as `Graph.adjacency_matrix`
        there. `.dense()` is a numpy array, `.sparse()` a torch COO tensor. `whole=True` is
        upstream's matrix to the letter: not pruned, with a place for every error (an empty name
        and no row where there is none, as at BOS).

        >>> import circuit_tracer as ct
        >>> matrix, nodes = ct.trace("a banana is", targets=["yellow"]).adjacency()
        >>> matrix.dense().shape == (len(nodes), len(nodes)), nodes[-1]["name"]
        (True, 'logit:yellow@3')
        """
        part = self._part(whole)
        matrix = adjacency(part.graph if whole else part.kept_graph(), every_place=whole)
        rows = {row["row"]: row for row in node_table(part, None)}
        own = np.arange(len(part.node_kept)) if whole else part.kept_rows
        nowhere = dict.fromkeys(next(iter(rows.values()))) | {"name": "", "label": ""}
        return matrix, Table([rows[own[row]] if row >= 0 else nowhere for row in matrix.rows])

    def to_networkx(self) -> nx.DiGraph[str]:
        """The kept graph, edges pointing from tokens to targets, with the tables' columns.

        >>> import circuit_tracer as ct
        >>> network = ct.trace("a banana is", targets=["yellow"]).to_networkx()
        >>> network.nodes["logit:yellow@3"]["kind"]
        'logit'
        """
        return to_networkx(self.pruned)

    def paths(
        self,
        to: str | None = None,
        k: int = 10,
        *,
        source: str | None = None,
        sign: Sign = "any",
        direct: bool = True,
    ) -> Listing[Route]:
        """The k strongest routes from the tokens (or a `source`) to each target (or `to`).

        Of each: `rows`, signed `strength` (-1..1), `share` of all routes (0..1). `sign` "+" or "-"
        takes those that push the target up, or down; `direct=False` leaves out routes that pass
        through no feature. Raises UsageError for names that are not in the graph.

        >>> import circuit_tracer as ct
        >>> routes = ct.trace("a banana is", targets=["yellow"]).paths(to="yellow", k=3)
        >>> len(routes), routes[0].sign
        (3, 1)
        """
        check_arguments(GraphTables.paths, {"to": to, "source": source, "direct": direct})
        pruned = self.pruned
        routes = best_paths(
            pruned,
            k=k,
            sources=None if source is None else source_rows(pruned.graph, source, "`source`"),
            targets=None if to is None else target_rows(pruned.graph, to, "`to`"),
            sign=sign,
            direct=direct,
        )
        lines = "\n".join(one_line(pruned.graph, route) for route in routes)
        return Listing(
            routes,
            [Text(lines, no_wrap=True, overflow="ignore")],
            lambda: route_table(pruned, routes),
        )

    def totals(self) -> Listing[TokenTotals]:
        """What every token does to each target: `total` along all paths at once, `direct` alone.

        Signed, by position, in units of the target's value: tokens, `error` and `constant` sum to
        it. `shares` are of all tokens' |total| (0..1). Raises UsageError for a graph that was not
        traced here.

        >>> import circuit_tracer as ct
        >>> g = ct.trace("a banana is", targets=["yellow"])
        >>> effects = g.totals()[0]
        >>> g.tokens[max(range(4), key=lambda i: effects.total[i])]
        'banana'
        """
        info = self.pruned.graph.info
        if not info.totals:
            raise UsageError(
                "this graph does not have the tokens' total effects; trace the prompt again"
            )
        return totals_listed(info)

    def show(self) -> None:
        """Print tokens, targets, scores and the strongest routes, as `circuit-tracer show` does.

        >>> import circuit_tracer as ct
        >>> ct.trace("a banana is", targets=["yellow"]).show()  # doctest: +ELLIPSIS
        Tokens
        ...
        """
        routes = leading_routes(self.pruned, 5)
        print(as_text(summary(self.pruned, routes, width=WIDTH), width=WIDTH), end="")

    def __repr__(self) -> str:
        info, kept = self.pruned.graph.info, self.pruned.node_kept
        targets = ", ".join(
            f"{text} {value_text(target)}"
            for text, target in zip(target_texts(info.targets)[:3], info.targets, strict=False)
        )
        more = ", ..." if len(info.targets) > 3 else ""
        return (
            f'{type(self).__name__}("{printable(info.prompt)}" -> {targets}{more}; '
            f"{info.model.name}, {info.dictionary.name}; {kept.sum():,} of {len(kept):,} nodes; "
            f"replacement {percent(self.scores.replacement)})"
        )

    def _part(self, whole: bool) -> PrunedGraph:
        if not whole:
            return self.pruned
        every = np.ones(len(self.pruned.node_kept), bool), np.ones(len(self.pruned.edge_kept), bool)
        return replace(self.pruned, node_kept=every[0], edge_kept=every[1])
