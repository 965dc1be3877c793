"""How fluid is the viewer's page in a real Chromium, from everyday graphs to very large ones?

    python -m benchmarks.viewer [--chromium PATH] [--write]

Makes pages of synthetic graphs, opens each without a window and without a GPU, and measures: the
page's size, the time to make it and until it is first painted, and, while the view is zoomed and
dragged, the pointer goes over nodes, the Nodes slider moves, and a node is selected or pinned every
other frame (as fast as a key repeats): the time between frames, and the processor time of the
page's main thread in each frame, to which waiting for other programs does not count. As a baseline
every frame paints everything, as a page would that does not move finished pictures. The index of a
run is measured likewise. `--write` puts the tables into benchmarks/viewer.md. Takes three
minutes.
"""

from __future__ import annotations

import json
import shutil
import statistics
import tempfile
import time
from bisect import bisect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import pages
from circuit_tracer.graphs.graph import Edges, Graph, GraphInfo, Identity, NodeKind, Nodes, Target
from circuit_tracer.graphs.influence import influence
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.scores import scores
from circuit_tracer.render.html import page
from circuit_tracer.render.html_data import Shown, record
from circuit_tracer.render.html_index import Dot, Index, IndexRow, Thumbnail, index_page

REPORT = Path(__file__).with_suffix(".md")
SIZES = ((100, 1_500, 12), (1_000, 20_000, 40), (10_000, 200_000, 120))
"""Nodes, edges, tokens."""
INDEX_ROWS = (100, 10_000)
WORDS = "the quick brown fox jumps over a lazy dog while bananas ripen slowly in the sun".split()
ARGUMENTS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")
TRACED = ("devtools.timeline", "disabled-by-default-devtools.timeline", "blink.user_timing")
STEPS = ("zoom", "drag", "hover", "select", "pin", "slider")
GRAPHS = ("nodes / edges", "page", "made in", "first painted", "shown")
FRAMES = 60
BASELINE_FRAMES = 8
MEASURE = """
([step, naive, frames]) => new Promise(done => {
  const plot = viewer.plots[0], times = [];
  const all = () => {  // the baseline: everything painted
    plot.moving = false;
    plot.repaint();
    while (plot.edgesLeft < plot.edgeLimit) plot.paintMoreEdges();
    plot.under.getContext("2d").getImageData(0, 0, 1, 1);
  };
  const slider = document.getElementById("influence"), whole = Number(slider.max);
  let last = 0, i = 0;
  const act = {
    zoom: () => plot.zoom(i < 30 ? 1.06 : 1 / 1.06, 400, 300),
    drag: () => plot.pan(i < 30 ? 7 : -7, i < 30 ? 3 : -3),
    hover: () => viewer.hover(plot, plot.graph.ranked[(i * 37) % plot.graph.ranked.length], null),
    select: () => i % 2 && viewer.select(plot, plot.graph.ranked[(i * 37) % 60]),
    pin: () => i % 2 && viewer.togglePin(plot, plot.graph.ranked[(i * 7) % 20]),
    slider: () => {
      slider.value = whole * (1 - 0.3 * ((i % 20) / 20));
      slider.dispatchEvent(new Event("input"));
    },
  }[step];
  const tick = now => {
    performance.mark("tick");
    if (last) times.push(now - last);
    last = now;
    if (i++ >= frames) {
      viewer.hover(plot, -1, null);
      if (plot.moving) plot.moved();
      return done(times.slice(1));
    }
    act();
    clearTimeout(plot.settling);  // a pause of this machine is not one of its user
    if (naive) all();
    requestAnimationFrame(tick);
  };
  requestAnimationFrame(tick);
})
"""
SETTLED = (
    "() => { const p = window.viewer && viewer.plots[0];"
    " return Boolean(p) && !p.waiting && !p.moving && p.edgesLeft >= p.edgeLimit"
    " && !viewer.due.size; }"
)


def synthetic(n: int, m: int, n_tokens: int, *, n_layers: int = 26, seed: int = 0) -> PrunedGraph:
    """A graph of n nodes, of which m pairs of a lower and a higher layer are joined."""
    rng = np.random.default_rng(seed)
    n_inner, n_targets = n - n_tokens - 5, 5
    layer = np.sort(rng.integers(0, n_layers, n_inner))
    kinds = (NodeKind.EMBEDDING, NodeKind.FEATURE, NodeKind.LOGIT)
    kind = np.repeat(np.array(kinds, np.int8), (n_tokens, n_inner, n_targets))
    layers = np.concatenate([np.full(n_tokens, -1), layer, np.full(n_targets, n_layers)])
    position = np.concatenate(
        [
            np.arange(n_tokens),
            rng.integers(1, n_tokens, n_inner),
            np.full(n_targets, n_tokens - 1),
        ]
    )
    below = np.searchsorted(layers, layers)  # rows of lower layers come before
    pairs = np.zeros((0, 2), np.int64)
    while len(pairs) < m:
        target = rng.integers(n_tokens, n, 2 * m)
        source = (rng.random(2 * m) * below[target]).astype(np.int64)
        some = np.stack([target, source], 1)[position[source] <= position[target]]
        pairs = np.unique(np.concatenate([pairs, some]), axis=0)
    pairs = pairs[np.sort(rng.permutation(len(pairs))[:m])]
    edges = Edges(
        pairs[:, 1].astype(np.int32),
        pairs[:, 0].astype(np.int32),
        (rng.normal(size=m) ** 3 + 0.2).astype(np.float32),
    )
    probability = np.array([0.5, 0.2, 0.1, 0.05, 0.02])
    weight = np.where(kind == NodeKind.LOGIT, 1.0, 0.0)
    weight[kind == NodeKind.LOGIT] = probability / probability.sum()
    tokens = tuple(WORDS[i % len(WORDS)] for i in range(n_tokens))
    words = [" → ".join(rng.choice(WORDS, 2)) for _ in range(n)]
    expanded = kind != NodeKind.EMBEDDING
    nodes = Nodes(
        kind=kind,
        layer=layers.astype(np.int32),
        position=position.astype(np.int32),
        feature=np.arange(n, dtype=np.int64),
        activation=np.where(kind == NodeKind.FEATURE, 1.0, np.nan),
        value=np.where(expanded, 1.0, np.nan),
        constant=np.where(expanded, 0.1, np.nan),
        expanded=expanded,
        weight=weight,
        label=tuple(words),
    )
    targets = tuple(
        Target(WORDS[i], (n - n_targets + i,), n_tokens - 1, float(p), 9.0 - i, i)
        for i, p in enumerate(probability)
    )
    info = GraphInfo(
        prompt=" ".join(tokens),
        tokens=tokens,
        token_ids=tuple(range(n_tokens)),
        n_layers=n_layers,
        targets=targets,
        model=Identity("synthetic", "made", ""),
        dictionary=Identity("synthetic", "made", ""),
        dtype="float32",
        conservation_residual=0.0,
        conservation_tolerance=1e-4,
    )
    graph = Graph(info, nodes, edges)
    found = influence(graph)
    everything = np.ones(n, dtype=np.bool_), np.ones(m, dtype=np.bool_)
    return PrunedGraph(graph, 1.0, 1.0, *everything, found, scores(graph, found))


def _waited(opened: Any, condition: str) -> None:
    while not opened.evaluate(condition):
        time.sleep(0.01)


def _figures(times: Sequence[float]) -> str:
    ranked = sorted(times)
    return f"{statistics.median(ranked):.0f} / {ranked[int(0.95 * (len(ranked) - 1))]:.0f}"


def _busy(trace: bytes) -> list[float]:
    """Milliseconds of processor time of the page's main thread in each frame."""
    events = json.loads(trace)["traceEvents"]
    marks = sorted(one["ts"] for one in events if one["name"] == "tick")
    main = next((one["pid"], one["tid"]) for one in events if one["name"] == "tick")
    frames = [0.0] * (len(marks) + 1)
    for one in events:
        here = one["name"] == "RunTask" and (one["pid"], one["tid"]) == main
        if here and "tdur" in one:  # not where tracing began or ended in it
            frames[bisect(marks, one["ts"] + one["dur"])] += one["tdur"] / 1000
    return frames[2:-1]  # of whole frames, as the times between frames are


def graph_rows(browser: Any, folder: Path) -> list[tuple[str, ...]]:
    """One line a size and way of showing it."""
    rows: list[tuple[str, ...]] = []
    for n, m, n_tokens in SIZES:
        pruned = synthetic(n, m, n_tokens)
        start = time.perf_counter()
        text = page(record(Shown(pruned, "synthetic")))
        made = time.perf_counter() - start
        file = folder / "page.html"
        file.write_text(text, encoding="utf-8")
        opened = browser.new_page(viewport={"width": 1280, "height": 800})
        start = time.perf_counter()
        opened.goto(file.as_uri())
        _waited(opened, SETTLED)
        first = time.perf_counter() - start
        size = f"{len(text) / 1e6:.1f} MB"
        head = (f"{n:,} / {m:,}", size, f"{made:.1f} s", f"{first:.1f} s")
        for shown, change in (
            ("as it opens", ""),
            ("all nodes", "viewer.setThreshold(1)"),
            ("all nodes and edges", "viewer.setEdges(100)"),
        ):
            if change:
                opened.evaluate(f"() => {change}")
                _waited(opened, SETTLED)
            cells = []
            for step in STEPS:
                browser.start_tracing(page=opened, categories=list(TRACED))
                times = opened.evaluate(MEASURE, [step, False, FRAMES])
                cells.append(f"{_figures(times)} ({_figures(_busy(browser.stop_tracing()))})")
                if step == "slider" and change:
                    opened.evaluate("() => viewer.setThreshold(1)")
                _waited(opened, SETTLED)
            cells.append(_figures(opened.evaluate(MEASURE, ["drag", True, BASELINE_FRAMES])))
            _waited(opened, SETTLED)
            rows.append((*head, shown, *cells))
            head = ("",) * 4
        opened.close()
    return rows


def index_rows(browser: Any, folder: Path) -> list[tuple[str, ...]]:
    """One line a number of graphs."""
    rows: list[tuple[str, ...]] = []
    rng = np.random.default_rng(0)
    for count in INDEX_ROWS:
        dots = tuple(Dot(int(x), int(y), 1) for x, y in rng.integers(0, 100, (26, 2)))
        listed = [
            IndexRow(
                f"graphs/{i}.html",
                " ".join(rng.choice(WORDS, 8)),
                str(rng.choice(WORDS)),
                float(rng.random()),
                {"replacement": 0.9, "completeness": float(rng.random()), "error_share": 0.1},
                ("tag",),
                "a › b › c",
                Thumbnail(dots, dots[:4]),
            )
            for i in range(count)
        ]
        text = index_page(Index("run", "", listed))
        file = folder / "index.html"
        file.write_text(text, encoding="utf-8")
        opened = browser.new_page(viewport={"width": 1280, "height": 800})
        start = time.perf_counter()
        opened.goto(file.as_uri())
        _waited(opened, "() => Boolean(window.viewer)")
        first = time.perf_counter() - start
        sort = "() => { const t = performance.now(); viewer.sort({key: 'completeness'});"
        sort += " return performance.now() - t; }"
        sorted_in = opened.evaluate(sort)
        scroll = "i => new Promise(done => { const t = [], l = document.getElementById('list');"
        scroll += " let last = 0; const tick = now => { if (last) t.push(now - last); last = now;"
        scroll += " l.scrollTop += 97; t.length < i ? requestAnimationFrame(tick) : done(t); };"
        scroll += " requestAnimationFrame(tick); })"
        times = opened.evaluate(scroll, FRAMES)
        size, painted = f"{len(text) / 1e6:.1f} MB", f"{first:.1f} s"
        rows.append((f"{count:,}", size, painted, f"{sorted_in:.0f} ms", _figures(times)))
        opened.close()
    return rows


def main() -> None:
    """Measure, print and write."""
    parser = pages.parser(__doc__)
    parser.add_argument("--chromium", default=shutil.which("chromium"))
    arguments = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        path = arguments.chromium
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        version = browser.version
        graphs = graph_rows(browser, Path(folder))
        index = index_rows(browser, Path(folder))
        browser.close()
    text = "\n".join(
        [
            "# The viewer",
            "",
            "Written by `python -m benchmarks.viewer --write` with headless Chromium "
            f"{version.split('.')[0]}, 1280 x 800, no GPU.",
            "Times between frames in ms, median / 95th percentile; 17 is every frame of a "
            "60 Hz screen. In brackets: processor time of the main thread per frame, likewise. "
            "The baseline paints everything in every frame of the drag.",
            "",
            *pages.table((*GRAPHS, *STEPS, "drag, baseline"), graphs),
            "",
            "The index of a run:",
            "",
            *pages.table(("graphs", "page", "first painted", "sorted in", "scroll"), index),
            "",
        ]
    )
    print(text)
    if arguments.write:
        REPORT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
