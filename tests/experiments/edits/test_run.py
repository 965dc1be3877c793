"""Edits on the bundled model: the batched pass against single runs, routes against two graphs."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import pytest
import torch

from circuit_tracer.experiments.edits.families import explain_families
from circuit_tracer.experiments.edits.report.figure import edits_html, edits_svg
from circuit_tracer.experiments.edits.results import Outcome
from circuit_tracer.experiments.edits.routes import routes_of, shares_of
from circuit_tracer.experiments.edits.run import ORIGINAL, EditSettings, Engine, Explained, explain
from circuit_tracer.experiments.edits.spec import FamilySpec, Spec
from circuit_tracer.graphs.graph import NodeKind
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.render.markup import words
from circuit_tracer.workbench.opening import open_pair

JOKER = "joker : is a tomato red ?"
CONFLICT = "joker : true or false : a tomato is red ."


@cache
def engine() -> Engine:
    opened = open_pair("sprout", "plt", device="cpu")
    return Engine(opened.model, opened.dictionary, opened.labels, opened.labelled)


@cache
def found(prompt: str = JOKER, asked: EditSettings = EditSettings(graphs=0)) -> Explained:  # noqa: B008
    return explain(engine(), prompt, asked)


def alone(prompt: str) -> torch.Tensor:
    """Logits at the end of one prompt, from the Hugging Face model itself."""
    model = engine().model
    ids = torch.tensor([model.tokenize(prompt)])
    with torch.no_grad():
        logits: torch.Tensor = model.module(ids).logits[0, -1]
    return logits


def test_every_edit_of_the_batched_pass_is_that_of_a_run_of_its_own() -> None:
    report, model = found(asked=EditSettings(graphs=0, added=("teacher :",))).report, engine().model
    answer, against = (model.token_id(one.strip()) for one in (report.answer, report.against))
    before = alone(JOKER)
    assert report.contrast == pytest.approx(float(before[answer] - before[against]), abs=1e-3)
    assert len({one.kind for one in report.edits}) == 4
    for one in report.edits:
        logits = alone(one.prompt)
        value = float(logits[answer] - logits[against])
        assert one.contrast == pytest.approx(value, abs=1e-3)
        assert model.token_text(int(logits.argmax())) == one.answer
        assert one.flips == (int(logits.argmax()) != answer)


def test_the_words_of_a_prompt_are_deleted_and_replaced_but_for_the_last() -> None:
    edits = found().report.edits
    deleted = [one.old for one in edits if one.kind == "deleted"]
    assert deleted == ["joker", ":", "is", "a", "tomato", "red"]
    assert [one.prompt for one in edits if one.kind == "left out"] == ["is a tomato red ?"]
    replaced: dict[str, list[str]] = {}
    for one in edits:
        if one.kind == "replaced":
            assert f" {one.prompt}" == f" {JOKER}".replace(f" {one.old} ", f" {one.new} ")
            replaced.setdefault(one.old, []).append(one.new)
    assert replaced["joker"] == ["teacher"]
    assert "?" not in replaced


def test_the_speaker_decides_and_the_rival_is_what_edits_lead_to() -> None:
    report = found().report
    assert (report.answer.strip(), report.against.strip()) == ("no", "yes")
    assert report.verdict.kind == "decided by"
    assert {one.text for one in report.verdict.pullers} == {"joker", "red", "tomato"}


def test_two_instructions_are_a_conflict_with_both_routes() -> None:
    report = found(CONFLICT, EditSettings(graphs=1)).report
    assert report.verdict.kind == "conflict"
    toward, against = report.verdict.pullers
    assert (against.text, against.pull < 0 < toward.pull) == ("joker", True)
    assert against.route.startswith("joker -> L5/289 ")
    assert toward.route.startswith(f"{toward.text} -> ")
    assert (toward.route[-3:], against.route[-3:]) == ("(+)", "(−)")


def test_given_classes_answers_and_rivals_are_taken() -> None:
    asked = EditSettings(
        graphs=0,
        classes=(("joker", "teacher", "list"),),
        answer="yes",
        against="no",
        given=("red=>",),
    )
    report = found(asked=asked).report
    assert (report.answer.strip(), report.against.strip()) == ("yes", "no")
    assert report.contrast < 0
    assert {one.new for one in report.edits if one.old == "joker" and one.new} == {
        "teacher",
        "list",
    }
    (given,) = (one for one in report.edits if one.kind == "given")
    assert (given.prompt, given.flips) == ("joker : is a tomato ?", given.contrast > 0)


Key = tuple[int, ...]


def kept(pruned: PrunedGraph) -> tuple[set[Key], dict[tuple[Key, Key], float]]:
    """Nodes and edges of a graph of equally placed tokens by what they are, edges signed."""
    graph, nodes = pruned.graph, pruned.graph.nodes

    def key(row: int) -> Key:
        is_feature = nodes.kind[row] == NodeKind.FEATURE
        feature = int(nodes.feature[row]) if is_feature else -1
        return (int(nodes.kind[row]), int(nodes.layer[row]), int(nodes.position[row]), feature)

    some = np.flatnonzero(pruned.edge_kept)
    edges = {
        (key(int(graph.edges.source[at])), key(int(graph.edges.target[at]))): float(
            np.sign(graph.edges.weight[at])
        )
        for at in some
    }
    inner = [
        row
        for row in pruned.kept_rows.tolist()
        if nodes.kind[row] in (NodeKind.FEATURE, NodeKind.ERROR)
    ]
    return {key(row) for row in inner}, edges


def test_what_changed_of_the_routes_is_the_difference_of_the_two_graphs() -> None:
    report, graphs = found(asked=EditSettings(graphs=1))
    (routes,) = report.routes
    (edit,) = (one for one in report.edits if one.name == routes.edit)
    assert isinstance(edit, Outcome)
    before, after = (kept(graphs[name]) for name in (ORIGINAL, routes.folder))
    appeared = len(after[0] - before[0]) + len(after[1].keys() - before[1].keys())
    vanished = len(before[0] - after[0]) + len(before[1].keys() - after[1].keys())
    assert (routes.counts["appeared"], routes.counts["vanished"]) == (appeared, vanished)
    both = before[1].keys() & after[1].keys()
    turned = sum(before[1][one] * after[1][one] < 0 for one in both)
    assert turned <= routes.counts["flipped"] <= turned + len(before[0] & after[0])
    for at, share in enumerate(shares_of(graphs[ORIGINAL])[0]):
        assert routes.roles[at].before == pytest.approx(share)


def test_a_graph_compared_with_itself_has_no_changes() -> None:
    graph = found(asked=EditSettings(graphs=1)).graphs[ORIGINAL]
    same = routes_of("E1", "E1", graph, graph)
    assert set(same.counts.values()) == {0}
    assert all(role.before == role.after for role in same.roles)
    assert sum(role.before or 0 for role in same.roles) == pytest.approx(1)


def test_figure_and_page_show_text_as_text_and_are_the_same_each_time() -> None:
    report = found(asked=EditSettings(graphs=1)).report
    drawn, page = edits_svg(report), edits_html(report)
    assert drawn == edits_svg(report)
    assert 'width="85mm"' in drawn
    assert re.search(r"<text[^>]*>joker!</text>", drawn)
    assert "default-src 'none'" in page
    for puller in report.verdict.pullers:
        assert f"<li>{words(f'{puller.text}: {puller.route}')}</li>" in page
    assert page == edits_html(report)


def family(name: str, edit: str) -> FamilySpec:
    template = "joker : is a {object} {value} ?"
    return FamilySpec(name=name, template=template, words=("no", "yes"), edit=edit)


def test_families_have_mean_changes_and_shares_by_slot() -> None:
    pairs = (("tomato", "red"), ("frog", "green"), ("banana", "yellow"), ("crow", "black"))
    items = tuple({"object": one, "value": value} for one, value in pairs)
    spec = Spec(
        name="s",
        question="?",
        families=(family("speaker", "joker=>teacher"), family("nothing", "a=>the")),
        items=items,
    )
    report = explain_families(engine(), spec, graphs=1)
    decides, control = report.families
    assert decides.example == ("joker : is a tomato red ?", "teacher : is a tomato red ?")
    assert decides.n + decides.left_out == 4
    after = [alone(f"teacher : is a {one} {value} ?") for one, value in pairs]
    before = [alone(f"joker : is a {one} {value} ?") for one, value in pairs]
    no, yes = (engine().model.token_id(one) for one in ("no", "yes"))
    leads = [[float(one[no] - one[yes]) for one in logits] for logits in (before, after)]
    counted = [at for at, lead in enumerate(leads[0]) if lead > 0]
    changes = [leads[1][at] - leads[0][at] for at in counted]
    assert decides.change.value == pytest.approx(np.mean(changes), abs=1e-3)
    assert (decides.flips.value, control.flips.value) == (1.0, 0.0)
    assert report.findings[1].holds == "no"
    roles = {role.name: role for role in decides.roles}
    assert set(roles) == {"object", "value", "other words"}
    for side in ("before", "after", "features_before", "features_after"):
        assert sum(getattr(role, side) for role in roles.values()) == pytest.approx(1)
