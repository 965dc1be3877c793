"""The verdict of `diff` on features, rule by rule, on results made by hand."""

from __future__ import annotations

from dataclasses import replace
from math import isnan, nan
from typing import Any

import pytest

from circuit_tracer.experiments.diff.controls import OUTSIDE, ControlsResult, Tens
from circuit_tracer.experiments.diff.directions import Way
from circuit_tracer.experiments.diff.doses import DosesResult
from circuit_tracer.experiments.diff.features import FeatureRow, FeaturesResult
from circuit_tracer.experiments.diff.report import DiffReport
from circuit_tracer.experiments.diff.testing import EditRow
from circuit_tracer.experiments.diff.verdict import judge_persona
from circuit_tracer.experiments.kit.results import Verdict
from circuit_tracer.graphs.bootstrap import UNKNOWN, Interval
from circuit_tracer.graphs.graph import Identity


def about(value: float, width: float = 0.05) -> Interval:
    return Interval(value, value - width, value + width)


def feature(**changes: Any) -> FeatureRow:
    """One that is silent in the base's prompts and active in another context."""
    given = FeatureRow(
        layer=1,
        feature=7,
        base=0.0,
        tuned=2.0,
        by_change=1,
        by_gradient=1,
        by_screening=1,
        effect=0.3,
        chosen=True,
        by_contrast=1,
        toward=6.0,
        away=0.0,
        base_range=6.0,
        tells=0.6,
    )
    return replace(given, **changes)


def edit(name: str, way: Way, share: Interval) -> EditRow:
    return EditRow(
        name, way, ((1, 7),), 2.0, about(0.8), share, (), 1.0, about(0.03, 0.01), kept=1.0
    )


def report(
    *,
    restored: float = 0.8,
    over: float = 0.4,
    width: float = 0.1,
    induced: float = 0.6,
    patched: float = 0.1,
    **changes: Any,
) -> DiffReport:
    """What step 5 and 7 found; a persona unless something is changed."""
    nothing = Identity("m", "memory", "", "llama")
    tested = DosesResult(
        prompts=20,
        base=about(1.0),
        tuned=about(0.2),
        edits=(
            edit("ten by screening", "restore", UNKNOWN if isnan(restored) else about(restored)),
            edit("one that induces most", "induce", about(induced)),
        ),
        doses=(),
        patched=about(0.3),
        patched_share=about(patched),
    )
    drawn = (edit("random ten 1", "restore", about(0.05)),)
    tens = [Tens(kind, drawn, about(over, width)) for kind in ("random", "matched")]
    controls = ControlsResult((), (*tens, Tens(OUTSIDE, drawn, about(-1.0))))
    features = FeaturesResult("sae", (1,), 100, 2.0, (feature(**changes),), in_contrast=1)
    return DiffReport(
        name="n",
        question="q",
        base=nothing,
        tuned=nothing,
        dictionaries=(),
        n_layers=2,
        main="yes_no",
        topics={},
        loss_limit=0.05,
        seed=0,
        quick=False,
        resamples=100,
        verdict=Verdict("", ()),
        notes=(),
        features=features,
        doses=tested,
        controls=controls,
    )


def test_without_other_features_nothing_is_above_controls() -> None:
    """Of a dictionary so small that all its active features were chosen."""
    found = replace(report(), controls=ControlsResult((), ()))
    headline, findings = judge_persona(found)
    assert headline == "no persona was found among the features"
    (controls,) = (one for one in findings if one.name == "controls")
    assert (controls.holds, controls.sentence) == (
        "unclear",
        "the dictionary has no other active features to compare them with",
    )


@pytest.mark.parametrize(
    ("given", "headline"),
    [
        (report(), "a persona that the base knew carries it: L1/7"),
        (report(restored=0.3), "no persona was found among the features"),
        (report(over=0.05), "no persona was found among the features"),
        (report(over=-0.2), "no persona was found among the features"),
        (report(induced=0.46), "features restore the answers, but no persona was shown"),
        (report(base_range=0.5), "features restore the answers, but no persona was shown"),
        (report(tells=0.99), "no persona: L1/7 only says which of the two models this is"),
        (
            report(restored=0.3, patched=0.7),
            "no persona: the features report the answer and do not make it (read-outs)",
        ),
        (
            report(restored=nan),
            "no persona: test topics lost no answers that could be restored",
        ),
    ],
)
def test_each_rule_has_its_headline(given: DiffReport, headline: str) -> None:
    assert judge_persona(given)[0] == headline


def test_a_latent_that_is_constant_in_each_model_is_never_a_persona() -> None:
    """However well it restores and induces, and though another feature leads."""
    given = report(restored=1.0, over=0.9, induced=1.0)
    assert given.features is not None
    rows = (*given.features.rows, feature(feature=9, tells=1.0, by_screening=2, effect=0.1))
    headline, findings = judge_persona(replace(given, features=replace(given.features, rows=rows)))
    assert "persona that the base knew" not in headline
    assert "L1/9" in headline
    assert any(one.name == "constant" for one in findings)
    unchosen = (*given.features.rows, feature(feature=9, tells=1.0, chosen=False))
    headline, _ = judge_persona(replace(given, features=replace(given.features, rows=unchosen)))
    assert "persona that the base knew" in headline


def test_findings_say_what_was_missing() -> None:
    _, findings = judge_persona(report(over=0.05, induced=0.1))
    assert {one.name: one.holds for one in findings} == {
        "restored": "yes",
        "controls": "unclear",
        "induced": "no",
        "in the base": "yes",
    }
    assert judge_persona(replace(report(), controls=None)) == ("", ())
