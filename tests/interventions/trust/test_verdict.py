"""The rules of the verdict, figure by figure, and what the report looks like."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from circuit_tracer.attribution import TraceSettings, trace
from circuit_tracer.graphs.pruning import prune
from circuit_tracer.interventions.trust.gates import Departure
from circuit_tracer.interventions.trust.knock_on import KnockOn, KnockOnEffects
from circuit_tracer.interventions.trust.places import TokenPlace
from circuit_tracer.interventions.trust.report import Measurements, Trust, TrustSettings, trust
from circuit_tracer.interventions.trust.statistics import Figure, Likeness
from circuit_tracer.interventions.trust.verdict import Mark, judge, spans
from circuit_tracer.render import trust as page
from circuit_tracer.render.terminal import as_text
from circuit_tracer.render.trust_figure import trust_svg
from tests.interventions.trust.subjects import TINY_PROMPT, bundled, sprout_dictionary, tiny

LAYERS = tuple((layer, 0.9, 100) for layer in range(5))


@cache
def report() -> Trust:
    """A full report of a bundled prompt."""
    traced = bundled()
    settings = TrustSettings(features=12, random_sets=3, draws=1)
    other = sprout_dictionary("clt")
    return trust(traced.model, traced.dictionary, traced.pruned, settings, other=other)


def likeness(value: float) -> Likeness:
    figure = Figure(value, value - 0.1, value + 0.1)
    return Likeness(figure, figure, figure, 1000, 40)


def found(
    *,
    held: float = 0.9,
    free: float = 0.9,
    sufficient: float = 0.9,
    random: float = 0.3,
    replacement: float = 0.9,
    hidden: float = 0.0,
    layers: Any = LAYERS,
    **more: Any,
) -> Measurements:
    """Measurements in which all is well unless told."""
    like = report().measured
    ways = (
        KnockOn("held", likeness(held), likeness(held)),
        KnockOn("free", likeness(free), likeness(free)),
    )
    curve = like.sufficiency[-1]
    point = curve.at(0.8)
    random_sets = replace(point.random_sufficiency, median=random / 2, high=random)
    point = replace(point, sufficiency=sufficient, random_sufficiency=random_sets)
    scores = replace(
        like.scores, replacement=replacement, unexpanded_share=hidden, constant_share=0.1
    )
    places = replace(like.places, tokens=())
    changed = replace(
        like,
        scores=scores,
        places=places,
        knock_on=KnockOnEffects((1, 2), ways, layers),
        sufficiency=(replace(curve, points=(point,)),),
        agreement=None,
    )
    return replace(changed, **more)


@pytest.mark.parametrize(
    ("figures", "level"),
    [
        ({}, "sound"),
        ({"held": 0.71}, "care"),
        ({"held": 0.49}, "doubtful"),
        ({"free": 0.49}, "care"),
        ({"free": -0.9}, "care"),
        ({"sufficient": 0.79}, "care"),
        ({"sufficient": 0.49}, "doubtful"),
        ({"sufficient": 0.9, "random": 0.95}, "care"),
        ({"sufficient": 0.9, "random": 1.9}, "doubtful"),
        ({"sufficient": float("nan")}, "care"),
        ({"replacement": 0.79}, "care"),
        ({"replacement": 0.49}, "doubtful"),
        ({"replacement": 0.1, "has_errors": False}, "sound"),
        ({"hidden": 0.09}, "sound"),
        ({"hidden": 0.11}, "care"),
        ({"hidden": 0.51}, "doubtful"),
        ({"gates": (Departure(-0.01, 1, 2, 1), Departure(-1.0, 1, 2, 0.9))}, "care"),
        ({"gates": (Departure(-0.01, 1, 2, 1), Departure(-1.0, 1, 2, 0.7))}, "doubtful"),
        ({"knock_on": None}, "sound"),
    ],
)
def test_levels(figures: dict[str, Any], level: str) -> None:
    verdict = judge(found(**figures))
    assert verdict.level == level
    assert verdict.headline.startswith("Do not rely" if level == "doubtful" else "Believe")


def test_a_graph_that_foretells_no_intervention_is_said_to_be_an_account_alone() -> None:
    verdict = judge(found(free=0.2))
    assert "not as a forecast of interventions" in verdict.headline
    assert any("measure with `ablate`" in reason.text for reason in verdict.reasons)


def test_layers_to_believe_are_named() -> None:
    layers = ((0, 0.9, 99), (1, 0.5, 99), (2, 0.8, 99), (3, 0.9, 99), (4, 1.0, 5))
    assert "through layers 0 and 2-3;" in judge(found(layers=layers)).headline
    assert "through" not in judge(found()).headline  # all of them
    assert spans([0, 1, 2, 5]) == "0-2 and 5"


def test_tokens_whose_part_is_errors_are_named() -> None:
    places = replace(
        report().measured.places,
        tokens=(TokenPlace(2, " is", 0.4, 0.3), TokenPlace(1, "a", 0.9, 0.01)),
    )
    texts = [reason.text for reason in judge(found(places=places)).reasons]
    assert 'The part from "is" (token 2) is 40 % error nodes.' in texts
    assert not any('"a"' in text for text in texts)


def test_constants_and_disagreement_are_said() -> None:
    scores = replace(found().scores, constant_share=0.45)
    other = report().measured.agreement
    assert other is not None
    verdict = judge(found(scores=scores, agreement=replace(other, token_overlap=0.5)))
    marks: dict[str, Mark] = {reason.text: reason.mark for reason in verdict.reasons}
    assert any("45 % of the influence ends in constants" in text for text in marks)
    assert any("clt sees 50 %" in text for text in marks)
    assert verdict.level == "sound"  # said, not graded


def test_the_same_seed_gives_the_same_report() -> None:
    traced = bundled()
    again = trust(
        traced.model,
        traced.dictionary,
        traced.pruned,
        report().settings,
        other=sprout_dictionary("clt"),
    )
    first, second = report().to_json(), again.to_json()
    assert first.pop("seconds").keys() == second.pop("seconds").keys()
    assert first == second
    json.dumps(first, allow_nan=False)


def test_the_page_tells_all_and_fits() -> None:
    text = as_text(page.page(report(), width=100), width=100)
    assert max(map(len, text.splitlines())) <= 100
    for words in (
        "Trust: Believe",
        "Is it what the model computes?",
        "attention, norms",
        "nothing",
        "errors in its input",
        "layers on",
        "they alone",
        "Another dictionary: ",
        "bfloat16",
        "drawn with seed 0",
    ):
        assert words in text


def test_the_figure_is_xml_with_all_panels_and_never_markup_of_prompts() -> None:
    hostile = replace(report(), prompt='<script>alert("x")</script> & \x00')
    figure = trust_svg(hostile)
    root = ElementTree.fromstring(figure)
    texts = "".join(root.itertext())
    for words in ("What stays of the target", "Cosine of", "Knock-on effects", "0.72 Anthropic"):
        assert words in texts
    assert not list(root.iter("{http://www.w3.org/2000/svg}script"))
    assert figure == trust_svg(hostile)


@pytest.mark.parametrize(
    "limits", [{"max_feature_nodes": 0}, {"max_feature_nodes": 5}, {"edge_floor": 1e-2}]
)
def test_graphs_with_little_in_them_are_tested_as_far_as_they_go(limits: dict[str, Any]) -> None:
    traced = tiny("llama", kind="clt")
    graph = trace(
        traced.model, traced.dictionary, TINY_PROMPT, TraceSettings(targets=("blue",), **limits)
    ).graph
    settings = TrustSettings(features=8, random_sets=2, draws=1)
    found = trust(traced.model, traced.dictionary, prune(graph), settings)
    assert found.verdict.level in ("care", "doubtful")
    assert any("did not look" in reason.text for reason in found.verdict.reasons)
    assert found.measured.direct is not None
    assert found.measured.direct.holds
    assert ElementTree.fromstring(trust_svg(found)) is not None
    assert found.verdict.headline[:7] in as_text(page.page(found))


def test_a_brief_report_says_that_it_is_brief() -> None:
    traced = bundled()
    brief = trust(
        traced.model, traced.dictionary, traced.pruned, TrustSettings(quick=True, features=10)
    )
    assert brief.measured.sufficiency == ()
    assert as_text(page.page(brief)).startswith("Trust (brief test): ")
