"""Positions inside prompts that are turned by their length: every reader runs the whole prompt."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache, partial
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from circuit_tracer.attribution import TraceSettings, trace
from circuit_tracer.attribution.head_loadings import head_loadings
from circuit_tracer.attribution.head_ways import head_parts
from circuit_tracer.attribution.qk import explain_score
from circuit_tracer.attribution.reopening import prompt_ids
from circuit_tracer.batch.tables import Traced
from circuit_tracer.batch.tracing import Tracer, plan, prompt_length, trace_group
from circuit_tracer.experiments.trust.passes import Subject, responses
from circuit_tracer.graphs.graph import NodeKind
from circuit_tracer.graphs.pruning import PrunedGraph, prune
from circuit_tracer.interventions.ablation import ablate, item_of
from circuit_tracer.interventions.spec import Strength
from circuit_tracer.models import Model
from circuit_tracer.transcoders.dictionary import Dictionary
from tests.attribution.spying import spied
from tests.batch.runs import entries, prompt_file
from tests.rope import rope_model
from tests.rounding import rounding
from tests.tiny import random_dictionary

PROMPT = "the banana is yellow yes a lemon is blue"
AT = 4
ANGLES = rounding(torch.float32)
"""The model turns in float32 whatever it computes in, and a cosine's last bits depend on how many
are taken at once; another pass than the whole prompt's is off by 1e-2."""
SETTINGS = TraceSettings(position=AT, max_n_logits=3, edge_floor=0.0)
each_rope = pytest.mark.parametrize("rope", ["longrope", "dynamic", "yarn"])


class Case(NamedTuple):
    model: Model
    dictionary: Dictionary
    pruned: PrunedGraph
    logits: Tensor
    """(T, V) of the whole prompt, by a module that has seen no other text."""


@cache
def case(rope: str) -> Case:
    model = rope_model(rope, "llama", dtype=torch.float64)
    dictionary = random_dictionary(model, skip=True)
    ids = torch.tensor([model.tokenize(PROMPT)], device=model.device)
    logits = copy.deepcopy(model.module)(ids).logits[0]
    return Case(model, dictionary, prune(trace(model, dictionary, PROMPT, SETTINGS).graph), logits)


@each_rope
def test_targets_have_the_probabilities_of_the_whole_pass(rope: str) -> None:
    found = case(rope)
    chances = found.logits[AT].softmax(-1)
    for target in found.pruned.graph.info.targets:
        assert target.probability == pytest.approx(float(chances[target.vocabulary_ids[0]]), 1e-5)
    assert int(found.pruned.graph.nodes.position.max()) == AT


@each_rope
def test_a_run_of_prompts_of_many_lengths_gives_the_same_graphs(rope: str) -> None:
    found = case(rope)
    prompts = [PROMPT, f"{PROMPT} yes", "the lemon is yellow", PROMPT.replace("banana", "sky")]
    tracer = Tracer(found.model, found.dictionary, SETTINGS)
    planned = plan(entries(prompt_file(prompts)), partial(prompt_length, tracer))
    graphs = {
        traced.entry.prompt: traced.graph
        for group in planned.groups
        for traced in trace_group(tracer, group, {one.key for one in group.members})
        if isinstance(traced, Traced)
    }
    assert sorted(graphs) == sorted(prompts)
    for prompt, graph in graphs.items():
        alone = trace(found.model, found.dictionary, prompt, SETTINGS).graph
        ours = graph.ordered() if not isinstance(graph, PrunedGraph) else graph.graph
        assert np.allclose(ours.edges.weight, alone.edges.weight, rtol=0, atol=1e-10)


@each_rope
def test_a_reopened_graph_comes_out_the_same(rope: str) -> None:
    """Loadings and ways are refused where edges differ; scores where the pattern does."""
    found = case(rope)
    assert len(head_loadings(found.model, found.dictionary, found.pruned).source)
    assert len(head_parts(found.model, found.dictionary, found.pruned).source)
    ids = torch.tensor(found.model.tokenize(PROMPT))
    seen = spied(copy.deepcopy(found.model.module), ids)[1]
    score = explain_score(
        found.model, found.dictionary, found.pruned, layer=1, head=2, query=AT, key=2, against=[]
    )
    assert score.parts.value == pytest.approx(float(seen.scores[2, AT, 2]), abs=ANGLES)


@each_rope
@pytest.mark.parametrize("mode", ["constrained", "free"])
def test_interventions_start_from_the_whole_pass(rope: str, mode: str) -> None:
    found = case(rope)
    graph = found.pruned.graph
    row = int(graph.nodes.of_kind(NodeKind.FEATURE)[0])
    done = ablate(
        found.model,
        found.dictionary,
        graph,
        [item_of(graph, [row], Strength(0.0))],
        modes=["direct", mode],  # type: ignore[list-item]
    )
    expected = [float(t.probability) for t in graph.info.targets]
    assert done.probabilities == pytest.approx(expected, abs=1e-6)
    direct = done.rows[0].predicted_direct
    assert direct is not None
    assert done.rows[0].measured["direct"].logits == pytest.approx(direct, abs=1e-6)


@each_rope
def test_trust_measures_the_whole_pass(rope: str) -> None:
    found = case(rope)
    subject = Subject.of(found.pruned.graph, found.model, found.dictionary)
    centred = found.logits[AT] - found.logits[AT].mean()
    wanted = [float(centred[t.vocabulary_ids[0]]) for t in found.pruned.graph.info.targets]
    assert responses(subject, [()], "nothing").targets[0] == pytest.approx(wanted, abs=ANGLES)


def test_only_such_models_run_what_comes_after_the_position() -> None:
    n = len(case("yarn").model.tokenize(PROMPT))
    for rope, length in (("yarn", AT + 1), ("longrope", n), ("dynamic", n)):
        found = case(rope)
        assert len(prompt_ids(found.pruned.graph.info, found.model)) == length
    longer = replace(SETTINGS, position=-1)
    found = case("longrope")
    graph = trace(found.model, found.dictionary, PROMPT, longer).graph
    assert len(prompt_ids(graph.info, found.model)) == n
