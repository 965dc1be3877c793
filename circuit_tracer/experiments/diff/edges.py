"""6. What changed in the edges into an answer, a feature or a direction, and which weights did it.

On a few test prompts of the main form the change of a value between base and tuned model is split
exactly (`attribution/two_models.py`): changed weights on the same input, the same weights on
changed input, by module, head and source token. Then it is shared out to the weights that made it,
all the way down (`attribution/changed_weights.py`).

Shapes: n prompts, G kinds of source tokens.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from jaxtyping import Float

from circuit_tracer.attribution.changed_weights import by_changed_weights
from circuit_tracer.attribution.directions import DirectionTarget, bare, of_feature
from circuit_tracer.attribution.two_models import NONE, compare_edges
from circuit_tracer.experiments.diff.doses import INDUCING, DosesResult
from circuit_tracer.experiments.diff.features import FeaturesResult
from circuit_tracer.experiments.diff.shift import ShiftResult, contrast
from circuit_tracer.experiments.diff.study import SIDES, ByItem, Earlier, Step, Study, of_ask
from circuit_tracer.experiments.kit.passes import Ask, source_kinds
from circuit_tracer.experiments.kit.stages import Row
from circuit_tracer.experiments.kit.statistics import share
from circuit_tracer.experiments.kit.study import Progress
from circuit_tracer.experiments.kit.tables import Table, shares, table_of
from circuit_tracer.graphs.bootstrap import Interval
from circuit_tracer.graphs.graph import Floats
from circuit_tracer.models.devices import on_device

ANSWER = "wrong - right"
PARTS = ("weights", "pattern_weights", "input", "cross")
"""Of a change, as `ModuleChange` has them."""
MOST_MODULES, BRIEFLY = 6, 4
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
        return self.by_weights + self.input + self.cross

    @property
    def by_weights(self) -> float:
        """Changed weights of any kind on the base's input."""
        return self.weights + self.pattern_weights


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

    @property
    def name(self) -> str:
        """Of its row in a table."""
        return f"heads, from {self.token}"


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

    @property
    def shown(self) -> list[ModuleRow | SourceRow]:
        """The modules that changed most, then what all heads bring from tokens."""
        strongest = sorted(self.modules, key=lambda row: -abs(row.parts.change))[:MOST_MODULES]
        changed = [row for row in strongest if row.parts.change]
        return [*changed, *self.sources] if changed else []

    def weights_of(self, kind: str) -> Interval:
        """The share of one kind in all layers; 0 where none of it changed."""
        of_kind = (one.share for one in self.weights if (one.kind, one.layer) == (kind, None))
        return next(of_kind, Interval.bare(0.0))


@dataclass(frozen=True)
class EdgesResult:
    """6. Edges."""

    prompts: int
    targets: tuple[TargetEdges, ...]


def measure(study: Study, earlier: Earlier, progress: Progress) -> tuple[EdgesResult, list[Row]]:
    """Every target on every prompt."""
    asks, found = study.split, []
    rows: list[Row] = []
    targets: list[DirectionTarget | None] = [None, *directions(study, earlier)]
    for number, target in enumerate(targets):
        split = Split(study, asks, target)
        for done in range(len(asks)):
            progress(number * len(asks) + done, len(targets) * len(asks))
            split.add(done)
        found.append(split.figures())
        rows += split.rows()
    return EdgesResult(prompts=len(asks), targets=tuple(found)), rows


def directions(study: Study, earlier: Earlier) -> Iterator[DirectionTarget]:
    """The features first by screening and by inducing, and the contrast after the first's layer.

    Without a dictionary the contrast is read after the layer at which the shift is most like it.
    """
    layer = earlier.of(ShiftResult).most_alike.layer
    dictionary = study.residual
    rows = earlier.of(FeaturesResult).rows if earlier.has(FeaturesResult) else ()
    if dictionary is not None and rows:
        layer = rows[0].layer
        doses = earlier.of(DosesResult) if earlier.has(DosesResult) else None
        inducing = doses.edit(INDUCING, "induce") if doses else None
        places = (layer, rows[0].feature), *(inducing.features if inducing else ())
        yield from (of_feature(dictionary, *place) for place in dict.fromkeys(places))
    if (turned := contrast(study)) is not None:
        vector = turned[:, layer].mean(0)
        vector = on_device(vector / np.linalg.norm(vector), study.base.device)
        name = f"toward - away, after layer {layer}"
        yield bare(name, layer, vector.to(study.base.torch_dtype))


class Split:
    """The change of one target, taken apart on every prompt."""

    def __init__(self, study: Study, asks: Sequence[Ask], target: DirectionTarget | None) -> None:
        """`target` is None for the answer."""
        self._study, self._asks, n = study, asks, len(asks)
        self.name = ANSWER if target is None else target.name
        self._target = target
        self._kinds = source_kinds(study.base, asks)
        self._by_item = ByItem(study, asks, 60)
        self._values = {side: np.zeros(n) for side in SIDES}
        self._sources = list(dict.fromkeys(chain.from_iterable(self._kinds)))
        self._none = np.zeros((n, len(self._sources), len(PARTS)))
        self._parts: dict[tuple[str, int, int], Floats] = defaultdict(self._none.copy)
        """(n, G, 4) `PARTS` of the change by kind of source token, of a module, layer and head."""
        self._weights: dict[tuple[str, int], Floats] = defaultdict(lambda: np.zeros(n))
        """(n,) by kind and layer, what these changed weights made of it, all the way down."""

    def add(self, row: int) -> None:
        """Take one prompt's change apart."""
        models, ask = (self._study.base, self._study.tuned), self._asks[row]
        ids, value = ask.ids, self._target or (ask.minus, ask.plus)
        split = compare_edges(*models, ids, value)
        for side in SIDES:
            self._values[side][row] = getattr(split, side)
        for one in split.changes:
            at = row, self._sources.index(self._kinds[row][one.source])
            values = [getattr(one, part) for part in PARTS]
            self._parts[one.module, one.layer, one.head][at] += values
        for change in by_changed_weights(*models, ids, value).changes:
            self._weights[change.kind, change.layer][row] = change.effect

    @property
    def _change(self) -> Floats:
        """(n,) tuned minus base."""
        return self._values["tuned"] - self._values["base"]

    def _of(self, *modules: str) -> Float[np.ndarray, "n G 4"]:
        """Of some modules together; of all of them without any."""
        wanted = (v for (one, *_), v in self._parts.items() if not modules or one in modules)
        return sum(wanted, self._none)

    def rows(self) -> Iterator[Row]:
        """Of every prompt: the values, the parts by module, the effects of weights."""
        for row, ask in enumerate(self._asks):
            about = {**of_ask(self._study, ask), "name": self.name}
            for side in SIDES:
                yield {**about, "model": side, "value": self._values[side][row]}
            for (module, layer, head), parts in self._parts.items():
                where = {"layer": _known(layer), "head": _known(head)}
                for part, value in zip(PARTS, parts[row].sum(0), strict=True):
                    name = f"{self.name}: {module}, {part}"
                    yield {**about, **where, "name": name, "value": value}
            for (kind, layer), effects in self._weights.items():
                name = f"{self.name}: weights, {kind}"
                yield {**about, "layer": _known(layer), "name": name, "value": effects[row]}

    def figures(self) -> TargetEdges:
        """Shares of the change, then means over prompts by module, source and weights."""
        whole, effects = self._of().sum(1), list(self._weights.values())
        heads = self._of("head").mean(0)
        return TargetEdges(
            name=self.name,
            layer=None if self._target is None else self._target.layer,
            base=self._mean(self._values["base"]),
            tuned=self._mean(self._values["tuned"]),
            change=self._mean(self._change),
            values_output=self._share(self._of("head", "attention bias")[..., 0].sum(1)),
            queries_keys=self._share(whole[:, 1]),
            mlps=self._share(self._of("mlp")[..., 0].sum(1)),
            elsewhere=self._share(self._of("embedding", "reading")[..., 0].sum(1)),
            input=self._share(whole[:, 2]),
            cross=self._share(whole[:, 3]),
            miss=self._miss(whole.sum(1)),
            modules=tuple(
                ModuleRow(*place, Parts(*map(float, parts.sum(1).mean(0))))
                for place, parts in self._parts.items()
            ),
            sources=tuple(
                SourceRow(source, Parts(*map(float, parts)))
                for source, parts in zip(self._sources, heads, strict=True)
            ),
            weights=tuple(self._weight_shares()),
            weights_miss=self._miss(sum(effects, np.zeros(len(self._asks)))),
        )

    def _weight_shares(self) -> Iterator[WeightShare]:
        for kind in dict.fromkeys(kind for kind, _ in self._weights):
            of_kind = [effects for (one, _), effects in self._weights.items() if one == kind]
            yield WeightShare(kind, None, self._share(np.sum(of_kind, axis=0)))
        for (kind, layer), effects in self._weights.items():
            yield WeightShare(kind, layer, self._share(effects))

    def _mean(self, values: Floats) -> Interval:
        return self._by_item.draws.mean(self._by_item.means(values))

    def _share(self, part: Floats) -> Interval:
        """Of the whole change, over all prompts."""
        both = np.stack([part, self._change], 1) * (1 if self._change.sum() >= 0 else -1)
        return share(self._by_item.draws, *self._by_item.means(both).T)

    def _miss(self, parts: Floats) -> float:
        """The largest miss over the mean size of the change; itself where nothing changed."""
        miss, size = np.abs(parts - self._change).max(), np.abs(self._change).mean()
        return float(miss / size if size else miss)


def _known(number: int) -> int | None:
    return None if number == NONE else number


HEADING = "6. Edges"


def tables(found: EdgesResult) -> Iterator[Table]:
    """By module, all the way down to weights, then the modules and sources of each target."""
    columns = ("target", "base", "tuned", "V, O", "Q, K", "MLPs", "other", "input", "cross")
    shares_of = ("values_output", "queries_keys", "mlps", "elsewhere", "input", "cross")
    cells = " ".join(("name", "base:.2", "tuned:.2", *(f"{one}:[%]" for one in shares_of)))
    miss = max((max(one.miss, one.weights_miss) for one in found.targets), default=0.0)
    note = (
        f"Mean over {found.prompts} test prompts. Shares of the change, tuned minus base: changed "
        "weights on the base's input (V, O to other), the base's weights on changed input, and "
        f"what both make together. On no prompt do parts miss more than {miss:.0e} of the change."
    )
    yield table_of(HEADING, found.targets, columns, cells, note, "By module")
    kinds = list(dict.fromkeys(s.kind for one in found.targets for s in one.weights))
    shown = [one for one in found.targets if one.weights]
    rows = tuple((one.name, *shares(*map(one.weights_of, kinds))) for one in shown)
    note = (
        "The same change by the weights that made it, wherever they are: changed input comes from "
        "weights changed below (integrated gradients from the base's weights to the tuned ones)."
    )
    yield Table(HEADING, ("target", *kinds), rows, note, "All the way down to weights")
    yield from map(_places, found.targets)


def _places(one: TargetEdges) -> Table:
    columns = ("from", "change", "V, O or MLP", "Q, K", "input", "cross")
    cells = " ".join(("name", *(f"parts.{part}:+.2" for part in ("change", *PARTS))))
    return table_of(HEADING, one.shown, columns, cells, title=f"Into {one.name}")


def brief(found: EdgesResult) -> Iterator[Table]:
    """The shares that say which weights."""
    columns = ("target", "V, O", "Q, K", "MLPs", "input")
    cells = "name values_output:[%] queries_keys:[%] mlps:[%] input:[%]"
    note = "Of the change; other weights and what both make are the rest, which may be negative."
    yield table_of(HEADING, found.targets[:BRIEFLY], columns, cells, note)


STEP = Step("edges", EdgesResult, measure, tables, brief)
