"""The trust report of every prompt in prompts/: how far can the bundled model's graphs be believed?

    python -m benchmarks.trust [--transcoders plt clt] [--every 1] [--processes 1] [--smollm2]
                               [--write]

Prints, for each dictionary, the distribution of every figure over the prompts, the medians by kind
of prompt and how often each verdict is given; `--every 3` takes every third prompt, `--smollm2`
adds one prompt of SmolLM2-135M-Instruct through its own neurons. `--write` puts the sections into
benchmarks/trust.md, in place of those of the same dictionary, each as soon as it is done. All
prompts with both dictionaries take some fifteen minutes on one core, SmolLM2 five; `--transcoders`
with no name leaves the bundled model out.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from operator import attrgetter
from typing import Any

import numpy as np
import torch

from benchmarks import pages
from benchmarks.pages import ROOT
from benchmarks.prompts import prompts
from circuit_tracer.attribution import TraceSettings, trace
from circuit_tracer.experiments.kit.statistics import spearman
from circuit_tracer.experiments.kit.study import Estimate
from circuit_tracer.experiments.trust.passes import Subject
from circuit_tracer.experiments.trust.results import Frozen, Measurements, Trust
from circuit_tracer.experiments.trust.run import trust
from circuit_tracer.experiments.trust.spec import TrustSettings
from circuit_tracer.experiments.trust.steps.indirect import draw_features, effects_of
from circuit_tracer.graphs import prune
from circuit_tracer.interventions.prediction import ablation_shares, predict
from circuit_tracer.models import Model, open_model
from circuit_tracer.transcoders.dictionary import Dictionary
from circuit_tracer.transcoders.neurons import open_neurons
from circuit_tracer.transcoders.opening import open_transcoders

OTHER = {"plt": "clt", "clt": "plt"}
THRESHOLD = 0.8


@dataclass(frozen=True)
class Row:
    """One prompt's report."""

    kind: str
    prompt: str
    report: Trust
    seconds: float


Take = Callable[[Measurements], float]


def _figure(part: str, way: str, frozen: Frozen | None = None) -> Take:
    """A figure of a part of what was measured, with so much frozen; NaN where there is none."""

    def take(found: Measurements) -> float:
        one: Any = getattr(found, part)
        if one is not None and frozen is not None:
            one = one.at(frozen)
        for name in way.split("."):
            one = None if one is None else getattr(one, name)
        return math.nan if one is None else float(one)

    return take


def _indirect(frozen: Frozen, way: str) -> Take:
    return _figure("indirect", f"{way}.value", frozen)


def _spearman(frozen: Frozen, way: str = "everything") -> Take:
    return _indirect(frozen, f"{way}.spearman")


def _ranked(frozen: Frozen, name: str) -> Take:
    return _figure("ranking", f"{name}.value", frozen)


def _distance(frozen: Frozen, layers_on: int, name: str) -> Take:
    def take(found: Measurements) -> float:
        points = next((one.points for one in found.distance if one.frozen == frozen), ())
        return next((getattr(p, name) for p in points if p.layers_on == layers_on), math.nan)

    return take


def _kept(frozen: Frozen, way: str) -> Take:
    def take(found: Measurements) -> float:
        curve = next(one for one in found.sufficiency if one.frozen == frozen)
        return float(attrgetter(way)(curve.at(THRESHOLD)))

    return take


FIGURES: tuple[tuple[str, Take], ...] = (
    ("conservation residual", _figure("conservation", "residual")),
    ("direct edges, largest gap", _figure("direct", "error")),
    ("replacement", _figure("scores", "replacement")),
    ("completeness", _figure("scores", "completeness")),
    ("error share", _figure("scores", "error_share")),
    ("constant share", _figure("scores", "constant_share")),
    ("unexpanded + dropped share", lambda m: m.scores.unexpanded_share + m.scores.dropped_share),
    ("**influence against ablation, attention frozen**", _ranked("attention", "influence")),
    ("... the direct edge alone, for comparison", _ranked("attention", "direct")),
    (
        "**... through further features only, attention frozen**",
        _ranked("attention", "influence_beyond"),
    ),
    ("... the direct edge alone, for comparison", _ranked("attention", "direct_beyond")),
    ("**influence against ablation, nothing frozen**", _ranked("nothing", "influence")),
    ("... the direct edge alone, for comparison", _ranked("nothing", "direct")),
    (
        "**... through further features only, nothing frozen**",
        _ranked("nothing", "influence_beyond"),
    ),
    (
        "signed sum of routes against signed effect, attention frozen",
        _ranked("attention", "signed"),
    ),
    ("... norms respond in the prediction, too", _ranked("attention", "signed_responding")),
    ("signed sum of routes against signed effect, nothing frozen", _ranked("nothing", "signed")),
    (
        "... norms and attention respond in the prediction, too",
        _ranked("nothing", "signed_responding"),
    ),
    ("**indirect effects, Spearman, attention and norms frozen**", _spearman("attention, norms")),
    (
        "indirect effects, Pearson, attention and norms frozen",
        _indirect("attention, norms", "everything.pearson"),
    ),
    (
        "indirect effects, sign agreement, attention and norms frozen",
        _indirect("attention, norms", "everything.same_sign"),
    ),
    ("... on the targets alone", _spearman("attention, norms", "targets")),
    (
        "... cross-layer features at their own layer alone",
        _spearman("attention, norms", "own_layer"),
    ),
    ("**indirect effects, Spearman, attention frozen, norms free**", _spearman("attention")),
    ("... norms respond in the prediction, too", _spearman("attention", "responding")),
    ("... the replacement model run for real", _spearman("attention", "replaced")),
    ("**indirect effects, Spearman, nothing frozen**", _spearman("nothing")),
    ("... norms and attention respond in the prediction, too", _spearman("nothing", "responding")),
    ("... the replacement model run for real", _spearman("nothing", "replaced")),
    ("indirect effects, Pearson, nothing frozen", _indirect("nothing", "everything.pearson")),
    (
        "indirect effects, sign agreement, nothing frozen",
        _indirect("nothing", "everything.same_sign"),
    ),
    ("cosine 2 layers on, attention and norms frozen", _distance("attention, norms", 2, "cosine")),
    (
        "normalised error 2 layers on, attention and norms frozen",
        _distance("attention, norms", 2, "error"),
    ),
    ("cosine 1 layer on, attention frozen", _distance("attention", 1, "cosine")),
    ("normalised error 1 layer on, attention frozen", _distance("attention", 1, "error")),
    ("cosine 1 layer on, nothing frozen", _distance("nothing", 1, "cosine")),
    ("cosine 3 layers on, nothing frozen", _distance("nothing", 3, "cosine")),
    ("**sufficiency of the 0.8-pruned graph, nothing frozen**", _kept("nothing", "sufficiency")),
    ("... errors removed as well", _kept("nothing", "sufficiency_without_errors")),
    ("... matched random sets, median", _kept("nothing", "random_sufficiency.median")),
    ("... matched random sets, best of 20", _kept("nothing", "random_sufficiency.high")),
    ("what stays without the kept features, nothing frozen", _kept("nothing", "necessity")),
    ("... without matched random sets, median", _kept("nothing", "random_necessity.median")),
    ("sufficiency, MLP outputs frozen", _kept("attention", "sufficiency")),
    ("... matched random sets, best of 20", _kept("attention", "random_sufficiency.high")),
    ("what stays without the kept features, MLP outputs frozen", _kept("attention", "necessity")),
    ("token overlap with the other dictionary", _figure("agreement", "token_overlap")),
    ("decoder cosine in the middle layers", _figure("agreement", "decoder_cosine")),
    ("... by chance", _figure("agreement", "decoder_cosine_by_chance")),
    ("bf16: median change of a kept edge", _figure("number_format", "median")),
    ("bf16: kept edges that are kept again", _figure("number_format", "still_kept")),
)


def measure(name: str, every: int, processes: int) -> list[Row]:
    """Trace and test every so many prompts."""
    todo = [(name, kind, record["prompt"]) for kind, record in prompts()[::every]]
    if processes == 1:
        return [_row(one) for one in todo]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        return list(pool.map(_row, todo, chunksize=4))


@cache
def _opened(name: str) -> tuple[Model, Dictionary, Dictionary | None]:
    """The bundled model and its dictionaries, once a process."""
    torch.set_num_threads(1)
    model = open_model("sprout", device="cpu")
    other = open_transcoders(OTHER[name], model=model) if name in OTHER else None
    return model, open_transcoders(name, model=model), other


def _row(task: tuple[str, str, str]) -> Row:
    """One prompt traced and tested."""
    name, kind, prompt = task
    model, dictionary, other = _opened(name)
    start = time.process_time()
    pruned = prune(trace(model, dictionary, prompt).graph)
    report = trust(model, dictionary, pruned, other=other)
    return Row(kind, prompt, report, time.process_time() - start)


def table(rows: Sequence[Row], name: str) -> str:
    """Markdown of the distributions, and of what they come to."""
    found = [row.report.measured for row in rows]
    kinds = sorted({row.kind for row in rows})
    title = f"## `{name}`: {len(rows)} prompts of {len(kinds)} kinds"
    figures = []
    for words, take in FIGURES:
        values = np.array([take(one) for one in found])
        known = values[np.isfinite(values)]
        if len(known):
            quantiles = np.quantile(known, (0, 0.25, 0.5, 0.75, 1)).tolist()
            figures.append((words, *map(_cell, quantiles)))
    head = ("figure", "least", "lower quartile", "median", "upper quartile", "most")
    parts = [*pages.table(head, figures), "", *_by_kind(rows, kinds), "", _sentence(rows), ""]
    return "\n".join([title, "", *parts])


DOSES: tuple[tuple[Frozen, float], ...] = (
    ("attention, norms", 0.0),
    ("attention, norms", 0.9),
    ("attention", 0.0),
    ("attention", 0.9),
)


def doses(name: str, every: int) -> str:
    """Is it the size of an ablation? Spearman of the indirect effects for all and a tenth."""
    model, dictionary, _ = _opened(name)
    found: list[list[tuple[float, float]]] = [[] for _ in DOSES]
    for _, record in prompts()[::every]:
        pruned = prune(trace(model, dictionary, record["prompt"]).graph)
        subject = Subject.of(pruned.graph, model, dictionary)
        rows = draw_features(pruned, 40, seed=0)
        sums = predict(pruned.graph, ablation_shares(pruned.graph, rows)).indirect
        joined = (sums != 0) & pruned.graph.nodes.expanded[:, None]
        for figures, (frozen, times) in zip(found, DOSES, strict=True):
            measured, responding, _ = effects_of(subject, rows, frozen, times=times)
            responding = sums if responding is None else responding
            two = (spearman(one[joined], measured[joined]) for one in (sums, responding))
            figures.append((next(two), next(two)))
    words = (
        f"`{name}`, medians over {len(found[0])} prompts: a feature ablated, and a tenth of it "
        "taken away."
    )
    head = ("frozen", "feature times", "indirect effects, Spearman, graph's sums")
    rows_of = []
    for figures, (frozen, times) in zip(found, DOSES, strict=True):
        medians = np.nanmedian(np.array(figures), axis=0).tolist()
        rows_of.append((frozen.replace(",", " and"), f"{times:g}", *map(_cell, medians)))
    table_of = pages.table((*head, "norms respond in the prediction"), rows_of)
    return "\n".join([words, "", *table_of, "", ""])


SMOLLM2_PROMPT, SMOLLM2_FEATURES, SMOLLM2_SETS = "The capital of France is", 500, 5


def smollm2() -> str:
    """One prompt of a pretrained model through its own neurons: the report, and its real gates."""
    model = open_model("smollm2", device="cpu")
    neurons = open_neurons(model)
    settings = TraceSettings(max_feature_nodes=SMOLLM2_FEATURES)
    pruned = prune(trace(model, neurons, SMOLLM2_PROMPT, settings).graph)
    said: list[Estimate] = []
    how = TrustSettings(random_sets=SMOLLM2_SETS)
    report = trust(model, neurons, pruned, how, on_estimate=said.append)
    found, seconds = report.measured, sum(report.seconds.values())
    values = ((words, take(found)) for words, take in FIGURES)
    figures = [(words, _cell(value)) for words, value in values if math.isfinite(value)]
    gates = [
        (f"{100 * one.change:+.0f} %", *map(_cell, (one.slope, one.error, one.spearman)))
        for one in found.gates
    ]
    head = ("change of the source", "real change for each unit of the edges")
    lines = [
        f'## SmolLM2-135M-Instruct, neurons: "{SMOLLM2_PROMPT}"',
        "",
        f"{SMOLLM2_FEATURES} of {len(neurons.layers)} x {neurons.layers[0].n_features} neurons a "
        f"token with a row, {SMOLLM2_SETS} random sets a threshold. The report took "
        f"{seconds:.0f} s with one thread on a busy machine (said before: {said[0]}). "
        f"Verdict: {report.verdict.level}. {report.verdict.headline}",
        "",
        *pages.table(("figure", "value"), figures),
        "",
        "Direct effects of neurons in the model with real gates against their edges, by size of "
        "the change (attention, norms and all other MLP outputs frozen):",
        "",
        *pages.table((*head, "off, of the edges' size", "Spearman"), gates),
        "",
        *(f"* {reason.mark} {reason.text}" for reason in report.verdict.reasons),
        "",
    ]
    return "\n".join(lines)


def _by_kind(rows: Sequence[Row], kinds: Sequence[str]) -> list[str]:
    columns = {
        "influence against ablation, attention frozen": _ranked("attention", "influence"),
        "indirect effects, attention and norms frozen": _spearman("attention, norms"),
        "nothing frozen": _spearman("nothing"),
        "sufficiency": _kept("nothing", "sufficiency"),
        "best random": _kept("nothing", "random_sufficiency.high"),
    }
    lines = []
    for kind in kinds:
        some = [row.report for row in rows if row.kind == kind]
        found = ([take(one.measured) for one in some] for take in columns.values())
        cells = [_cell(float(np.nanmedian(values))) for values in found]
        said = Counter(report.verdict.level for report in some)
        verdicts = ", ".join(f"{count} {level}" for level, count in said.most_common())
        lines.append((kind, f"{len(some)}", *cells, verdicts))
    return pages.table(("kind", "prompts", *columns, "verdicts"), lines)


def _sentence(rows: Sequence[Row]) -> str:
    found = [row.report.measured for row in rows]
    good = sum(_spearman("attention, norms")(one) >= 0.72 for one in found)
    ranked = sum(_ranked("attention", "influence")(one) >= 0.72 for one in found)
    kept, best = _kept("nothing", "sufficiency"), _kept("nothing", "random_sufficiency.high")
    above = sum(kept(one) > best(one) for one in found)
    seconds = [row.seconds for row in rows]
    return (
        f"Influence against ablation (attention frozen) is at least 0.72 on {ranked} of "
        f"{len(rows)} prompts, Spearman of the indirect effects (attention and norms frozen) on "
        f"{good}; the 0.8-pruned graph keeps more of the target than every one of 20 matched "
        f"random sets on {above} of {len(rows)}. A trace with its full report took "
        f"{float(np.median(seconds)):.1f} s of one core (median; at most {max(seconds):.1f} s)."
    )


def _cell(value: float) -> str:
    small = 0 < abs(value) < 0.005
    return f"{value:.1e}" if small else f"{value:.2f}"


HEAD = """# Trust reports of every prompt in prompts/

Written by `python -m benchmarks.trust --smollm2 --write`. What each figure is: the docstrings of
`circuit_tracer/experiments/trust/`. Two tests bear on Anthropic's 0.72.

*Influence against ablation* is their statistic: over 100 features a prompt, the rank correlation of
influence on the targets with the size of the effect of ablating the feature. It is given with
everything counted and with direct edges left out on both sides, attention frozen and nothing
frozen.

*Indirect effects* ask for more: the sign of each counts, and all pairs of 40 ablated features and a
later node, targets or not, that a route through at least one further feature joins; direct edges
are left out. There the graph's sums hold up while attention and norm denominators are frozen, as
they are in the graph, and not once norms respond.

Why. An ablation changes the denominators of all later norms, and so everything that is read
downstream; no edge of a graph shows that. Put to the test: the same features with the same vectors,
linear, errors frozen, but with norms free to respond (`interventions/linear.py`), predict at least
twice as well (rows "norms respond in the prediction, too"); with norms frozen that prediction is
the graph's own sum to 1e-5. So the norms are most of it. The rest is not a matter of how far a
feature is pushed: taking away a tenth of a feature instead of all of it (below) changes neither
figure, so it is the linear response itself: what a dictionary's features make of a small change is
not what the MLP makes of it. That part is the dictionary's.

Cross-layer features count twice where later MLPs respond (their later decoders stand for that very
response). *At their own layer alone* leaves it to these MLPs; that it fits less well says that
later decoders are not what the MLPs make of a single feature. Influence against ablation is
measured so.

"""


def main() -> None:
    """Print the tables, and write them if asked."""
    parser = pages.parser(__doc__)
    parser.add_argument("--transcoders", nargs="*", default=["plt", "clt"])
    parser.add_argument("--every", type=int, default=1, help="take every so many prompts")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--smollm2", action="store_true", help="a prompt of SmolLM2 as well")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    path = ROOT / "benchmarks" / "trust.md"

    def done(section: str) -> None:
        print(section, flush=True)
        if arguments.write:  # at once: the next section may take long
            before = path.read_text(encoding="utf-8")
            path.write_text(pages.with_sections(HEAD, before, [section], "##"), encoding="utf-8")

    for name in arguments.transcoders:
        whole = table(measure(name, arguments.every, arguments.processes), name)
        done(f"{whole}\n{doses(name, 6 * arguments.every)}")
    if arguments.smollm2:
        done(smollm2())


if __name__ == "__main__":
    main()
