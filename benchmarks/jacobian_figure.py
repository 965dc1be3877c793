"""Draw docs/predicted-measured.svg: predicted against measured indirect effects, before and after.

    python -m benchmarks.jacobian_figure [--before first] [--after on-mix-1] [--prompts 4]

Each point is a pair of an ablated feature and a later node, at its ranks among the pairs of its
prompt (0 the lowest, 100 the highest): by the prediction across, as measured upwards. A prediction
that has every order right lies on the diagonal. Needs the sets of benchmarks/jacobian.py.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.jacobian import FIRST, opened
from benchmarks.jacobian_measures import ABLATED
from benchmarks.jacobian_sets import RUNS
from benchmarks.prompts import prompts
from circuit_tracer.attribution import trace
from circuit_tracer.experiments.kit.statistics import ranks, spearman
from circuit_tracer.experiments.trust.passes import Subject
from circuit_tracer.experiments.trust.steps.indirect import draw_features, effects_of
from circuit_tracer.graphs import prune
from circuit_tracer.graphs.graph import Floats
from circuit_tracer.interventions.prediction import ablation_shares, predict
from circuit_tracer.models import Model, open_model
from circuit_tracer.render import palette
from circuit_tracer.render.chart_marks import Axis, Scale
from circuit_tracer.render.markup import element, figure
from circuit_tracer.render.svg_page import MARGIN, bold, document, line, paper, quiet, rect, shift

ROOT = Path(__file__).resolve().parent.parent
SIDE, GAP, HEAD = 250.0, 46.0, 40.0
SHOWN = 700
"""Points a panel."""
WAYS = ("attention and norms frozen: the graph's sums", "nothing frozen: the linear prediction")


class Pairs(NamedTuple):
    """Predicted and measured, in percent of the ranks of each prompt."""

    predicted: Floats
    measured: Floats
    spearman: float
    """Median over prompts."""


def pairs(model: Model, name: str, count: int) -> list[Pairs]:
    """By way of freezing."""
    dictionary = opened(name, model)
    found: list[list[tuple[Floats, Floats]]] = [[], []]
    texts = [record["prompt"] for _, record in prompts()]
    for text in texts[1 :: len(texts) // count][:count]:
        graph = trace(model, dictionary, text).graph
        subject = Subject.of(graph, model, dictionary)
        rows = draw_features(prune(graph), ABLATED, seed=0)
        sums = predict(graph, ablation_shares(graph, rows)).indirect
        joined = (sums != 0) & graph.nodes.expanded[:, None]
        frozen = effects_of(subject, rows, "attention, norms")
        free = effects_of(subject, rows, "nothing")
        assert free.responding is not None
        found[0].append((sums[joined], frozen.measured[joined]))
        found[1].append((free.responding[joined], free.measured[joined]))
    return [
        Pairs(
            np.concatenate([_percent(x) for x, _ in way]),
            np.concatenate([_percent(y) for _, y in way]),
            float(np.median([spearman(x, y) for x, y in way])),
        )
        for way in found
    ]


def _percent(values: Floats) -> Floats:
    return 100 * ranks(values) / max(len(values) - 1, 1)


def panel(name: str, way: str, found: Pairs) -> str:
    """One square of points."""
    axis = Axis(0, 100, 25)
    across, up = Scale(axis, 0, SIDE), Scale(axis, SIDE, 0)
    some = np.random.default_rng(0).permutation(len(found.predicted))[:SHOWN]
    places = "".join(
        f"M{figure(across.at(x))} {figure(up.at(y))}h0"
        for x, y in zip(found.predicted[some], found.measured[some], strict=True)
    )
    dots: dict[str, Any] = {
        "stroke": palette.POSITIVE,
        "stroke_width": 2.6,
        "stroke_linecap": "round",
    }
    return "".join(
        [
            bold(f"{name}: Spearman {found.spearman:.2f}", 0, -22, 11.0),
            quiet(way, 0, -8, font_size=9),
            rect(0, 0, SIDE, SIDE, fill="none", stroke=palette.RULE),
            line((0, SIDE), (SIDE, 0), palette.QUIET, stroke_dasharray="3 3"),
            element("path", d=places, fill="none", stroke_opacity=0.45, **dots),
            quiet("rank of the prediction", SIDE / 2, SIDE + 14, text_anchor="middle", font_size=9),
            quiet(
                "rank as measured",
                0,
                0,
                text_anchor="middle",
                font_size=9,
                transform=f"translate(-8 {figure(SIDE / 2)}) rotate(-90)",
            ),
        ]
    )


def main() -> None:
    """Measure and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    sets = (FIRST, *RUNS)
    parser.add_argument("--before", default=FIRST, choices=sets, metavar="NAME")
    parser.add_argument("--after", default="on-mix-1", choices=sets, metavar="NAME")
    parser.add_argument("--prompts", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = open_model("sprout", device="cpu")
    names = {"without the Jacobian term": options.before, "with it": options.after}
    parts = []
    for column, (words, name) in enumerate(names.items()):
        for row, found in enumerate(pairs(model, name, options.prompts)):
            x, y = MARGIN + 16 + column * (SIDE + GAP), MARGIN + HEAD + row * (SIDE + GAP + HEAD)
            parts.append(shift(x, y, panel(words, WAYS[row], found)))
    width, height = 16 + 2 * SIDE + GAP, 2 * (SIDE + HEAD) + GAP + 18
    drawn = document(width, height, [paper(width, height), *parts])
    (ROOT / "docs" / "predicted-measured.svg").write_text(drawn, encoding="utf-8")


if __name__ == "__main__":
    main()
