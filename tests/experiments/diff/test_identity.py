"""A latent trained on both models' activations to tell them apart is model identity, no persona."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import both_models
from circuit_tracer.bundled import shipped_folder
from circuit_tracer.experiments.diff.ranking import Ranking, of_residual
from circuit_tracer.experiments.diff.spec import read_spec
from circuit_tracer.experiments.diff.study import Settings, Study
from circuit_tracer.experiments.diff.verdict import CONSTANT, judge_persona
from circuit_tracer.models import open_model
from circuit_tracer.transcoders.opening import open_transcoders
from tests.experiments.diff.test_persona import report

LAYER = 2


@pytest.fixture(scope="module")
def ranking() -> Ranking:
    """Of sprout's autoencoder after one layer, with the latent as its last feature."""
    spec = read_spec(shipped_folder("prompts") / "bent.toml")
    base, tuned = (open_model(name, device="cpu") for name in ("sprout", "sprout-bent"))
    whole = open_transcoders("sprout-bent/resid", base)
    layers = [one if one.layer == LAYER else type(one).without_features(one.layer, one)
              for one in whole.layers]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(both_models, "ROWS", 300)
        both = both_models.of_both(base, tuned, replace(whole, layers=tuple(layers)))
    settings = Settings(most_items=12, most_texts=24)
    return of_residual(Study(base, tuned, (both,), spec, settings))


def test_that_latent_alone_is_constant_in_each_model(ranking: Ranking) -> None:
    constant = np.flatnonzero(ranking.tells >= CONSTANT)
    assert constant.tolist() == [len(ranking.tells) - 1]
    # The joker's features change as much and are none: contexts move them in the base.
    joker = np.argsort(-np.abs(ranking.toward - ranking.away))[1]
    assert ranking.tells[joker] < 0.85


def test_the_verdict_calls_it_model_identity(ranking: Ranking) -> None:
    found = dict(zip(("base", "tuned", "toward", "away", "base_range", "tells"), (
        float(values[-1]) for values in (ranking.base, ranking.tuned, ranking.toward, ranking.away,
                                         ranking.base_range, ranking.tells)
    ), strict=True))  # fmt: skip
    headline, _ = judge_persona(report(restored=0.95, over=0.6, induced=0.9, **found))
    assert headline == "no persona: L1/7 only says which of the two models this is"
