"""Drops of both routes' contrasts and the dissociation index D that they give.

The drop of a route's contrast is 1 - sum after / sum before, sums over objects, each family of the
route counted alike: 0 is untouched, 1 gone. With dC the drop of the fact's contrast and dQ that of
the judgement's, D = (dC|F - dQ|F) + (dQ|V - dC|V): 2 for two routes apart, 0 for one.

Shapes: f families, n objects, R resamples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from circuit_tracer.experiments.dissociation.spec import Route
from circuit_tracer.experiments.dissociation.step_results import ROUTES
from circuit_tracer.experiments.dissociation.study import Study
from circuit_tracer.experiments.kit.stages import Row
from circuit_tracer.experiments.kit.statistics import drops
from circuit_tracer.graphs.bootstrap import Bootstrap, Interval, interval, middle
from circuit_tracer.graphs.graph import Floats


@dataclass(frozen=True)
class Sides:
    """Both sides of D, for the sample and all resamples."""

    fact: Floats
    """(1 + R,) dC|F - dQ|F."""
    judgement: Floats
    """(1 + R,) dQ|V - dC|V."""

    @property
    def index(self) -> Floats:
        """(1 + R,) D."""
        return self.fact + self.judgement

    def figures(self) -> dict[str, Interval]:
        """D and its sides as an `Index` has them."""
        sides = {"fact_side": interval(self.fact), "judgement_side": interval(self.judgement)}
        return {"index": interval(self.index), **sides}


def drops_by_route(
    study: Study, families: Sequence[str], before: Floats, after: Floats, draws: Bootstrap
) -> dict[Route, Floats]:
    """(1 + R, ...) drops of either route, from (f, n) contrasts before and (f, n, ...) after."""
    rows = {
        route: [families.index(one.name) for one in study.spec.of_route(route)] for route in ROUTES
    }
    return {
        route: np.mean([drops(draws.counts, before[row], after[row]) for row in of_route], axis=0)
        for route, of_route in rows.items()
    }


def contrast_rows(
    families: Sequence[str], items: Sequence[int], sets: Sequence[Row], table: Floats
) -> Iterator[tuple[int, Row]]:
    """Contrasts (f, n, sets) as measurements, each with its item's number; `sets` say what was
    done."""
    for (family, item, of), value in np.ndenumerate(table):
        yield items[item], {"family": families[family], **sets[of], "value": value}


def permuted(values: Sequence[float]) -> Interval:
    """D with permuted labels: its mean, and the middle 95 % of the permutations."""
    return Interval(float(np.mean(values)), *middle(np.array(values)))


def random_control(values: Sequence[float]) -> dict[str, float]:
    """What random sets came out as, as a `RandomControl` has it."""
    ends = {"random_low": float(min(values)), "random_high": float(max(values))}
    return {"random_median": float(np.median(values)), **ends}
