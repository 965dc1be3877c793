"""The rules of the verdict, figure by figure, and what the report looks like."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from circuit_tracer.attribution import TraceSettings, trace
from circuit_tracer.experiments.kit.statistics import Likeness
from circuit_tracer.experiments.kit.study import Estimate
from circuit_tracer.experiments.trust.report import terminal as page
from circuit_tracer.experiments.trust.report.figure import trust_svg
from circuit_tracer.experiments.trust.results import (
    Departure,
    IndirectEffects,
    IndirectWay,
    LayerSpearman,
    Measurements,
    Ranking,
    RankingWay,
    TokenPlace,
    Trust,
)
from circuit_tracer.experiments.trust.results_file import as_stored
from circuit_tracer.experiments.trust.run import trust
from circuit_tracer.experiments.trust.spec import TrustSettings
from circuit_tracer.experiments.trust.verdict import judge, spans
from circuit_tracer.graphs.bootstrap import Interval
from circuit_tracer.graphs.pruning import prune
from circuit_tracer.render.terminal import as_text
from circuit_tracer.render.trust_panel import Mark
from tests.experiments.trust.subjects import TINY_PROMPT, bundled, sprout_dictionary, tiny

LAYERS = tuple(LayerSpearman(layer, 0.9, 100) for layer in range(5))


@cache
def report() -> Trust:
    """A full report of a bundled prompt."""
    traced = bundled()
    settings = TrustSettings(features=12, random_sets=3, draws=1)
    other = sprout_dictionary("clt")
    return trust(traced.model, traced.dictionary, traced.pruned, settings, other=other)


def likeness(value: float) -> Likeness:
    figure = Interval(value, value - 0.1, value + 0.1)
    return Likeness(figure, figure, figure, 1000, 40)


def found(
    *,
    frozen: float = 0.9,
    free: float = 0.9,
    sufficient: float = 0.9,
    random: float = 0.3,
    replacement: float = 0.9,
    hidden: float = 0.0,
    layers: Any = LAYERS,
    responding: float = 0.6,
    uncut: float | None = None,
    ranked: float = 0.8,
    whole: bool = False,
    **more: Any,
) -> Measurements:
    """Measurements in which all is well unless given."""
    like = report().measured
    uncut = frozen if uncut is None else uncut
    ways = (
        IndirectWay("attention, norms", likeness(frozen), likeness(frozen), likeness(uncut)),
        IndirectWay("attention", likeness(free), likeness(free), likeness(responding)),
        IndirectWay("nothing", likeness(free), likeness(free), likeness(responding)),
    )
    figure = likeness(ranked).spearman
    ranked_ways = (
        RankingWay("attention", figure, figure, figure, figure, figure, figure),
        RankingWay("nothing", figure, figure, figure, figure, figure, figure),
    )
    curve = like.sufficiency[-1]
    point = curve.at(0.8)
    random_sets = replace(point.random_sufficiency, median=random / 2, high=random)
    kept = point.of if whole else point.features
    point = replace(point, sufficiency=sufficient, random_sufficiency=random_sets, features=kept)
    scores = replace(
        like.scores, replacement=replacement, unexpanded_share=hidden, constant_share=0.1
    )
    places = replace(like.places, tokens=())
    changed = replace(
        like,
        scores=scores,
        places=places,
        indirect=IndirectEffects((1, 2), ways, layers),
        ranking=Ranking(100, 90, ranked_ways),
        sufficiency=(replace(curve, points=(point,)),),
        agreement=None,
    )
    return replace(changed, **more)


@pytest.mark.parametrize(
    ("figures", "level"),
    [
        ({}, "sound"),
        ({"frozen": 0.71}, "care"),
        ({"frozen": 0.49}, "doubtful"),
        ({"free": 0.49}, "care"),
        ({"free": -0.9}, "care"),
        ({"ranked": 0.71}, "care"),
        ({"ranked": -0.5}, "care"),
        ({"ranking": None}, "sound"),
        ({"sufficient": 0.79}, "care"),
        ({"sufficient": 0.49}, "doubtful"),
        ({"sufficient": 0.9, "random": 0.95}, "care"),
        ({"sufficient": 0.9, "random": 1.9}, "doubtful"),
        ({"sufficient": 1.0, "random": 2.0, "whole": True}, "sound"),  # no other set is as large
        ({"sufficient": float("nan")}, "care"),
        ({"replacement": 0.79}, "care"),
        ({"replacement": 0.49}, "doubtful"),
        ({"replacement": 0.1, "has_errors": False}, "sound"),
        ({"hidden": 0.09}, "sound"),
        ({"hidden": 0.11}, "care"),
        ({"hidden": 0.51}, "doubtful"),
        ({"gates": (Departure(-0.01, 1, 2, 1), Departure(-1.0, 1, 2, 0.9))}, "care"),
        ({"gates": (Departure(-0.01, 1, 2, 1), Departure(-1.0, 1, 2, 0.7))}, "doubtful"),
        ({"indirect": None}, "sound"),
    ],
)
def test_levels(figures: dict[str, Any], level: str) -> None:
    verdict = judge(found(**figures))
    assert verdict.level == level
    assert verdict.headline.startswith("Do not rely" if level == "doubtful" else "Believe")


def test_a_graph_that_predicts_no_intervention_is_called_an_account_alone() -> None:
    verdict = judge(found(free=0.2))
    assert "not as a prediction of interventions" in verdict.headline
    assert any("measure with `ablate`" in reason.text for reason in verdict.reasons)


@pytest.mark.parametrize(
    ("responding", "words"),
    [
        (
            0.75,
            "It is norms, not features: where they respond in the prediction, too, it reaches",
        ),
        (0.60, "A prediction in which norms respond, too, comes closer (0.60)"),
        (0.30, "A prediction in which norms respond, too, does little better (0.30)"),
    ],
)
def test_the_verdict_says_why_interventions_are_not_predicted(
    responding: float, words: str
) -> None:
    verdict = judge(found(free=0.2, responding=responding))
    assert any(words in reason.text for reason in verdict.reasons)


def test_edges_that_were_not_kept_are_blamed_where_they_matter() -> None:
    said, unsaid = (
        [reason.text for reason in judge(found(frozen=0.2, uncut=uncut)).reasons]
        for uncut in (0.6, 0.22)
    )
    assert any("too small to keep it is 0.60: trace with a lower" in text for text in said)
    assert not any("too small to keep it is" in text for text in unsaid)


def test_layers_to_believe_are_named() -> None:
    given = ((0, 0.9, 99), (1, 0.5, 99), (2, 0.8, 99), (3, 0.9, 99), (4, 1.0, 5))
    layers = tuple(LayerSpearman(*one) for one in given)
    assert "through layers 0 and 2-3;" in judge(found(layers=layers)).headline
    assert "through" not in judge(found()).headline  # all of them
    assert spans([0, 1, 2, 5]) == "0-2 and 5"


def test_tokens_whose_part_is_errors_are_named() -> None:
    places = replace(
        report().measured.places,
        tokens=(TokenPlace(2, " is", 0.4, 0.3), TokenPlace(1, "a", 0.9, 0.01)),
    )
    texts = [reason.text for reason in judge(found(places=places)).reasons]
    assert 'The part from "␣is" (token 2) is 40 % error nodes.' in texts
    assert not any('"a"' in text for text in texts)


def test_constants_and_disagreement_are_said() -> None:
    scores = replace(found().scores, constant_share=0.45)
    other = report().measured.agreement
    assert other is not None
    verdict = judge(found(scores=scores, agreement=replace(other, token_overlap=0.5)))
    marks: dict[str, Mark] = {reason.text: reason.mark for reason in verdict.reasons}
    assert any("45 % of the influence ends in constants" in text for text in marks)
    assert any("clt tells another story: 50 %" in text for text in marks)
    assert verdict.level == "sound"  # said, not graded


@pytest.mark.parametrize(
    ("overlap", "cosine", "chance", "mark", "words"),
    [
        (0.9, 0.5, 0.2, "+", "same story: 90 % of the influence"),
        (0.9, 0.25, 0.2, "~", "no more alike than chance (cosine 0.25, by chance 0.20)"),
        (0.6, 0.9, 0.2, "~", "another story: 60 %"),
        (0.9, float("nan"), float("nan"), "+", "same story"),
    ],
)
def test_another_dictionary_must_agree_on_tokens_and_on_features(
    overlap: float, cosine: float, chance: float, mark: Mark, words: str
) -> None:
    other = report().measured.agreement
    assert other is not None
    other = replace(
        other, token_overlap=overlap, decoder_cosine=cosine, decoder_cosine_by_chance=chance
    )
    (said,) = [one for one in judge(found(agreement=other)).reasons if "dictionary" in one.text]
    assert said.mark == mark
    assert words in said.text


def test_the_same_seed_gives_the_same_report() -> None:
    traced = bundled()
    again = trust(
        traced.model,
        traced.dictionary,
        traced.pruned,
        report().settings,
        other=sprout_dictionary("clt"),
    )
    first, second = as_stored(report()), as_stored(again)
    assert first.pop("seconds").keys() == second.pop("seconds").keys()
    assert first == second
    json.dumps(first, allow_nan=False)


def test_a_stored_report_keeps_the_spelling_of_earlier_versions() -> None:
    measured = as_stored(report())["measured"]
    effects, ranked = measured["knock_on"], measured["ranking"]
    assert [way["held"] for way in effects["by_held"]] == ["held", "constrained", "free"]
    assert [way["held"] for way in ranked["by_held"]] == ["constrained", "free"]
    assert {"everything", "targets", "answering", "on_its_own"} < effects["by_held"][0].keys()
    assert "signs" in effects["by_held"][0]["everything"]
    assert "signed_answering" in ranked["by_held"][0]
    assert [curve["held"] for curve in measured["sufficiency"]] == ["constrained", "free"]
    assert "knock-on effects" in as_stored(report())["seconds"]


def test_the_page_tells_all_and_fits() -> None:
    text = as_text(page.page(report(), width=100), width=100)
    assert max(map(len, text.splitlines())) <= 100
    for words in (
        "Trust: Believe",
        "Is it what the model computes?",
        "attention, norms",
        "nothing",
        "Influence against ablation",
        "attention *",
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
    for words in (
        "What stays of the target",
        "Cosine of",
        "Rank correlations",
        "Influence against",
    ):
        assert words in texts
    assert not list(root.iter("{http://www.w3.org/2000/svg}script"))
    assert figure == trust_svg(hostile)


def test_the_figure_shows_effects_beyond_nothing_and_beyond_all() -> None:
    """Each necessity at a height of its own, by its value, between the first and the last tick."""
    given = (-0.34, -0.25, 0.0, 1.0, 1.6)
    measured = report().measured
    free = measured.free_sufficiency
    assert free is not None
    points = tuple(
        replace(point, necessity=value) for point, value in zip(free.points, given, strict=False)
    )
    changed = replace(measured, sufficiency=(replace(free, points=points),))
    root = ElementTree.fromstring(trust_svg(replace(report(), measured=changed)))
    svg = "{http://www.w3.org/2000/svg}"
    height = {
        words.partition("threshold ")[2].partition(":")[0].rstrip("*"): float(dot.attrib["cy"])
        for dot in root.iter(f"{svg}circle")
        if (words := dot.findtext(f"{svg}title", "")).startswith("without them")
    }
    tick = {
        float(one.text[:-2].replace("−", "-")) / 100: float(one.attrib["y"]) - 3.5
        for one in root.iter(f"{svg}text")
        if one.text is not None and one.text.endswith(" %") and float(one.attrib["x"]) < 60
    }
    levels = [
        float(one.attrib["y1"])
        for one in root.iter(f"{svg}line")
        if one.attrib["y1"] == one.attrib["y2"] and float(one.attrib["x1"]) < 60
    ]
    scale = tick[0.0] - tick[1.0]
    for point in points:
        expected = tick[0.0] - scale * point.necessity
        assert height[f"{point.threshold:g}"] == pytest.approx(expected, abs=0.1)
    assert min(levels) <= min(height.values())
    assert max(height.values()) <= max(levels)


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
    traced, settings = bundled(), TrustSettings(quick=True, features=10)
    said: list[Estimate] = []
    brief = trust(traced.model, traced.dictionary, traced.pruned, settings, on_estimate=said.append)
    assert [one.rows > 0 and one.seconds > 0 for one in said] == [True]
    assert brief.measured.sufficiency == ()
    assert as_text(page.page(brief)).startswith("Trust (brief test): ")
