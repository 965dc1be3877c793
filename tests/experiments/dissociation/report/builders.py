"""A believable `dissociate` report to draw: one recall, two read-outs, as trials found them."""

from __future__ import annotations

from dataclasses import replace
from math import inf, nan

import numpy as np

from circuit_tracer.experiments.dissociation.results import (
    Behaviour,
    Family,
    FamilyBehaviour,
    Inconsistent,
    Report,
    Verdict,
)
from circuit_tracer.experiments.dissociation.step_results import (
    AblationResult,
    Cell,
    Dissociation,
    FamilyDrop,
    FeatureSet,
    FlipRow,
    HeadRank,
    HeadsResult,
    Member,
    OverlapResult,
    OverlapRow,
    Part,
    SiteDrop,
    StoreResult,
    SwapResult,
    SwapRow,
    TruthResult,
    TruthRow,
)
from circuit_tracer.experiments.kit.results import Finding
from circuit_tracer.graphs import Identity
from circuit_tracer.graphs.bootstrap import Interval

UNKNOWN = Interval(nan, nan, nan)


def about(value: float, half: float = 0.05, *, low: float = -inf, high: float = inf) -> Interval:
    """A value with an interval of that half width, cut at low and high."""
    return Interval(value, max(value - half, low), min(value + half, high))


def share(value: float, half: float = 0.05) -> Interval:
    """The same within 0..1."""
    return about(value, half, low=0.0, high=1.0)


FAMILIES = (
    Family(
        name="completion",
        route="fact",
        template="{article} {object} is",
        is_claim=False,
        example="a banana is",
    ),
    Family(
        name="plural", route="fact", template="{objects} are", is_claim=False, example="bananas are"
    ),
    Family(
        name="yes-no",
        route="judgement",
        template="is {article} {object} {value} ?",
        words=("yes", "no"),
        is_claim=True,
        example="is a banana yellow ?",
    ),
    Family(
        name="true-false",
        route="judgement",
        template="true or false : {article} {object} is {value} .",
        words=("true", "false"),
        is_claim=True,
        example="true or false : a banana is yellow .",
    ),
    Family(
        name="right-wrong",
        route="judgement",
        template="right or wrong : {objects} are {value} .",
        words=("right", "wrong"),
        is_claim=True,
        example="right or wrong : bananas are yellow .",
    ),
)


def behaviour() -> Behaviour:
    """52 of 60 items kept, three of the others inconsistent."""
    rights = (0.98, 0.97, 0.93, 0.9, 0.88)
    right = {family.name: family.name != "true-false" for family in FAMILIES}
    odd = Inconsistent("plum", "purple", "green", right, 1.04, 0.41, "judgement", "judgement")
    return Behaviour(
        items=60,
        kept=52,
        keep="right",
        objects=tuple(f"thing{i}" for i in range(52)),
        families=tuple(
            FamilyBehaviour(
                family.name,
                share(value, 0.04),
                share(value - 0.05, 0.09),
                share(0.02, 0.03),
                about(6.2 + i, 0.5),
            )
            for i, (family, value) in enumerate(zip(FAMILIES, rights, strict=True))
        ),
        inconsistent=(odd, replace(odd, item="swan", value="white", weak="neither")),
    )


def overlap() -> OverlapResult:
    """Between floor and ceiling, nearer to the floor."""
    pooled = (
        OverlapRow("fact x judgement", "", "", share(0.24), share(0.31), 0.005, 96),
        OverlapRow("ceiling", "", "", share(0.63), share(0.7), 0.005, 48),
        OverlapRow("floor", "", "", share(0.05, 0.02), share(0.08, 0.02), 0.41, 96),
    )
    pairs = tuple(
        OverlapRow("fact x judgement", "completion", name, share(x), share(x + 0.06), 0.005, 24)
        for name, x in (("yes-no", 0.27), ("true-false", 0.21), ("right-wrong", 0.2))
    )
    said_again = OverlapRow("ceiling", "completion", "plural", share(0.61), share(0.68), 0.005, 24)
    return OverlapResult((*pooled, *pairs, said_again), about(0.33, 0.08))


def ablation(early: float = 0.06, late: float = 0.93) -> AblationResult:
    """Early sets take both answers, late ones their own."""
    drops = {
        ("F", "early"): (0.24, 0.2),
        ("V", "early"): (0.05, 0.07),
        ("S", "early"): (0.82, 0.91),
        ("F", "late"): (0.71, 0.06),
        ("V", "late"): (0.08, 0.64),
        ("S", "late"): (0.2, 0.26),
        ("F", "together"): (0.86, 0.24),
        ("V", "together"): (0.13, 0.72),
        ("S", "together"): (0.94, 1.18),
    }
    cells = tuple(
        Cell(set=name, part=part, route=route, drop=about(value, 0.07), **random(0.03, -0.04, 0.14))
        for (name, part), values in drops.items()
        for route, value in zip(("fact", "judgement"), values, strict=True)
    )
    return AblationResult(
        cells=cells,
        families=tuple(
            FamilyDrop(name, part, family.name, about(values[family.route != "fact"], 0.08))
            for (name, part), values in drops.items()
            for family in FAMILIES
        ),
        index=(
            index("early", early, 0.09),
            index("late", late, 0.11),
            index("together", late - 0.05, 0.12),
        ),
        n_random=24,
        n_permutations=100,
    )


def random(median: float, low: float, high: float) -> dict[str, float]:
    """What a random control came out as."""
    return {"random_median": median, "random_low": low, "random_high": high}


def index(part: Part, value: float, half: float) -> Dissociation:
    """Half of it from each side."""
    side = about(value / 2, half / 1.4)
    return Dissociation(
        part=part,
        index=about(value, half),
        fact_side=side,
        judgement_side=side,
        shuffled=about(0.0, 0.13),
        random=about(0.01, 0.1),
    )


def heads() -> HeadsResult:
    """Two heads that tell, many that do not."""
    rng = np.random.default_rng(3)
    ranks = [
        HeadRank(3, 2, "value", share(0.97, 0.02), 0.41, -0.12, 2, share(0.58, 0.1)),
        HeadRank(2, 0, "value", share(0.91, 0.04), 0.3, -0.05, 2, share(0.22, 0.09)),
        HeadRank(4, 3, "verdict", share(0.83, 0.06), 0.22, 0.01, 1, share(0.09, 0.06)),
    ]
    for i in range(12):
        value = 0.74 - 0.02 * i + float(rng.normal(0, 0.004))
        ranks.append(
            HeadRank(i % 6, i % 4, "verdict", share(value, 0.08), 0.1, 0.05, 0, share(0.02, 0.02))
        )
    flips = (
        FlipRow(
            heads=1, chosen=share(0.58, 0.1), moved=about(0.61, 0.08), **random(0.02, 0.0, 0.09)
        ),
        FlipRow(
            heads=2, chosen=share(0.83, 0.08), moved=about(1.1, 0.1), **random(0.03, 0.0, 0.15)
        ),
        FlipRow(
            heads=4, chosen=share(0.91, 0.06), moved=about(1.3, 0.1), **random(0.06, 0.01, 0.25)
        ),
    )
    return HeadsResult(
        ("yes-no", "true-false", "right-wrong"), share(0.8, 0.05), tuple(ranks), flips
    )


def swap(follows: float = 0.95) -> SwapResult:
    """The verdict follows what the early layers write, mostly by attention's part."""
    rows = []
    parts = {"everything": 1.0, "attention": 0.8, "mlp": 0.3, "features": 0.15}
    layers = {"early": 1.0, "late": 0.06, "0": 0.41, "1": 0.7, "2": 0.1}
    for family, own in (("claims", follows), ("completion", 0.97), ("yes-no", follows)):
        for at, there in layers.items():
            for how, part in parts.items():
                value = own * there * part
                found = share(value, 0.06), share(1 - value, 0.03), share(value, 0.04)
                rows.append(SwapRow(at, how, family, "completed", *found, 0.0))
    return SwapResult(tuple(rows), 52)


def truth(lift: float = 0.0) -> TruthResult:
    """Readable from the middle layers on, less so in other forms of question."""
    rows = []
    forms = ("yes-no", "true-false", "right-wrong")
    for fitted in forms:
        for i, read in enumerate(forms):
            best = 1.0 if fitted == read else 0.84 + 0.02 * i
            for role in ("value", "verdict"):
                for layer in range(-1, 6):
                    rise = 1 / (1 + np.exp(-1.6 * (layer - 2.2 - (role == "verdict"))))
                    value = 0.5 + (best - 0.5 + lift * 0.1) * float(rise)
                    rows.append(TruthRow(fitted, read, role, layer, share(min(value, 1.0), 0.04)))
    return TruthResult(rows=tuple(rows), best_role="value", best_layer=4)


def sets() -> tuple[FeatureSet, ...]:
    """A few features a set."""
    found = []
    for name in ("F", "V", "S"):
        for part, layer in (("early", 0), ("late", 4)):
            for half in (0, 1):
                members = tuple(
                    Member(layer, 10 * i + half, 0.02, 0.01, "banana → yellow") for i in range(4)
                )
                found.append(FeatureSet(name, part, half, members, 0.71, 0.97))
    return tuple(found)


def stores(d: float = 0.02) -> StoreResult:
    """One store for both: attention of layer 0."""
    sites = [
        SiteDrop(module, layer, share(drop, 0.05), share(drop + 0.02, 0.05), 1, 0)
        for layer in (0, 1)
        for module, drop in (("attention", 0.88 - 0.88 * layer), ("mlp", 0.01))
    ]
    near = Interval(d, d - 0.08, d + 0.08)
    return StoreResult(
        sites=tuple(sites),
        index=near,
        fact_side=near,
        judgement_side=near,
        shuffled=Interval(0.0, -0.03, 0.03),
        n_permutations=200,
    )


def report(**changes: object) -> Report:
    """The whole report; `changes` replace its fields."""
    whole = Report(
        name="bananas",
        question="Do the fact that bananas are yellow and the check of it share one route?",
        model=Identity("sprout", "bundled", "ab" * 32, "llama"),
        dictionary=Identity("plt", "bundled", "cd" * 32, "plt"),
        n_layers=6,
        early_layers=2,
        seed=0,
        quick=False,
        resamples=2000,
        families=FAMILIES,
        behaviour=behaviour(),
        item=None,
        overlap=overlap(),
        sets=sets(),
        ablation=ablation(),
        stores=stores(),
        heads=heads(),
        swap=swap(),
        truth=truth(),
        verdict=Verdict(
            headline="one recall, two read-outs",
            paragraph="Both answers rest on the same recalled fact: ... (made up for the tests).",
            findings=(
                Finding("swap", "yes", "The verdict follows."),
                Finding("stores", "no", "Early stores are shared."),
                Finding("read-outs", "yes", "Late read-outs are separate."),
                Finding("heads", "unclear", "Heads are open."),
            ),
        ),
        notes=("Two items were left out: their plural is unknown.",),
        seconds={"behave": 4.0, "trace": 30.5},
        versions={"circuit-tracer-cli": "0.1"},
    )
    return replace(whole, **changes)  # type: ignore[arg-type]
