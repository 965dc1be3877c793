"""Effects of ablating each kept feature, against the model's own last norm and unembedding."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from circuit_tracer.attribution import TraceSettings, trace
from circuit_tracer.graphs import prune
from circuit_tracer.graphs.graph import Floats
from circuit_tracer.graphs.supernodes.grouping import Supernode, feature_rows, similarity
from circuit_tracer.graphs.supernodes.scores import against_random, group_scores
from circuit_tracer.interventions import coherence
from circuit_tracer.interventions.coherence import ablation_effects
from tests.attribution.frozen import PROMPT, captured
from tests.device import on_host
from tests.tiny import random_dictionary


def cosine(one: Floats, other: Floats) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_a_feature_of_the_last_layer_takes_away_what_it_wrote(family: str) -> None:
    model, capture = captured(family, torch.float64)
    dictionary = random_dictionary(model, writes="hook_mlp_out")
    graph = trace(model, dictionary, PROMPT, TraceSettings(targets=("yes",))).graph
    pruned = prune(graph, node_threshold=1.0, edge_threshold=1.0)
    effects = ablation_effects(model, dictionary, pruned)
    nodes, L = pruned.graph.nodes, model.n_layers
    assert sorted(effects) == feature_rows(pruned).tolist()
    norm, last = model.wiring.final_norm(), capture.resid_final[-1:]
    checked = 0
    for row in effects:
        if nodes.layer[row] != L - 1 or nodes.position[row] != len(PROMPT.split()):
            continue
        index = torch.tensor([int(nodes.feature[row])])
        written = dictionary.layers[-1].decoder_rows(index, L - 1) * nodes.activation[row]
        without = norm.freeze(last - written).apply(last - written)
        change = ((without - norm.freeze(last).apply(last)) @ model.unembedding.T)[0]
        expected = on_host(change - change.mean()).numpy()
        assert np.abs(effects[row] - expected).max() < 1e-10
        checked += 1
    assert checked > 0


def test_effects_of_a_large_vocabulary_keep_their_cosines(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = captured("llama", torch.float64, n_words=40)
    dictionary = random_dictionary(model)
    pruned = prune(trace(model, dictionary, PROMPT, TraceSettings(targets=("yes",))).graph)
    whole = ablation_effects(model, dictionary, pruned)
    monkeypatch.setattr(coherence, "WIDEST", 1)
    monkeypatch.setattr(coherence, "MOST_LOGITS", 200)
    small = ablation_effects(model, dictionary, pruned)
    assert list(small) == list(whole)
    rows = list(whole)
    width = model.unembedding.shape[1]
    assert {len(one) for one in small.values()} == {width}
    assert len(whole[rows[0]]) > width
    for a, b in pairwise(rows[:5]):
        assert cosine(small[a], small[b]) == pytest.approx(cosine(whole[a], whole[b]), abs=1e-9)


def test_groups_of_features_that_act_alike_score_above_random_ones() -> None:
    model, _ = captured("llama", torch.float64)
    dictionary = random_dictionary(model)
    graph = trace(model, dictionary, PROMPT, TraceSettings(targets=("yes",))).graph
    pruned = prune(graph, node_threshold=0.9)
    effects = ablation_effects(model, dictionary, pruned)
    rows = list(effects)
    alike = similarity(pruned, same_position=False)
    first = rows[0]
    ranked = sorted(rows, key=lambda row: -cosine(effects[first], effects[row]))
    groups = [Supernode("alike", tuple(sorted(ranked[:4])))]
    (score,) = group_scores(groups, alike, effects=effects)
    pairs = [cosine(effects[a], effects[b]) for a in ranked[:4] for b in ranked[:4] if a < b]
    assert score.coherence == pytest.approx(np.mean(pairs))
    figure = against_random(pruned, groups, alike, effects=effects)["coherence"]
    assert figure.value > figure.random + 0.2
    assert figure.p < 0.05
