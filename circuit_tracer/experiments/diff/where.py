"""2. Which weights carry the change.

By kind and by layer, the base's weights are put back into the tuned model (restoration), and the
tuned ones alone into the base (induction); held-out prompts of the main form are asked each time.
Models of many layers are looked at in bands of layers.

A changed matrix has the rank that lies above what rounding alone would make. Weights are stored
rounded: the change of a matrix by a product of low rank has full rank once it is rounded to
bfloat16. Rounding moves each weight by up to half the distance u to its neighbour, an error of
variance u^2 / 12. A matrix of independent errors has no singular value above about the root of the
largest sum of variances in a row plus that in a column (Bandeira and van Handel 2016); what lies
below counts as none. Rows and columns differ: those of large weights are rounded most.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from circuit_tracer.experiments.diff.study import SIDES, ByItem, Earlier, Step, Study, answer_rows
from circuit_tracer.experiments.kit.passes import contrasts
from circuit_tracer.experiments.kit.stages import Row
from circuit_tracer.experiments.kit.statistics import known_or_least, share
from circuit_tracer.experiments.kit.study import Progress
from circuit_tracer.experiments.kit.tables import Table, table_of
from circuit_tracer.graphs.bootstrap import Interval
from circuit_tracer.models.devices import parse_dtype
from circuit_tracer.models.weight_parts import WEIGHT_KINDS, WeightPart, exchanged, weight_parts
from circuit_tracer.render.numbers import whole_percent

MOST_LAYERS = 12
"""Layers that are looked at one by one; where there are more, bands of them are."""
LOW = 8
"""A rank of at most 1/8 of what it could be is low."""
MOST = 3
"""Kinds in the terminal."""
WEIGHTS = {"": "all", "QK": "queries, keys", "VO": "values, output", "MLP": "MLPs"}
WEIGHTS |= {"norm": "norms", "embedding": "embeddings"}
"""Kinds of weights in words."""


@dataclass(frozen=True)
class WhereRow:
    """Some weights: a kind, a range of layers, or both."""

    kind: str
    """"QK", "VO", "MLP", "norm", "embedding", or "" for all of them."""
    layers: tuple[int, int] | None
    """First and last; None for all, and outside of the layers."""
    changed: float
    """Norm of the change over the norm of the base's weights."""
    rank: int | None
    """Largest numerical rank of a changed matrix among them; None where none changed."""
    full_rank: int | None
    """What that matrix's rank could be."""
    right_back: Interval
    """Share of right answers of the tuned model with the base's weights in their place."""
    restored: Interval
    """The share of the lost answers that this brings back; NaN where none were surely lost."""
    right_alone: Interval
    """Share of right answers of the base with the tuned weights in their place."""
    induced: Interval
    """The share of the lost answers that this alone loses."""

    @property
    def weights(self) -> str:
        """The kind in words."""
        return WEIGHTS[self.kind]

    @property
    def in_layers(self) -> str:
        """ "all", "3", "0-3"."""
        return "all" if self.layers is None else "-".join(dict.fromkeys(map(str, self.layers)))

    @property
    def of_rank(self) -> str | None:
        """ "3 of 64"."""
        return None if self.rank is None else f"{self.rank} of {self.full_rank}"


@dataclass(frozen=True)
class WhereResult:
    """2. Where."""

    prompts: int
    """Of held-out topics in the main form, by which weights are located."""
    base: Interval
    """Share of right answers."""
    tuned: Interval
    rows: tuple[WhereRow, ...]
    """Kinds over all layers first, then layers, then kinds by layer; what did not change is
    left out."""
    unchanged: tuple[str, ...]
    """Kinds of which no weight changed."""
    layers: tuple[int, ...]
    """Layers in which a weight changed."""
    low_rank: bool
    """Whether every changed matrix has a numerical rank of at most an eighth of what it could."""

    @property
    def kinds(self) -> list[WhereRow]:
        """Rows of one kind in all layers."""
        return [one for one in self.rows if one.kind and one.layers is None]


def measure(study: Study, earlier: Earlier, progress: Progress) -> tuple[WhereResult, list[Row]]:
    """All groups of weights in which something changed, both ways."""
    asks, by_item = study.located, ByItem(study, study.located, 20)
    base, tuned = weight_parts(study.base), weight_parts(study.tuned)
    moved = [_moved(study, *pair) for pair in zip(base, tuned, strict=True)]
    changed = [one for one in moved if one.squares]
    found = [one for one in groups(study) if one.among(m.part for m in changed)]
    right = {side: by_item.right(contrasts(study.model(side), asks)) for side in SIDES}
    draws, lost = by_item.draws, right["base"] - right["tuned"]
    table = []
    rows: list[Row] = []
    for done, group in enumerate(found):
        progress(done, len(found))
        with exchanged(tuned, base, group.has):
            back = contrasts(study.tuned, asks)
        with exchanged(base, tuned, group.has):
            alone = contrasts(study.base, asks)
        rows += answer_rows(study, "tuned", asks, back, name=group.name)
        rows += answer_rows(study, "base", asks, alone, name=group.name)
        parts = [one for one in moved if group.has(one.part)]
        ranks = [(one.rank, one.full_rank) for one in parts if one.rank is not None]
        rank, full_rank = max(ranks, default=(None, None))
        squares, before = sum(one.squares for one in parts), sum(one.before for one in parts)
        right_back, right_alone = by_item.right(back), by_item.right(alone)
        table.append(
            WhereRow(
                kind=group.kind,
                layers=group.layers,
                changed=(squares / before) ** 0.5 if before else 0.0,
                rank=rank,
                full_rank=full_rank,
                right_back=draws.mean(right_back),
                restored=share(draws, right_back - right["tuned"], lost),
                right_alone=draws.mean(right_alone),
                induced=share(draws, right["base"] - right_alone, lost),
            )
        )
    ranked = [one for one in moved if one.rank is not None]
    result = WhereResult(
        prompts=len(asks),
        base=draws.mean(right["base"]),
        tuned=draws.mean(right["tuned"]),
        rows=tuple(table),
        unchanged=tuple(one for one in WEIGHT_KINDS if one not in {m.part.kind for m in changed}),
        layers=tuple(sorted({m.part.layer for m in changed if m.part.layer is not None})),
        low_rank=bool(ranked) and all(LOW * (one.rank or 0) <= one.full_rank for one in ranked),
    )
    return result, rows


class _Group(NamedTuple):
    """Some weights, by kind and layers."""

    kind: str
    layers: tuple[int, int] | None

    def has(self, part: WeightPart) -> bool:
        """Whether a part is among them."""
        first, last = self.layers or (0, 0)
        in_layers = self.layers is None or (part.layer is not None and first <= part.layer <= last)
        return in_layers and self.kind in ("", part.kind)

    def among(self, parts: Iterable[WeightPart]) -> bool:
        """Whether any of the parts is."""
        return any(map(self.has, parts))

    @property
    def name(self) -> str:
        """Of its measurements."""
        layers = "all" if self.layers is None else "{}-{}".format(*self.layers)
        return f"exchanged {self.kind or 'all'}, layers {layers}"


def groups(study: Study) -> Iterator[_Group]:
    """Kinds over all layers, layers, kinds by half and by layer."""
    n_layers = study.base.n_layers
    bands = _split(n_layers, n_layers if n_layers <= MOST_LAYERS else study.settings.bands)
    halves = [one for one in _split(n_layers, 2) if one not in bands]
    yield from (_Group(kind, None) for kind in WEIGHT_KINDS)
    yield from (_Group("", band) for band in bands)
    for kind in ("QK", "VO", "MLP"):
        yield from (_Group(kind, band) for band in (*halves, *bands))


def _split(n_layers: int, count: int) -> list[tuple[int, int]]:
    """The layers in so many ranges."""
    count = min(count, n_layers)
    ends = [round(i * n_layers / count) for i in range(count + 1)]
    return [(first, last - 1) for first, last in pairwise(ends)]


class _Moved(NamedTuple):
    """How far one part moved."""

    part: WeightPart
    squares: float
    before: float
    rank: int | None
    full_rank: int


def _moved(study: Study, base: WeightPart, tuned: WeightPart) -> _Moved:
    before, after = base.read(), tuned.read()
    squares, own = (float(one.double().square().sum()) for one in (after.double() - before, before))
    rank = rank_of_change(study, base, tuned) if base.has_rank and squares else None
    return _Moved(base, squares, own, rank, min(before.shape))


def changed_parts(study: Study) -> list[tuple[WeightPart, WeightPart]]:
    """Those of both models that are not equal."""
    pairs = zip(weight_parts(study.base), weight_parts(study.tuned), strict=True)
    return [(one, other) for one, other in pairs if not torch.equal(one.read(), other.read())]


def rank_of_change(study: Study, base: WeightPart, tuned: WeightPart) -> int:
    """Above what rounding alone would make."""
    return numerical_rank(base.read(), tuned.read(), parse_dtype(study.tuned.weights_dtype))


HEADING = "2. Where the change sits"


def tables(found: WhereResult) -> Iterator[Table]:
    """Kinds and layers; then kinds by layer."""
    columns = ("weights", "layers", "changed by", "rank", "right, put back", "restored", "induced")
    cells = "weights in_layers changed:% of_rank right_back:0% restored:[%] induced:[%]"
    note = (
        f"Of {found.prompts} held-out prompts the base answers {whole_percent(found.base.value)} "
        f"rightly, the tuned model {whole_percent(found.tuned.value)}. restored: of the lost "
        "answers, with the base's weights put back into the tuned model; induced: with the tuned "
        "weights alone in the base."
    )
    if found.unchanged:
        note += f" Unchanged: {'; '.join(WEIGHTS[one] for one in found.unchanged)}."
    wide = [one for one in found.rows if not (one.kind and one.layers)]
    narrow = [one for one in found.rows if one not in wide]
    yield table_of(HEADING, wide, columns, cells, note, "Kinds and layers")
    yield table_of(HEADING, narrow, columns, cells, title="Kinds by layer")


def brief(found: WhereResult) -> Iterator[Table]:
    """The kinds that restore most."""
    kinds = sorted(found.kinds, key=lambda one: -known_or_least(one.restored.value))
    columns = ("put back restore", "alone induce")
    cells = "restored:[%] induced:[%]"
    yield table_of("2. Where", kinds[:MOST], ("weights", *columns), f"weights {cells}")


STEP = Step("where", WhereResult, measure, tables, brief)


SLACK = 1.2
"""Times the largest singular value that rounding makes on average."""
LEAST = 1e-6
"""Of the largest singular value: below it is the rounding of computing itself."""


def numerical_rank(
    before: Float[Tensor, "m n"], after: Float[Tensor, "m n"], stored: torch.dtype
) -> int:
    """Singular values of the change above what rounding the weights to `stored` makes."""
    before, after = (one.detach().cpu().double() for one in (before, after))
    change = after - before
    if not change.any():
        return 0
    sizes = torch.linalg.svdvals(change)
    distance = torch.finfo(stored).eps * 2 ** after.abs().clamp_min(1e-30).log2().floor()
    variance = distance.square() / 12
    floor = SLACK * sum(math.sqrt(float(variance.sum(along).max())) for along in (0, 1))
    return int((sizes > max(floor, LEAST * float(sizes[0]))).sum())
