"""Stores by site: D by hand on a made-up table, and mean ablation against torch hooks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from circuit_tracer.experiments.dissociation.spec import read_spec
from circuit_tracer.experiments.dissociation.steps.behaviour import answers
from circuit_tracer.experiments.dissociation.steps.stores import (
    MeanAblations,
    ablate_means,
    store_result,
)
from circuit_tracer.experiments.dissociation.study import Settings, Study
from circuit_tracer.models import open_model
from circuit_tracer.transcoders.opening import open_transcoders
from tests.experiments.dissociation.small import answered, bananas

LEFT = {
    "one store": ((0.1, 0.1), (1.0, 1.0), (1.0, 1.0), (1.0, 1.0)),
    "two stores": ((0.2, 0.9), (0.8, 0.3), (1.0, 1.0), (1.0, 1.0)),
}
"""What is left of fact and judgement when a site is mean-ablated."""


def made_up(study: Study, left: tuple[tuple[float, float], ...]) -> MeanAblations:
    """Contrasts of two sizes; every object loses the same share."""
    families = study.spec.measured
    items = tuple(item.index for item in study.items)
    before = np.array([4.0 + i % 2 for i in range(len(items))])
    after = np.array(
        [np.outer(before, [of[family.route != "fact"] for of in left]) for family in families]
    )
    return MeanAblations(
        families=tuple(family.name for family in families),
        items=items,
        modules=("attention", "mlp", "attention", "mlp"),
        layers=(0, 0, 1, 1),
        before=np.array([before] * len(families)),
        own=after,
        other=after,
    )


def test_d_by_hand() -> None:
    study = bananas()
    study = Study(study.model, study.dictionary, study.spec, Settings(resamples=50))
    found = store_result(study, made_up(study, LEFT["two stores"]))
    assert found is not None
    # F: attention 0 (dC .8, dQ .1); V: mlp 0 (dC .2, dQ .7).
    assert found.fact_side.value == pytest.approx(0.8 - 0.1)
    assert found.judgement_side.value == pytest.approx(0.7 - 0.2)
    assert found.index.value == pytest.approx(1.2)
    assert [site.chosen_as_fact for site in found.sites] == [2, 0, 0, 0]
    assert [site.chosen_as_judgement for site in found.sites] == [0, 2, 0, 0]
    assert found.shuffled.low <= 0 <= found.shuffled.high
    assert abs(found.shuffled.value) < 0.3  # 200 permutations of +-1.2


def test_one_store_gives_nothing() -> None:
    study = bananas()
    found = store_result(study, made_up(study, LEFT["one store"]))
    assert found is not None
    assert found.index.value == pytest.approx(0, abs=1e-12)
    assert found.sites[0].fact.value == pytest.approx(0.9)


def test_sites_are_chosen_on_the_other_half() -> None:
    """Half 0 loses the fact by one site, half 1 by another: each is tested with the wrong one."""
    study = bananas()
    whole = made_up(study, LEFT["one store"])
    halves = np.array([study.half[i] for i in whole.items])
    own, before = whole.own.copy(), whole.before
    fact = [study.spec.measured[i].route == "fact" for i in range(len(before))]
    own[:] = before[..., None]
    for half, site in ((0, 2), (1, 3)):
        for f in np.flatnonzero(fact):
            own[f, halves == half, site] *= 0.5
    found = store_result(study, replace(whole, own=own, other=own))
    assert found is not None
    assert found.fact_side.value == pytest.approx(0)
    assert found.sites[2].chosen_as_fact == found.sites[3].chosen_as_fact == 1


def test_mean_ablation_is_a_hook_that_puts_in_the_mean() -> None:
    study, given = bananas(8), answered(8)
    found = ablate_means(study, given)
    family = study.facts[0]
    asks = [study.ask(family, study.items[i]) for i in given.kept]
    halves = [study.half[i] for i in given.kept]
    site = found.modules.index("mlp")
    layer = found.layers[site]
    module = study.model.module.model.layers[layer].mlp
    written: list[torch.Tensor] = []

    def keep(_: object, __: object, out: torch.Tensor) -> None:
        written.append(out[0].clone())

    handle = module.register_forward_hook(keep)
    with torch.no_grad():
        for ask in asks:
            study.model.module(torch.tensor([ask.ids]))
    handle.remove()
    at_objects = torch.stack(
        [one[ask.roles["object"]] for one, ask in zip(written, asks, strict=True)]
    )
    for kind, table in ((0, found.own), (1, found.other)):
        half = halves[0] if kind == 0 else 1 - halves[0]
        mean = at_objects[[i for i, one in enumerate(halves) if one == half]].mean(0)

        def put(
            _: object, __: object, out: torch.Tensor, mean: torch.Tensor = mean
        ) -> torch.Tensor:
            out = out.clone()
            out[0, asks[0].roles["object"]] = mean
            return out

        handle = module.register_forward_hook(put)
        with torch.no_grad():
            logits = study.model.module(torch.tensor([asks[0].ids])).logits[0, -1]
        handle.remove()
        expected = float(logits[asks[0].plus] - logits[asks[0].minus])
        assert table[0][0][site] == pytest.approx(expected, abs=1e-4)


def test_the_second_store_is_a_site_of_its_own() -> None:
    """The positive control: on sprout-two-pages the questions have a site that facts do without."""
    spec = read_spec(Path(__file__).parents[3] / "prompts/two-pages.toml")
    found = {}
    for name in ("sprout", "sprout-two-pages"):
        model = open_model(name)
        study = Study(model, open_transcoders("plt", model=model), spec, Settings(resamples=500))
        given = answers(study)
        result = store_result(study, ablate_means(study, given))
        assert result is not None
        found[name] = result
    assert found["sprout"].index.high < found["sprout-two-pages"].index.low
    pages = {(s.module, s.layer): s for s in found["sprout-two-pages"].sites}
    assert pages["mlp", 0].chosen_as_judgement == 2
