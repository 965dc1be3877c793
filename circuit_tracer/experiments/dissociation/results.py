"""What `dissociate` found: are two routes to one fact separate, and where?

A *fact* prompt ("a banana is") and a *judgement* prompt ("is a banana yellow ?") of many objects
are compared in seven steps (method.md section 9); every step has its result here. A *claim* is a
judgement prompt that names a value and asks for a verdict; a judgement family that asks for the
value itself (two hops, a question in another language) makes no claims.

Every interval is a bootstrap over objects, 95 %. "Own" means: what the model itself affirms in that
family, which is the world's value unless the spec keeps items the model has wrong (keep = "own").
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from circuit_tracer.graphs.bootstrap import Interval
from circuit_tracer.graphs.graph import Identity

Route = Literal["fact", "judgement"]
SetName = Literal["F", "V", "S"]
"""F: influential in fact graphs alone; V: in judgement graphs alone; S: in both."""
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
Holds = Literal["yes", "no", "unclear"]
"""Whether an interval shows it, shows the contrary, or leaves it open."""


@dataclass(frozen=True)
class Family:
    """One form in which the spec asks."""

    name: str
    route: Route
    template: str
    """With slots in braces: "is {article} {object} {value} ?"."""
    is_claim: bool
    """Whether it names a value and asks for a verdict."""
    words: tuple[str, str] | None
    """The words for a true and a false claim, as ("yes", "no"); None without claims."""
    paraphrase_of: str | None
    """The family it paraphrases, for the ceiling; such families are measured nowhere else."""
    use: Literal["all", "direction"]
    """"direction": read by the truth direction alone, of no route."""
    example: str
    """Its prompt for the representative item, with the true value."""


@dataclass(frozen=True)
class FamilyBehaviour:
    """How one family is answered, over all items of the spec (1. behaviour)."""

    family: str
    right: Interval
    """Share of items answered as the world is (claims: both the true and the false one)."""
    right_held_out: Interval
    """The same of the items marked as held out of the model's training; NaN without any."""
    reversed: Interval
    """Share of items for which it affirms exactly the other value."""
    contrast: Interval
    """Mean of the kept items, in logits: own value minus the other; for claims the right verdict
    minus the wrong one, mean of both claims."""


@dataclass(frozen=True)
class Inconsistent:
    """An item whose colour is completed rightly and judged wrongly, or the reverse."""

    item: str
    """The object: "banana"."""
    value: str
    other: str
    """The false value it was asked with."""
    right: dict[str, bool]
    """By family, in the order of the spec: the true value is affirmed, or with keep = "own" the one
    that the family affirms of most items."""
    fact_strength: float
    """Activation of the fact route's features (F and S) over that of the median consistent item."""
    judgement_strength: float
    """The same of the judgement route's (V and S), in the families judged wrongly."""
    fails: Literal["fact", "judgement"]
    """The route whose answer is wrong."""
    weak: Literal["fact", "judgement", "neither"]
    """The route whose features are weak: below the 10th percentile of consistent items, and the
    weaker of the two."""


@dataclass(frozen=True)
class Behaviour:
    """1. Which items the model answers, and how surely."""

    items: int
    """Items of the spec."""
    kept: int
    """Those that every later step is about."""
    keep: Literal["right", "own"]
    objects: tuple[str, ...]
    """The kept ones."""
    families: tuple[FamilyBehaviour, ...]
    inconsistent: tuple[Inconsistent, ...]


@dataclass(frozen=True)
class OverlapRow:
    """Overlap of the graphs of two families, over objects (2. overlap)."""

    kind: OverlapKind
    first: str
    second: str
    """Families; "unrelated" for the floor."""
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
    """The three kinds pooled come first (first and second ""), then pairs of families."""
    place: Interval
    """Of fact x judgement between floor (0) and ceiling (1); NaN without both."""


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
    part: Literal["early", "late"]
    half: int
    """0 or 1: the half it was chosen on; it is tested on the other."""
    members: tuple[Member, ...]
    covers: float
    """Share of the other half's signed influence, in this part and in the route the set belongs to
    (S: the mean of both), that the members carry: how far the choice holds for other objects."""
    random_influence: float
    """Mean influence of a matched random set over that of this one: 1 is a perfect match."""


@dataclass(frozen=True)
class Cell:
    """One cell of the table of ablations (4. ablation)."""

    set: SetName
    part: Part
    route: Route
    """Whose contrast drops."""
    drop: Interval
    """(before - after) / before of the contrasts' sums: 0 untouched, 1 gone, above 1 turned."""
    random_median: float
    """Drops of the matched random sets."""
    random_low: float
    """Smallest."""
    random_high: float
    """Largest."""


@dataclass(frozen=True)
class FamilyDrop:
    """A cell of one family alone."""

    set: SetName
    part: Part
    family: str
    drop: Interval


@dataclass(frozen=True)
class Dissociation:
    """D = (dC|F - dQ|F) + (dQ|V - dC|V) of one part (dC: drop of the fact, dQ: of judgement)."""

    part: Part
    index: Interval
    fact_side: Interval
    """dC|F - dQ|F. A *double* dissociation has both sides above 0."""
    judgement_side: Interval
    """dQ|V - dC|V."""
    shuffled: Interval
    """With permuted labels: mean, and the middle 95 % of the permutations. Must contain 0."""
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
    n_deals: int
    """Permutations of the labels."""


@dataclass(frozen=True)
class SiteDrop:
    """What mean-ablating one site at the object's position takes away (4b. stores)."""

    module: Literal["attention", "mlp"]
    layer: int
    fact: Interval
    """Drop of the fact's contrast, as in `Cell`: 0 untouched, 1 gone, above 1 turned."""
    judgement: Interval
    chosen_as_fact: int
    """How many of the two halves chose it as the site that the fact alone needs."""
    chosen_as_judgement: int


@dataclass(frozen=True)
class StoreResult:
    """4b. Stores by site: what attention or the MLP of an early layer writes at the object."""

    sites: tuple[SiteDrop, ...]
    index: Interval
    """D of the sites chosen on the other half of the objects."""
    fact_side: Interval
    """dC|F - dQ|F."""
    judgement_side: Interval
    """dQ|V - dC|V."""
    shuffled: Interval
    """D with labels permuted object by object: mean, and the middle 95 % of the permutations."""
    n_deals: int


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


@dataclass(frozen=True)
class FlipRow:
    """Several heads edited together on the query side."""

    heads: int
    chosen: Interval
    """Share of right verdicts that flip with the best-ranked heads."""
    random_median: float
    """With matched random heads (as many, of the same layers where there are others)."""
    random_low: float
    random_high: float
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
    """A judgement family, a fact family, or "claims" for all that make claims together."""
    names: Asked
    """The own and the donor's value that is asked about: what each completes in the fact family, or
    what each affirms in this family. The latter only where the two differ for some items."""
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


@dataclass(frozen=True)
class Finding:
    """One sentence of the verdict and the rule that made it."""

    name: str
    """"behaviour", "overlap", "stores", "read-outs", "heads", "swap", "truth", "controls"."""
    holds: Holds
    sentence: str


@dataclass(frozen=True)
class Verdict:
    """What the numbers support, in plain words (rules: experiments/dissociation/verdict.py)."""

    headline: str
    """A clause: "one place of recall, two read-outs"."""
    paragraph: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class TracedItem:
    """The representative item's stored graphs, for the figure of the two routes."""

    item: str
    value: str
    other: str
    graphs: dict[str, str]
    """Family -> trace folder inside the report folder ("graphs/yes_no"), true claim."""
    fact: str
    """The fact family to draw."""
    judgement: str
    """The judgement family to draw."""
    roles: dict[str, dict[str, int]]
    """Family -> role ("object", "value", "verdict") -> position, BOS included."""
    half: int
    """The half the item is in: sets of the other half were not chosen on it."""


@dataclass(frozen=True)
class Report:
    """All of it, `dissociation.json` in the report folder."""

    name: str
    question: str
    model: Identity
    dictionary: Identity
    n_layers: int
    early_layers: int
    """Layers 0 .. early_layers - 1 count as early."""
    seed: int
    quick: bool
    resamples: int
    families: tuple[Family, ...]
    behaviour: Behaviour
    item: TracedItem | None
    """None where no item was kept."""
    overlap: OverlapResult | None
    """This and the next steps: None where there was too little to measure; `notes` says why."""
    sets: tuple[FeatureSet, ...]
    ablation: AblationResult | None
    stores: StoreResult | None
    heads: HeadsResult | None
    swap: SwapResult | None
    truth: TruthResult | None
    verdict: Verdict
    notes: tuple[str, ...]
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time by stage; of a stage taken from an earlier run, what it took then."""
    versions: dict[str, str] = field(default_factory=dict)
