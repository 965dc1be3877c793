"""What each step of `dissociate` measured (method.md section 9).

A *claim* is a judgement prompt that names a value and asks for a verdict; a judgement family that
asks for the value itself (two hops, a question in another language) makes no claims. "Own" means:
what the model itself affirms in that family, which is the world's value unless the spec keeps items
the model has wrong (keep = "own"). Every interval is a bootstrap over objects, 95 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from circuit_tracer.experiments.dissociation.spec import Route
from circuit_tracer.graphs.bootstrap import Interval
from circuit_tracer.graphs.files.json_values import stored_as

SetName = Literal["F", "V", "S"]
"""F: influential in fact graphs alone; V: in judgement graphs alone; S: in both."""
SetPart = Literal["early", "late"]
Part = Literal["early", "late", "together"]
"""early: the stores, at the object's position in the first third of the layers. late: the
read-outs, all later layers at every position."""
How = Literal["everything", "attention", "mlp", "features"]
"""What is patched at the object's position, of some layers: all that they write there (the token's
embedding stays), what attention or the MLPs write, or the dictionary's features alone."""
OverlapKind = Literal["fact x judgement", "ceiling", "floor"]
"""What two graphs are of. ceiling: paraphrases of one route; floor: unrelated prompts."""
ClaimRole = Literal["value", "verdict"]
"""A place in a claim: the claimed value's token, or the prompt's end."""
Asked = Literal["completed", "affirmed"]
"""Values that a swap asks about: what is completed in the fact family, or affirmed in the own."""

ROUTES: tuple[Route, ...] = ("fact", "judgement")
SETS: tuple[SetName, ...] = ("F", "V", "S")
SET_PARTS: tuple[SetPart, ...] = ("early", "late")
PARTS: tuple[Part, ...] = ("early", "late", "together")
CLAIM_ROLES: tuple[ClaimRole, ...] = ("value", "verdict")
# The stored key keeps its first spelling.
_PERMUTATIONS = stored_as("n_deals")
CLAIMS = "claims"
"""The family of a `SwapRow` that is all families with claims together."""


@dataclass(frozen=True)
class OverlapRow:
    """Overlap of the graphs of two families, over objects (2. overlap)."""

    kind: OverlapKind
    first: str
    second: str
    """Families; "unrelated" for the floor; both "" for all pairs of a kind together."""
    overlap: Interval
    """Influence-weighted Jaccard of (role, layer, feature), 0..1, pruned graphs."""
    anywhere: Interval
    """The same wherever a feature fires, (layer, feature)."""
    p: float
    """Median permutation p of the pairs."""
    pairs: int


@dataclass(frozen=True)
class OverlapResult:
    """2. How much the graphs have in common."""

    rows: tuple[OverlapRow, ...]
    """The kinds pooled come first, then pairs of families."""
    place: Interval
    """Of fact x judgement between floor (0) and ceiling (1); NaN without both."""

    @property
    def pooled(self) -> dict[OverlapKind, OverlapRow]:
        """All pairs of each kind together."""
        return {row.kind: row for row in self.rows if not row.first}


@dataclass(frozen=True)
class Member:
    """A feature of a set."""

    layer: int
    feature: int
    fact: float
    """Mean signed share of the fact graphs' influence, over the choosing half."""
    judgement: float
    label: str
    """Its card's, "" without one."""


@dataclass(frozen=True)
class FeatureSet:
    """A route's features as chosen on one half of the objects (3. sets)."""

    name: SetName
    part: SetPart
    half: int
    """0 or 1: the half it was chosen on; it is tested on the other."""
    members: tuple[Member, ...]
    covers: float
    """Share of the other half's signed influence, in this part and in the route the set belongs to
    (S: the mean of both), that the members carry: how far the choice holds for other objects."""
    random_influence: float
    """Mean influence of a matched random set over that of this one: 1 is a perfect match."""


@dataclass(frozen=True, kw_only=True)
class RandomControl:
    """What matched random sets come out as where a chosen one is measured."""

    random_median: float
    random_low: float
    """Smallest."""
    random_high: float
    """Largest."""


@dataclass(frozen=True, kw_only=True)
class Cell(RandomControl):
    """One cell of the table of ablations (4. ablation)."""

    set: SetName
    part: Part
    route: Route
    """Whose contrast drops."""
    drop: Interval
    """(before - after) / before of the contrasts' sums: 0 untouched, 1 gone, above 1 turned."""


@dataclass(frozen=True)
class FamilyDrop:
    """A cell of one family alone."""

    set: SetName
    part: Part
    family: str
    drop: Interval


@dataclass(frozen=True, kw_only=True)
class Index:
    """D = (dC|F - dQ|F) + (dQ|V - dC|V); dC: drop of the fact's contrast, dQ: of judgement's."""

    index: Interval
    fact_side: Interval
    """dC|F - dQ|F. A *double* dissociation has both sides above 0."""
    judgement_side: Interval
    """dQ|V - dC|V."""
    shuffled: Interval
    """With permuted labels: mean, and the middle 95 % of the permutations. Must contain 0."""


@dataclass(frozen=True, kw_only=True)
class Dissociation(Index):
    """D of the sets of one part."""

    part: Part
    random: Interval
    """With matched random sets in the place of F and V: median and the middle 95 % of the sets."""


@dataclass(frozen=True)
class AblationResult:
    """4. What goes when a set is ablated, in free mode, on objects it was not chosen on."""

    cells: tuple[Cell, ...]
    families: tuple[FamilyDrop, ...]
    index: tuple[Dissociation, ...]
    n_random: int
    """Matched random sets for each set."""
    n_permutations: int = field(metadata=_PERMUTATIONS)
    """Permutations of the labels."""

    @property
    def drops(self) -> dict[tuple[Part, SetName, Route], Interval]:
        """Those of the cells."""
        return {(one.part, one.set, one.route): one.drop for one in self.cells}

    @property
    def by_part(self) -> dict[Part, Dissociation]:
        """D of each part."""
        return {one.part: one for one in self.index}


@dataclass(frozen=True)
class SiteDrop:
    """What mean-ablating one site at the object's position takes away (4b. stores)."""

    module: Literal["attention", "mlp"]
    layer: int
    fact: Interval
    """Drop of the fact's contrast, as in `Cell`."""
    judgement: Interval
    chosen_as_fact: int
    """How many of the two halves chose it as the site that the fact alone needs."""
    chosen_as_judgement: int


@dataclass(frozen=True, kw_only=True)
class StoreResult(Index):
    """4b. Stores by site: what attention or the MLP of an early layer writes at the object.

    D is that of the sites chosen on the other half of the objects.
    """

    sites: tuple[SiteDrop, ...]
    n_permutations: int = field(metadata=_PERMUTATIONS)


@dataclass(frozen=True)
class HeadRank:
    """How well one head's object x value term tells true claims from false (5. heads)."""

    layer: int
    head: int
    query: ClaimRole
    """Role of the query position; the key is at the object."""
    auc: Interval
    """On held-out objects, sign fixed on the others; 0.5 tells nothing."""
    true_mean: float
    """Mean term of true claims, a share of score."""
    false_mean: float
    chosen: int
    """In how many of the two halves it was among the heads that were edited."""
    flips: Interval
    """Share of right verdicts that flip when this head alone gets the query of the item's opposite
    claim."""


@dataclass(frozen=True, kw_only=True)
class FlipRow(RandomControl):
    """Several heads edited together on the query side; random: as many of the same layers."""

    heads: int
    chosen: Interval
    """Share of right verdicts that flip with the best-ranked heads."""
    moved: Interval
    """Mean change of the verdict's contrast, as a share of it."""


@dataclass(frozen=True)
class HeadsResult:
    """5. Heads whose queries test the value against the object."""

    families: tuple[str, ...]
    """The judgement families it was measured in."""
    best: Interval
    """AUC, on one half of the objects, of the head and query that the other half ranks first."""
    ranks: tuple[HeadRank, ...]
    """Best first, by the mean distance of both halves' AUC from 0.5: the first are the best of all
    heads on these objects, and their AUC a little flattered by that."""
    flips: tuple[FlipRow, ...]
    """By number of heads, rising."""


@dataclass(frozen=True)
class SwapRow:
    """The recalled fact of another object patched in at some layers (6. swap)."""

    layers: str
    """"early", "late", or one layer: "0", "1", ..."""
    how: How
    family: str
    """A judgement family, a fact family, or `CLAIMS`."""
    names: Asked
    """"affirmed" only where that differs from what is completed for some items."""
    follows: Interval
    """Share of items where the answer follows: the donor's fact value is now affirmed and the own
    denied (claims); the donor's value is preferred to the own (values)."""
    own_affirmed: Interval
    """Own value still affirmed (claims); still preferred (values)."""
    donor_affirmed: Interval
    before: float
    """Share that would count as following with nothing patched."""


@dataclass(frozen=True)
class SwapResult:
    """6. Does the answer follow another object's recalled fact?"""

    rows: tuple[SwapRow, ...]
    pairs: int
    """Items with a donor."""

    @property
    def early(self) -> tuple[SwapRow, ...]:
        """With all that the early layers write patched in."""
        return tuple(row for row in self.rows if (row.layers, row.how) == ("early", "everything"))


@dataclass(frozen=True)
class TruthRow:
    """How well a direction reads truth (7. truth direction)."""

    fitted: str
    """Family it was fitted in, on the choosing half; labels are the world's truth."""
    read: str
    """Family it is read in, on held-out objects."""
    role: ClaimRole
    """Position of the residual stream."""
    layer: int
    """After this layer; -1 is the embedding."""
    auc: Interval


@dataclass(frozen=True)
class TruthResult:
    """7. A direction "this claim is true"."""

    rows: tuple[TruthRow, ...]
    best_layer: int
    """After which each family reads itself best on held-out objects, on average over families."""
    best_role: ClaimRole = "value"
    """Where it does so."""

    def by_layer(self, fitted: str, read: str, role: ClaimRole) -> list[TruthRow]:
        """One direction in one family after every layer at which it is known."""
        wanted = fitted, read, role
        rows = [one for one in self.rows if (one.fitted, one.read, one.role) == wanted]
        known = [one for one in rows if math.isfinite(one.auc.value)]
        return sorted(known, key=lambda row: row.layer)
