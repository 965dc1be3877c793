"""3. Route sets: the features of the fact, of the judgement and of both, and matched random sets.

On one half of the objects the mean signed share of every feature is taken in the graphs of either
route. A feature that speaks for the answer in one route `TIMES` times as much as in the other
belongs to that route (F or V), any other that speaks for it in both is shared (S). Of each the
strongest are taken, until they carry `CARRIED` of all that its kind carries or are `MOST`.

A random set has a feature of the same layer and part for each, drawn among the `NEAREST` in
influence (both routes together) that are not in the set itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from circuit_tracer.attribution.tracing import Labels
from circuit_tracer.experiments.dissociation.step_results import (
    SET_PARTS,
    SETS,
    FeatureSet,
    Member,
    SetName,
)
from circuit_tracer.experiments.dissociation.steps.tracing import EARLY, LATE, ItemGraphs
from circuit_tracer.experiments.kit.edits import Key

TIMES = 3.0
CARRIED = 0.8
MOST = 60
NEAREST = 8
LEAST = 1e-4
"""Mean shares below this belong nowhere."""
PERMUTED: tuple[SetName, ...] = ("F", "V")
"""The sets that are chosen with permuted labels as well."""


@dataclass(frozen=True)
class Weight:
    """Mean signed shares of one feature."""

    fact: float
    judgement: float

    @property
    def both(self) -> float:
        """Its influence in either route together."""
        return abs(self.fact) + abs(self.judgement)

    @property
    def belongs(self) -> SetName | None:
        """The set it is of; None for a feature that speaks for neither answer."""
        fact, judgement = max(self.fact, 0.0), max(self.judgement, 0.0)
        if max(fact, judgement) < LEAST:
            return None
        if fact >= TIMES * judgement:
            return "F"
        return "V" if judgement >= TIMES * fact else "S"

    def carried(self, name: SetName) -> float:
        """What it brings to a set: its share in the set's route, in the mean route for S."""
        values = {"F": self.fact, "V": self.judgement, "S": (self.fact + self.judgement) / 2}
        return max(values[name], 0.0)


Weights = dict[Key, Weight]
"""(layer, feature) -> its mean shares, of one part."""


def mean_weights(
    graphs: Sequence[ItemGraphs], part: int, *, exchanged: frozenset[int] = frozenset()
) -> Weights:
    """Means over objects; those `exchanged` count their fact graphs as judgement and reverse."""
    sums: dict[Key, list[float]] = {}
    for one in graphs:
        columns = (one.fact, one.judgement)
        fact, judgement = columns[::-1] if one.item in exchanged else columns
        for at, of in enumerate(one.part):
            if of == part:
                entry = sums.setdefault((one.layer[at], one.feature[at]), [0.0, 0.0])
                entry[0] += fact[at]
                entry[1] += judgement[at]
    n = max(1, len(graphs))
    return {key: Weight(fact / n, judgement / n) for key, (fact, judgement) in sums.items()}


def choose(weights: Weights, name: SetName) -> tuple[Key, ...]:
    """The members of one set, strongest first."""
    own = [key for key, weight in weights.items() if weight.belongs == name]
    own.sort(key=lambda key: (-weights[key].carried(name), key))
    whole = sum(weights[key].carried(name) for key in own)
    taken, carried = [], 0.0
    for key in own[:MOST]:
        if carried >= CARRIED * whole:
            break
        taken.append(key)
        carried += weights[key].carried(name)
    return tuple(taken)


def matched(
    weights: Weights, members: Sequence[Key], generator: np.random.Generator
) -> tuple[Key, ...]:
    """A random set: a feature of the same layer and about the same influence for each member."""
    taken = set(members)
    found = []
    for key in members:
        size = np.log(weights[key].both)
        pool = [
            one for one in weights if one[0] == key[0] and one not in taken and weights[one].both
        ]
        pool.sort(key=lambda one: (abs(np.log(weights[one].both) - size), one))
        if pool:
            drawn = pool[int(generator.integers(min(NEAREST, len(pool))))]
            taken.add(drawn)
            found.append(drawn)
    return tuple(found)


Parts = tuple[tuple[Key, ...], tuple[Key, ...]]
"""Early and late members of a set."""


@dataclass(frozen=True)
class HalfSets:
    """The sets chosen on one half of the objects."""

    chosen: Mapping[SetName, Parts]
    random: Mapping[SetName, tuple[Parts, ...]]
    """For each set as many random ones as were asked for."""
    permuted: tuple[Mapping[SetName, Parts], ...]
    """F and V chosen with permuted labels, one for each permutation."""


def choose_half(
    graphs: Sequence[ItemGraphs], *, n_random: int, n_permutations: int, seed: int
) -> HalfSets:
    """All sets from the graphs of one half of the objects.

    A permutation of the labels exchanges fact and judgement for half of these objects.
    """
    generator = np.random.default_rng(seed)
    weights = [mean_weights(graphs, part) for part in (EARLY, LATE)]
    chosen = {name: _both(weights, name) for name in SETS}

    def random(name: SetName) -> Parts:
        early, late = (matched(*one, generator) for one in zip(weights, chosen[name], strict=True))
        return early, late

    sets_at_random = {name: tuple(random(name) for _ in range(n_random)) for name in SETS}
    permuted = []
    items = np.array([one.item for one in graphs])
    for _ in range(n_permutations):
        odd = len(items) % 2 * int(generator.integers(2))
        exchanged = frozenset(generator.permutation(items)[: len(items) // 2 + odd].tolist())
        shuffled = [mean_weights(graphs, part, exchanged=exchanged) for part in (EARLY, LATE)]
        permuted.append({name: _both(shuffled, name) for name in PERMUTED})
    return HalfSets(chosen, sets_at_random, tuple(permuted))


def _both(weights: Sequence[Weights], name: SetName) -> Parts:
    return choose(weights[EARLY], name), choose(weights[LATE], name)


def described(
    sets: HalfSets,
    half: int,
    chosen_on: Sequence[ItemGraphs],
    tested_on: Sequence[ItemGraphs],
    labels: Labels | None,
) -> list[FeatureSet]:
    """The chosen sets with what is known of their members."""
    found = []
    for part, part_name in enumerate(SET_PARTS):
        weights, theirs = mean_weights(chosen_on, part), mean_weights(tested_on, part)
        for name in SETS:
            keys = sets.chosen[name][part]
            texts = labels(list(keys)) if labels is not None and keys else [""] * len(keys)
            members = tuple(
                Member(*key, weights[key].fact, weights[key].judgement, text)
                for key, text in zip(keys, texts, strict=True)
            )
            whole = sum(weight.carried(name) for weight in theirs.values())
            carried = sum(theirs[key].carried(name) for key in keys if key in theirs)
            size, *random = (
                sum(weights[key].both for key in one)
                for one in (keys, *(parts[part] for parts in sets.random[name]))
            )
            found.append(
                FeatureSet(
                    name=name,
                    part=part_name,
                    half=half,
                    members=members,
                    covers=carried / whole if whole else float("nan"),
                    random_influence=float(np.mean(random)) / size
                    if size and random
                    else float("nan"),
                )
            )
    return found
