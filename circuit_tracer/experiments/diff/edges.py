"""6. What changed in the edges into an answer, a feature or a direction, and which weights did it.

On a few test prompts of the main form the change of a value between base and tuned model is split
exactly (`attribution/two_models.py`): changed weights on the same input, the same weights on
changed input, by module, head and source token. Then it is shared out to the weights that made it,
all the way down (`attribution/changed_weights.py`).

Shapes: n prompts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np

from circuit_tracer.attribution.changed_weights import by_changed_weights
from circuit_tracer.attribution.directions import DirectionTarget, bare, of_feature
from circuit_tracer.attribution.two_models import NONE, compare_edges
from circuit_tracer.experiments.diff.features import FeaturesResult
from circuit_tracer.experiments.diff.shift import ShiftResult, contrast
from circuit_tracer.experiments.diff.step import Earlier, Step, of_ask
from circuit_tracer.experiments.diff.study import Progress, Study
from circuit_tracer.experiments.kit.measurement_table import Row
from circuit_tracer.experiments.kit.passes import Ask
from circuit_tracer.experiments.kit.statistics import means_by, share
from circuit_tracer.experiments.kit.tables import Table, shares
from circuit_tracer.graphs.bootstrap import Bootstrap, Interval
from circuit_tracer.graphs.graph import Floats, Ints
from circuit_tracer.models import Model
from circuit_tracer.models.devices import on_device
from circuit_tracer.render.numbers import decimals, percent

ANSWER = "wrong - right"
START, OTHERS = "BOS", "the rest"
"""Source tokens: what stands before the prompt, and words that differ between prompts."""
PARTS = ("weights", "pattern_weights", "input", "cross")
"""Of a change, as `ModuleChange` has them."""
MOST_MODULES, BRIEFLY = 6, 3
"""Of a target, those that changed most; targets in the terminal."""


@dataclass(frozen=True)
class Parts:
    """Why a contribution changed, in the target's units, mean over prompts; they sum to it."""

    weights: float
    """Changed weights on the base's input; of heads those of values and output."""
    pattern_weights: float
    """Changed queries and keys on the base's input."""
    input: float
    """The base's weights on the changed input."""
    cross: float
    """Both together, beyond each."""

    @property
    def change(self) -> float:
        """Tuned minus base."""
        return self.weights + self.pattern_weights + self.input + self.cross


@dataclass(frozen=True)
class ModuleRow:
    """One module's part of the change."""

    module: str
    """As `ModuleChange` names it."""
    layer: int
    """-1 where it has none, and so the head."""
    head: int
    parts: Parts

    @property
    def name(self) -> str:
        """L1.H0, L1 mlp, embedding."""
        if self.module == "head":
            return f"L{self.layer}.H{self.head}"
        return self.module if self.layer < 0 else f"L{self.layer} {self.module}"


@dataclass(frozen=True)
class SourceRow:
    """What all heads together bring from tokens of one kind."""

    token: str
    parts: Parts


@dataclass(frozen=True)
class WeightShare:
    """What changed weights made of the change, all the way down."""

    kind: str
    layer: int | None
    """None for all of the kind; -1 outside the layers."""
    share: Interval
    """Of the change; NaN where nothing surely changed, as in all shares here."""


@dataclass(frozen=True)
class TargetEdges:
    """One target."""

    name: str
    layer: int | None
    """None for the answer."""
    base: Interval
    """Its value, mean over prompts."""
    tuned: Interval
    change: Interval
    values_output: Interval
    """Share of the change by changed values and output on the base's input."""
    queries_keys: Interval
    mlps: Interval
    elsewhere: Interval
    """Changed embeddings, and norms and unembedding that the target reads through."""
    input: Interval
    """Share by the base's weights on changed input."""
    cross: Interval
    miss: float
    """What parts miss of the change on any prompt, over the change's mean size."""
    modules: tuple[ModuleRow, ...]
    sources: tuple[SourceRow, ...]
    weights: tuple[WeightShare, ...]
    """Kinds first, then kinds by layer."""
    weights_miss: float
    """As `miss`, all the way down."""

    def weights_of(self, kind: str) -> Interval | None:
        """The share of one kind in all layers; None where none of it changed."""
        of_kind = (one.share for one in self.weights if (one.kind, one.layer) == (kind, None))
        return next(of_kind, None)


@dataclass(frozen=True)
class EdgesResult:
    """6. Edges."""

    prompts: int
    targets: tuple[TargetEdges, ...]


def edge_asks(study: Study) -> tuple[Ask, ...]:
    """Test prompts of the main form on which changes are taken apart."""
    return study.some_asks("test", most=study.settings.most_split)


def measure(study: Study, earlier: Earlier, progress: Progress) -> tuple[EdgesResult, list[Row]]:
    """Every target on every prompt."""
    asks, found = edge_asks(study), []
    rows: list[Row] = []
    items = np.unique([ask.item for ask in asks], return_inverse=True)[1]
    draws = study.bootstrap(int(items.max()) + 1, 60)
    kinds = source_kinds(study.base, asks)
    targets: list[DirectionTarget | None] = [None, *directions(study, earlier)]
    for number, target in enumerate(targets):
        split = Split(kinds)
        for done, ask in enumerate(asks):
            progress(number * len(asks) + done, len(targets) * len(asks))
            value = (ask.minus, ask.plus) if target is None else target
            split.add(study, done, ask, value)
        name = ANSWER if target is None else target.name
        layer = None if target is None else target.layer
        found.append(_Figures(split, items, draws).of(name, layer))
        rows += split.rows(study, name, asks)
    return EdgesResult(prompts=len(asks), targets=tuple(found)), rows


def directions(study: Study, earlier: Earlier) -> Iterator[DirectionTarget]:
    """The feature that was first by screening, then the contrast after the same layer.

    Without a dictionary the contrast is read after the layer at which the shift is most like it.
    """
    layer = earlier.of(ShiftResult).most_alike.layer
    dictionary = study.residual
    if dictionary is not None and (rows := earlier.of(FeaturesResult).rows):
        layer = rows[0].layer
        yield of_feature(dictionary, layer, rows[0].feature)
    if (turned := contrast(study)) is not None:
        vector = turned[:, layer].mean(0)
        vector = on_device(vector / np.linalg.norm(vector), study.base.device)
        name = f"toward - away, after layer {layer}"
        yield bare(name, layer, vector.to(study.base.torch_dtype))


def source_kinds(model: Model, asks: Sequence[Ask]) -> list[tuple[str, ...]]:
    """What each token of each prompt is: a word that all prompts have, the start, or another."""
    texts = [[model.token_text(one).strip() for one in ask.ids] for ask in asks]
    count = Counter(text for one in texts for text in set(one))
    found = []
    for ask, words in zip(asks, texts, strict=True):
        first = model.zeroed_positions(list(ask.ids))
        shared = [text if count[text] == len(asks) else OTHERS for text in words]
        found.append((*([START] * first), *shared[first:]))
    return found


class Place(NamedTuple):
    """Where a part of a change comes from."""

    module: str
    layer: int
    head: int
    source: str
    """Kind of the token that a head reads."""


class Split:
    """The change of one target, taken apart on every prompt."""

    def __init__(self, kinds: Sequence[Sequence[str]]) -> None:
        """`kinds` are those of the tokens of each prompt."""
        self.kinds = kinds
        self.base, self.tuned = np.zeros(len(kinds)), np.zeros(len(kinds))
        self.parts: dict[Place, Floats] = {}
        """(n, 4) `PARTS` of the change."""
        self.weights: dict[tuple[str, int], Floats] = {}
        """(n,) by kind and layer, what these changed weights made of it, all the way down."""

    @property
    def change(self) -> Floats:
        """(n,) tuned minus base."""
        return self.tuned - self.base

    def add(
        self, study: Study, row: int, ask: Ask, value: tuple[int, int] | DirectionTarget
    ) -> None:
        """Take one prompt's change apart."""
        split = compare_edges(study.base, study.tuned, ask.ids, value)
        self.base[row], self.tuned[row] = split.base, split.tuned
        n = len(self.base)
        for one in split.changes:
            place = Place(one.module, one.layer, one.head, self.kinds[row][one.source])
            parts = self.parts.setdefault(place, np.zeros((n, len(PARTS))))
            parts[row] += [getattr(one, part) for part in PARTS]
        for change in by_changed_weights(study.base, study.tuned, ask.ids, value).changes:
            effects = self.weights.setdefault((change.kind, change.layer), np.zeros(n))
            effects[row] = change.effect

    def total(self, *modules: str) -> Floats:
        """(n, 4) of some modules together; of all of them without any."""
        whole = np.zeros((len(self.base), len(PARTS)))
        return sum(
            (v for at, v in self.parts.items() if not modules or at.module in modules), whole
        )

    def by_module(self) -> dict[tuple[str, int, int], Floats]:
        """(n, 4) from all tokens together, by module, layer and head."""
        found: dict[tuple[str, int, int], Floats] = {}
        for place, parts in self.parts.items():
            found[place[:3]] = found.get(place[:3], 0.0) + parts
        return found

    def rows(self, study: Study, name: str, asks: Sequence[Ask]) -> Iterator[Row]:
        """Of every prompt: the values, the parts by module, the effects of weights."""
        modules = self.by_module()
        for row, ask in enumerate(asks):
            about = {**of_ask(study, ask), "name": name}
            yield {**about, "model": "base", "value": self.base[row]}
            yield {**about, "model": "tuned", "value": self.tuned[row]}
            for (module, layer, head), values in modules.items():
                where = {"layer": layer, "head": head}
                known = {key: number for key, number in where.items() if number != NONE}
                for part, value in zip(PARTS, values[row], strict=True):
                    yield {**about, **known, "name": f"{name}: {module}, {part}", "value": value}
            for (kind, layer), effects in self.weights.items():
                known = {} if layer == NONE else {"layer": layer}
                what = f"{name}: weights, {kind}"
                yield {**about, **known, "name": what, "value": effects[row]}


class _Figures:
    """Of one target, over the items."""

    def __init__(self, split: Split, items: Ints, draws: Bootstrap) -> None:
        self._split, self._items, self._draws = split, items, draws
        self._sign = 1.0 if split.change.sum() >= 0 else -1.0

    def of(self, name: str, layer: int | None) -> TargetEdges:
        """Shares of the change, then means over prompts by module, source and weights."""
        split, whole = self._split, self._split.total()
        effects: Floats = sum(split.weights.values(), np.zeros(len(split.change)))
        return TargetEdges(
            name=name,
            layer=layer,
            base=self._mean(split.base),
            tuned=self._mean(split.tuned),
            change=self._mean(split.change),
            values_output=self._share(split.total("head", "attention bias")[:, 0]),
            queries_keys=self._share(whole[:, 1]),
            mlps=self._share(split.total("mlp")[:, 0]),
            elsewhere=self._share(split.total("embedding", "reading")[:, 0]),
            input=self._share(whole[:, 2]),
            cross=self._share(whole[:, 3]),
            miss=self._miss(whole.sum(1)),
            modules=tuple(
                ModuleRow(*module, _means(parts)) for module, parts in split.by_module().items()
            ),
            sources=tuple(self._sources()),
            weights=tuple(self._weights()),
            weights_miss=self._miss(effects),
        )

    def _sources(self) -> Iterator[SourceRow]:
        parts = self._split.parts
        for source in dict.fromkeys(chain.from_iterable(self._split.kinds)):
            here = [v for at, v in parts.items() if (at.module, at.source) == ("head", source)]
            yield SourceRow(source, _means(sum(here, np.zeros((len(self._items), len(PARTS))))))

    def _weights(self) -> Iterator[WeightShare]:
        weights = self._split.weights
        for kind in dict.fromkeys(kind for kind, _ in weights):
            of_kind = [effects for (one, _), effects in weights.items() if one == kind]
            yield WeightShare(kind, None, self._share(np.sum(of_kind, axis=0)))
        for (kind, layer), effects in weights.items():
            yield WeightShare(kind, layer, self._share(effects))

    def _mean(self, values: Floats) -> Interval:
        return self._draws.mean(means_by(self._items, values, self._draws.n))

    def _share(self, part: Floats) -> Interval:
        """Of the whole change, over all prompts."""
        both = np.stack([part, self._split.change], 1) * self._sign
        return share(self._draws, *(means_by(self._items, both, self._draws.n)).T)

    def _miss(self, parts: Floats) -> float:
        """The largest miss over the mean size of the change; itself where nothing changed."""
        change = self._split.change
        miss, size = float(np.abs(parts - change).max()), float(np.abs(change).mean())
        return miss / size if size else miss


def _means(parts: Floats) -> Parts:
    return Parts(*map(float, parts.mean(0)))


HEADING = "6. Edges"
PART_NAMES = ("change", "V, O or MLP", "Q, K", "input", "cross")


def tables(found: EdgesResult) -> Iterator[Table]:
    """By module, all the way down to weights, then the modules and sources of each target."""
    columns = ("target", "base", "tuned", "V, O", "Q, K", "MLPs", "other", "input", "cross")
    miss = max((max(one.miss, one.weights_miss) for one in found.targets), default=0.0)
    note = (
        f"Mean over {found.prompts} test prompts. Shares of the change, tuned minus base: changed "
        "weights on the base's input (V, O to other), the base's weights on changed input, and "
        f"what both make together. On no prompt do parts miss more than {miss:.0e} of the change."
    )
    yield Table(HEADING, columns, tuple(map(_cells, found.targets)), note, "By module")
    kinds = list(dict.fromkeys(s.kind for one in found.targets for s in one.weights))
    rows = tuple((one.name, *_kinds(one, kinds)) for one in found.targets if one.weights)
    note = (
        "The same change by the weights that made it, wherever they are: changed input comes from "
        "weights changed below (integrated gradients from the base's weights to the tuned ones)."
    )
    yield Table(HEADING, ("target", *kinds), rows, note, "All the way down to weights")
    yield from map(_places, found.targets)


def _cells(one: TargetEdges) -> tuple[str, ...]:
    parts = (one.values_output, one.queries_keys, one.mlps, one.elsewhere, one.input, one.cross)
    return one.name, decimals(one.base.value), decimals(one.tuned.value), *shares(*parts)


def _kinds(one: TargetEdges, kinds: Sequence[str]) -> Iterator[str]:
    for kind in kinds:
        known = one.weights_of(kind)
        yield percent(0.0) if known is None else shares(known)[0]


def _places(one: TargetEdges) -> Table:
    """The modules that changed most, then what all heads bring from tokens."""
    strongest = sorted(one.modules, key=lambda row: -abs(row.parts.change))[:MOST_MODULES]
    rows = [(row.name, *_parts(row.parts)) for row in strongest if row.parts.change]
    heads = [(f"heads, from {row.token}", *_parts(row.parts)) for row in one.sources]
    title = f"Into {one.name}"
    return Table(HEADING, ("from", *PART_NAMES), (*rows, *heads) if rows else (), title=title)


def _parts(parts: Parts) -> tuple[str, ...]:
    values = (parts.change, parts.weights, parts.pattern_weights, parts.input, parts.cross)
    return tuple(decimals(value, sign=True) for value in values)


def brief(found: EdgesResult) -> Iterator[Table]:
    """The shares that say which weights."""
    rows = tuple(
        (one.name, *shares(one.values_output, one.queries_keys, one.mlps, one.input))
        for one in found.targets[:BRIEFLY]
    )
    yield Table(HEADING, ("target", "V, O", "Q, K", "MLPs", "input"), rows)


STEP = Step("edges", EdgesResult, measure, tables, brief)
