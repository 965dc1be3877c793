"""What benchmarks/jacobian.py measures of one dictionary on one prompt.

Forty features are ablated one by one, as `trust` does it; and, for a check that no dictionary's own
features take part in, residual streams are pushed: at one position and after one layer by a share
of the difference between this prompt's stream and another's. What that changes in the stream before
the final norm at the target's position, by way of later MLPs (less what comes about with their
outputs frozen), is compared with the prediction of the graph's features.

Shapes: B rows, T tokens, d model width.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from circuit_tracer.attribution import trace
from circuit_tracer.experiments.kit.statistics import spearman
from circuit_tracer.experiments.trust.passes import Subject, responses
from circuit_tracer.experiments.trust.results import Frozen
from circuit_tracer.experiments.trust.steps.indirect import draw_features, effects_of
from circuit_tracer.graphs import prune
from circuit_tracer.interventions.edits import EditedRun
from circuit_tracer.interventions.freezing import Freezing, frozen_norms
from circuit_tracer.interventions.plan import Plan
from circuit_tracer.interventions.prediction import ablation_shares, predict
from circuit_tracer.models import Model
from circuit_tracer.models.parts import Place
from circuit_tracer.transcoders.dictionary import Dictionary

ABLATED = 40
PUSHES = 4
"""A layer."""
SHARE = 0.3
"""Of the difference between two prompts' streams."""

FIGURES = {
    "frozen": "indirect effects, attention and norms frozen: Spearman",
    "signs": "... sign agreement",
    "responding": "indirect effects, nothing frozen, predicted with norms and attention responding",
    "replaced frozen": "indirect effects, attention and norms frozen, replacement model run",
    "replaced": "indirect effects, nothing frozen, replacement model run",
    "sums": "indirect effects, nothing frozen: the graph's own sums",
    "sums attention": "indirect effects, attention frozen: the graph's own sums",
    "influence": "influence against ablation, attention frozen",
    "replacement": "replacement score",
    "completeness": "completeness score",
    "pushed cosine": "pushed streams, attention and norms frozen: cosine",
    "pushed error": "... relative error",
    "pushed cosine free": "pushed streams, nothing frozen: cosine",
    "pushed error free": "... relative error",
}
"""Of each prompt."""


def measure(model: Model, dictionary: Dictionary, prompt: str, other: str) -> dict[str, float]:
    """All figures of one prompt; `other` is the prompt whose streams are gone towards."""
    graph = trace(model, dictionary, prompt).graph
    pruned, subject = prune(graph), Subject.of(graph, model, dictionary)
    found = {
        "replacement": pruned.scores.replacement,
        "completeness": pruned.scores.completeness,
    }
    rows = draw_features(pruned, ABLATED, seed=0)
    sums = predict(graph, ablation_shares(graph, rows)).indirect
    joined = (sums != 0) & graph.nodes.expanded[:, None]
    ways: tuple[tuple[str, Frozen], ...] = (
        ("frozen", "attention, norms"),
        ("sums attention", "attention"),
        ("sums", "nothing"),
    )
    for name, frozen in ways:
        replaced = name != "sums attention"
        measured, responding, run = effects_of(subject, rows, frozen, replaced=replaced)
        found[name] = spearman(sums[joined], measured[joined])
        if name == "frozen":
            agree = np.sign(sums[joined]) == np.sign(measured[joined])
            found["signs"] = float(agree.mean())
        if name == "sums" and responding is not None:
            found["responding"] = spearman(responding[joined], measured[joined])
        if run is not None:
            key = "replaced frozen" if name == "frozen" else "replaced"
            found[key] = spearman(run[joined], measured[joined])
    drawn = draw_features(pruned, 2 * ABLATED, seed=0, last_layer=True)
    effects = responses(
        subject, subject.changes(drawn), "attention", every_node=False, writes="frozen"
    )
    weight = graph.nodes.weight[graph.target_rows]
    found["influence"] = spearman(pruned.influence[drawn], np.abs(effects.moved) @ weight)
    return {**found, **_pushed_figures(subject, other)}


def _pushed_figures(subject: Subject, other: str) -> dict[str, float]:
    """Median cosine and relative error over pushes of all layers but the last."""
    pushes = _pushes(subject, other)
    found = {}
    for suffix, frozen in (("", True), (" free", False)):
        run = partial(_final_change, subject, pushes, frozen=frozen)
        direct = run(mlps="frozen")
        measured, predicted = run(mlps="model") - direct, run(mlps="graph") - direct
        size = measured.norm(dim=-1)
        cosine = torch.nn.functional.cosine_similarity(measured, predicted, dim=-1)
        error = (measured - predicted).norm(dim=-1) / size
        found[f"pushed cosine{suffix}"] = float(cosine.median())
        found[f"pushed error{suffix}"] = float(error.median())
    return found


Push = tuple[int, int, Tensor]
"""After which layer, at which position, what is added."""


def _pushes(subject: Subject, other: str) -> list[Push]:
    model, here = subject.model, subject.original.capture
    there = model.capture(model.tokenize(other))
    generator = np.random.default_rng(0)
    end = min(len(here.token_ids), len(there.token_ids))
    found = []
    for layer in range(model.n_layers - 1):
        for position in generator.integers(1, end, PUSHES):
            moved = there.resid_post(layer)[position] - here.resid_post(layer)[position]
            found.append((layer, int(position), SHARE * moved))
    return found


class _Pushed(EditedRun):
    """A pass in whose rows streams are pushed."""

    pushes: Sequence[Push] = ()
    final: Tensor | None = None

    def wants(self, place: Place, layer: int) -> bool:
        """Also where streams are pushed, and at the end."""
        return place in ("layer", "final_norm") or super().wants(place, layer)

    def edit(self, place: Place, layer: int, seen: Tensor, given: Tensor) -> Tensor:
        """Push what is pushed there; keep the last stream."""
        if place == "final_norm":
            self.final = seen
        if place != "layer":
            return super().edit(place, layer, seen, given)
        out = given.clone()
        for row, (after, position, moved) in enumerate(self.pushes, start=1):
            if after == layer:
                out[row, position] += moved
        return out


def _final_change(subject: Subject, pushes: Sequence[Push], *, frozen: bool, mlps: str) -> Tensor:
    """(pushes, d) change of the stream before the final norm at the target's position."""
    model, original = subject.model, subject.original
    rows, L = len(pushes) + 1, model.n_layers
    run = _Pushed(
        model,
        subject.dictionary,
        Plan.of([()] * rows, original.capture.embeddings),
        original=original,
        end=torch.full((rows,), L - 1 if mlps == "frozen" else -1, device=model.device),
        freezing=Freezing(
            attention=frozen,
            norms=frozen_norms(model.wiring, original.capture) if frozen else {},
            skips_carry=mlps != "model",
            features=subject.features if mlps == "graph" else None,
        ),
        keep_seen=True,
        n_zeroed=original.n_zeroed,
    )
    run.pushes = pushes
    at = torch.tensor([max(target.position for target in subject.graph.info.targets)])
    model.edited(original.capture.token_ids.expand(rows, -1), run, positions=at.to(model.device))
    assert run.final is not None
    final = run.final[:, int(at)]
    return final[1:] - final[:1]
