"""A traced prompt as Python users hold it: the pruned graph and what is known beside it.

`circuit_tracer.trace` makes one, `circuit_tracer.load` opens one. What needs the model opens it
when it is first asked for, as the graph was traced; everything else needs no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from circuit_tracer.errors import UsageError, one_of
from circuit_tracer.experiments.trust.results_file import as_stored, read_verdict, verdict_in
from circuit_tracer.graphs import Edges, PrunedGraph, prune
from circuit_tracer.graphs.head_loadings import HeadLoadings, are_strongest
from circuit_tracer.render.describe import score_lines
from circuit_tracer.render.legend import LegendKind
from circuit_tracer.render.page_size import THEMES, Theme, finished
from circuit_tracer.render.trust_panel import StoredVerdict
from circuit_tracer.workbench.arguments import check_arguments
from circuit_tracer.workbench.drawing import Level, View, pruned_drawing
from circuit_tracer.workbench.folder_contents import stored_heads
from circuit_tracer.workbench.folders import Extras, check_place, write_trace
from circuit_tracer.workbench.formats import form_of
from circuit_tracer.workbench.graph_tables import GraphTables
from circuit_tracer.workbench.listings import heads_listed
from circuit_tracer.workbench.named_nodes import edges_asked
from circuit_tracer.workbench.results import Figure, Listing, Report
from circuit_tracer.workbench.slugs import slug_of
from circuit_tracer.workbench.viewing import graph_page, is_page, shown, write_text_page

if TYPE_CHECKING:
    from circuit_tracer.experiments.trust.results import Trust
    from circuit_tracer.graphs.qk_terms import QkAttribution
    from circuit_tracer.interventions.ablation import Ablation
    from circuit_tracer.interventions.spec import Mode
    from circuit_tracer.models.model import Model
    from circuit_tracer.transcoders.dictionary import Dictionary
    from circuit_tracer.transcoders.neurons import Neurons
    from circuit_tracer.workbench.opening import Opened


class TracedGraph(GraphTables):
    """An attribution graph with its scores, tables, routes, figures and experiments.

    Tables, routes and figures are of the kept nodes and edges; `whole=True`, where there is one,
    of all. `pruned` is the graph underneath (`pruned.graph.nodes`, `pruned.graph.edges`: numpy
    columns), `folder` where it lies, if anywhere.

    >>> import circuit_tracer as ct
    >>> g = ct.trace("a banana is", model="sprout", transcoders="plt", targets=["yellow"])
    >>> g.tokens, [target.token for target in g.targets]
    (('[BOS]', 'a', 'banana', 'is'), ['yellow'])
    """

    def __init__(
        self,
        pruned: PrunedGraph,
        *,
        folder: Path | None = None,
        opened: Opened | None = None,
        is_whole: bool = True,
    ) -> None:
        super().__init__(pruned)
        self.folder = folder
        self._opened, self._is_whole = opened, is_whole
        self._trust: Trust | None = None
        self._heads: HeadLoadings | None = None
        if folder is not None:
            self._heads = stored_heads(pruned, folder)

    def prune(self, *, node_threshold: float = 0.8, edge_threshold: float = 0.98) -> TracedGraph:
        """The same graph with other shares of influence kept, both above 0 and at most 1.

        >>> import circuit_tracer as ct
        >>> g = ct.trace("a banana is", targets=["yellow"])
        >>> len(g.prune(node_threshold=0.6).features()) < len(g.features())
        True
        """
        check_arguments(TracedGraph.prune, locals())
        pruned = prune(
            self.pruned.graph, node_threshold=node_threshold, edge_threshold=edge_threshold
        )
        if self._opened is not None:
            pruned = self._opened.labelled(pruned)
        return TracedGraph(pruned, opened=self._opened, is_whole=self._is_whole)

    def svg(
        self,
        *,
        width_mm: float | None = None,
        routes: int | None = None,
        max_nodes: int = 60,
        level: Level = "nodes",
        theme: Theme = "print",
        legend: LegendKind | None = None,
        trust: bool | None = None,
    ) -> Figure:
        """The figure, as text that a notebook draws and `.save("graph.pdf")` writes.

        It is laid out for `width_mm` on paper, with letters of 6 points and more and as many nodes
        as then fit; `routes` draws so many strongest routes alone. `legend` is "none", "short" or
        "full", `trust` whether the report's panel is below: by default both, and neither where a
        width is given. `.caption` says in words what is drawn. Raises UsageError for a width that
        no page has, and for `trust=True` without a report.

        >>> import circuit_tracer as ct
        >>> g = ct.trace("a banana is", targets=["yellow"])
        >>> figure = g.svg(width_mm=85, routes=3)
        >>> 'width="85mm"' in figure, figure.caption.startswith("Attribution graph of sprout")
        (True, True)
        """
        view = View(max_nodes, routes, level, width_mm, legend, trust)
        drawing = pruned_drawing(
            self.pruned, view, folder=self.folder, trust=self._verdict(), heads=self._heads
        )
        colors = one_of("`theme`", theme, THEMES)
        return Figure(finished(drawing.svg, width_mm=width_mm, theme=colors), drawing.caption)

    def html(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the interactive page, one file without outside addresses; an earlier page goes.

        Raises OutputError for a file that is something else, unless `overwrite`.

        >>> import circuit_tracer as ct, tempfile
        >>> g = ct.trace("a banana is", targets=["yellow"])
        >>> g.html(f"{tempfile.mkdtemp()}/page.html").name
        'page.html'
        """
        check_arguments(TracedGraph.html, locals())
        final = Path(path)
        form_of(final, None, ("html",), default="html")
        report = None if self._trust is None else as_stored(self._trust)
        page = shown(
            self.pruned, slug_of(self.prompt), beside=self.folder, heads=self._heads, report=report
        )
        return write_text_page(graph_page(page), final, overwrite=overwrite or is_page(final))

    def save(
        self,
        folder: str | Path,
        *,
        formats: str | Sequence[str] | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Write the folder that `circuit-tracer trace` writes; every command reads it.

        `formats` are files besides the graph's own ("json", "svg", "html", ...); None: JSON, SVG
        and, of up to 100,000 kept edges, GraphML. Head loadings and a trust report come along, if
        they were asked for or loaded. Raises OutputError for a folder that is taken: by this
        prompt's graph, which `overwrite` replaces, or by another.

        >>> import circuit_tracer as ct, tempfile
        >>> g = ct.trace("a banana is", targets=["yellow"])
        >>> ct.load(g.save(f"{tempfile.mkdtemp()}/banana")).scores == g.scores
        True
        """
        check_arguments(TracedGraph.save, locals())
        final = Path(folder)
        check_place(final, overwrite, self.prompt)
        extras = Extras(heads=self._heads, beside=self.folder)
        write_trace(self.pruned, final, formats, extras, trust=self._trust, overwrite=overwrite)
        self.folder = final
        return final

    @property
    def opened(self) -> Opened:
        """The model and the dictionary; of a loaded graph those it was traced with, opened now.

        Raises UsageError where they are not the same weights, or no longer there: see `reopen`.
        """
        return self._opened or self.reopen().opened

    def reopen(
        self,
        model: str | Path | Model | Opened | None = None,
        transcoders: str | Path | Dictionary | Neurons | None = None,
        *,
        device: str = "auto",
    ) -> TracedGraph:
        """Open the model and dictionary that the graph was traced with, wherever they are now.

        By name, by path or opened. Raises UsageError where they are not the very same weights.

        >>> import circuit_tracer as ct, tempfile
        >>> folder = ct.trace("a banana is").save(f"{tempfile.mkdtemp()}/banana")
        >>> ct.load(folder).reopen("sprout", "plt").opened.model.n_layers
        6
        """
        from circuit_tracer.workbench.opening import reopen

        self._opened, _ = reopen(self.pruned, model, transcoders, device=device)
        return self

    def ablate(
        self,
        features: Sequence[str] | str = (),
        *,
        mode: Mode | Sequence[Mode] | None = None,
        times: float | None = None,
        value: float | None = None,
        of_max: float | None = None,
        find: str | None = None,
        route: int | None = None,
        top: int | None = None,
        together: bool = False,
        target: str | None = None,
    ) -> Report[Ablation]:
        """Change nodes and measure the targets' logits beside what the graph predicts.

        Nodes by name ("L5/717" wherever it fires, "L5/717@3"), by a word of their labels (`find`),
        of the n-th best `route`, or the `top` most influential. Each is set to 0 `times` its
        activation unless another multiple, an activation (`value`) or a multiple of its maximum
        (`of_max`) is given. `mode` is "direct", "constrained", "free" or several; all by default.
        Raises UsageError for a node that does not fire.

        >>> import circuit_tracer as ct
        >>> g = ct.trace("a banana is", targets=["yellow"])
        >>> name = g.features()[0]["name"]
        >>> [row.name for row in g.ablate([name], mode="free").rows] == [name]
        True
        """
        check_arguments(TracedGraph.ablate, locals())
        from circuit_tracer.workbench.measured import ablated

        return ablated(
            self.opened,
            self.pruned,
            features,
            find=find,
            route=route,
            top=top,
            mode=mode,
            times=times,
            value=value,
            of_max=of_max,
            together=together,
            target=target,
        )

    def trust(self, *, quick: bool = False, other: str = "auto", **amounts: int) -> Report[Trust]:
        """Test the graph by intervening and say how far to believe it: `.verdict.headline`.

        `quick` takes a second on a small model; `other` names a second dictionary to compare with;
        `amounts` are `features`, `random_sets`, `draws` and `seed`. Figures drawn after it, and
        `save`, have the report. Raises UsageError for a graph JSON, which holds the kept part
        alone, and for what a quick report does not use: `other`, `random_sets`, `draws`.

        >>> import circuit_tracer as ct
        >>> report = ct.trace("a banana is", targets=["yellow"]).trust(quick=True)
        >>> report.measured.conservation.holds
        True
        """
        check_arguments(TracedGraph.trust, locals())
        from circuit_tracer.workbench.measured import trusted

        if not self._is_whole:
            raise UsageError(
                "this graph JSON holds the kept graph alone, and trust needs all of it; load a "
                "folder that `circuit-tracer trace` or `save` wrote"
            )
        report = trusted(self.opened, self.pruned, other, quick=quick, **amounts)
        self._trust = report.result
        return report

    def heads(
        self, edge: tuple[str, str] | None = None, *, route: int | None = None, top: int = 15
    ) -> Listing[Any]:
        """The attention heads that most influence passes through, strongest first.

        Of each: `name`, `share` of the influence (0..1), `moves` from token to token. With an
        `edge` (two nodes, tokens or targets by name) or a `route` (1 is the best), its parts by
        head. Loadings are stored by `save`. Raises UsageError for an edge that is not there.

        >>> import circuit_tracer as ct
        >>> heads = ct.trace("a banana is", targets=["yellow"]).heads(top=3)
        >>> len(heads), heads[0].share >= heads[1].share
        (3, True)
        """
        check_arguments(TracedGraph.heads, {"route": route})
        edges = edges_asked(self.pruned, edge, route)
        return heads_listed(self.pruned, self._loadings(edges), top, edges)

    def qk(
        self, head: str, query: str | int, key: str | int, *, top: int = 5
    ) -> Report[QkAttribution]:
        """Why a head looks where it looks: its score, before the softmax, in exact terms.

        `head` is "3.2" or "L3.H2"; `query` and `key` are tokens or positions ("@3", 3); `top` terms
        of each sign are listed. `.parts.value` is the score. Raises UsageError for a head, token
        or position that is not there, and for a key that comes after its query.

        >>> import circuit_tracer as ct
        >>> score = ct.trace("a banana is").qk(head="3.2", query="is", key="banana")
        >>> score.layer, score.head, score.key
        (3, 2, 2)
        """
        check_arguments(TracedGraph.qk, {"query": query, "key": key})
        from circuit_tracer.workbench.measured import score_explained

        return score_explained(self.opened, self.pruned, head, query, key, top)

    def _repr_html_(self) -> str:
        lines = "".join(
            f"<tr><td>{escape(one.name)}</td><td>{escape(one.value)}</td>"
            f"<td style='text-align:left'>{escape(one.meaning)}</td></tr>"
            for one in score_lines(self.pruned)
        )
        drawn = self.svg(legend="none", trust=False)
        _, tag, figure = drawn.partition("<svg")  # no XML declaration inside a page
        return f"{tag}{figure}<table>{lines}</table>"

    def __getstate__(self) -> dict[str, Any]:
        """Without the open model, which no file can hold: it is opened again where it is needed."""
        return {**vars(self), "_opened": None}

    def __copy__(self) -> TracedGraph:
        """With the same open model."""
        copied = object.__new__(TracedGraph)
        vars(copied).update(vars(self))
        return copied

    def __dir__(self) -> list[str]:
        """The names of this page alone: nnsight gives every object of a process more."""
        return sorted(
            {"pruned", "folder"}.union(
                name
                for owner in (GraphTables, TracedGraph)
                for name in vars(owner)
                if not name.startswith("_")
            )
        )

    def _loadings(self, edges: Edges | None = None) -> HeadLoadings:
        """Those of the kept edges, or of these: stored, or measured now."""
        if self._heads is not None and (edges is None or are_strongest(self.pruned, edges)):
            return self._heads
        from circuit_tracer.workbench.measured import loadings_of

        loadings = loadings_of(self.opened, self.pruned, edges)
        if edges is None:
            self._heads = loadings
        return loadings

    def _verdict(self) -> StoredVerdict | None:
        if self._trust is not None:
            return verdict_in(as_stored(self._trust))
        return None if self.folder is None else read_verdict(self.folder, self.pruned)
