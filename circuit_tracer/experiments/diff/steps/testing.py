"""How constant edits are tested: a size chosen on selection topics, then what it does on test ones.

Shapes: n edits, S layers of the dictionary, d model width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from circuit_tracer.experiments.diff.directions import Edits, Trials, choose_sizes, unit
from circuit_tracer.experiments.diff.passes import rightly_continued
from circuit_tracer.experiments.diff.results.features import EditRow, Way
from circuit_tracer.experiments.diff.spec import FamilySpec
from circuit_tracer.experiments.diff.steps.behaviour import of_ask
from circuit_tracer.experiments.diff.steps.where import Shares
from circuit_tracer.experiments.diff.study import Progress, Study
from circuit_tracer.experiments.kit.measurement_table import Row
from circuit_tracer.experiments.kit.passes import Ask
from circuit_tracer.graphs.graph import Floats

CHOOSING, QUICK_CHOOSING = 48, 16
"""Documents on which an edit's loss is limited."""
TOGETHER = 8
"""Edits that share passes."""


@dataclass(frozen=True)
class Tested:
    """One edit on test topics, on prompts in the order of their forms."""

    name: str
    way: Way
    features: tuple[tuple[int, int], ...]
    size: float
    contrast: Floats
    """(prompts,) right minus wrong, in logits."""
    coherent: Floats
    loss: Floats
    """(documents,) nats a token that it adds."""
    kept: Floats
    """(collateral prompts,) 1 where it is continued rightly; NaN where it was not without."""


@dataclass(frozen=True)
class Candidate:
    """An edit to be tested; its length is chosen."""

    name: str
    features: tuple[tuple[int, int], ...]
    direction: Floats
    """(S, d), as it restores."""


class Testing:
    """Edits of one model at the streams after some layers."""

    def __init__(
        self, study: Study, way: Way, layers: tuple[int, ...], families: Sequence[FamilySpec]
    ) -> None:
        self.study, self.way, self.families = study, way, families
        model = study.model("tuned" if way == "restore" else "base")
        self.trials = Trials(model, layers, study.texts)
        few = QUICK_CHOOSING if study.settings.quick else CHOOSING
        self._choosing = Trials(model, layers, study.texts[:few])
        self.asks = study.some_asks("test", families=families)

    def directions(self, candidates: Sequence[Candidate], scale: float) -> Edits:
        """(n, S, d) of the size `scale`, pointing where this way goes."""
        given = unit(np.stack([one.direction for one in candidates])) * scale
        return given if self.way == "restore" else -given

    def tested(
        self, candidates: Sequence[Candidate], scale: float, progress: Progress
    ) -> list[Tested]:
        """Each at the size that is chosen for it; `scale` is the shift's."""
        found: list[Tested] = []
        asks, limit = self.study.some_asks("selection"), self.study.spec.loss_limit
        for start in range(0, len(candidates), TOGETHER):
            progress(start, len(candidates))
            some = candidates[start : start + TOGETHER]
            given = self.directions(some, scale)
            chosen = choose_sizes(self._choosing, asks, given, self.way, limit=limit)
            found += self.at(some, given, chosen.sizes)
        return found

    def best(self, candidates: Sequence[Candidate], scale: float) -> int:
        """The one that does most on selection topics, at the size that the limit allows."""
        asks, limit = self.study.some_asks("selection"), self.study.spec.loss_limit
        given = self.directions(candidates, scale)
        chosen = choose_sizes(self._choosing, asks, given, self.way, limit=limit)
        return int(chosen.shares.argmax())

    def at(self, candidates: Sequence[Candidate], given: Edits, sizes: Floats) -> list[Tested]:
        """Edits at a size each, on test topics and on what is to stay."""
        edits, trials = given * sizes[:, None, None], self.trials
        answers = trials.answers(self.asks, edits)
        kept = trials.kept(self.study.spec.collateral, edits)
        kept[:, self._kept == 0] = np.nan
        losses = trials.losses(edits)
        return [
            Tested(
                one.name,
                self.way,
                one.features,
                float(sizes[i]),
                answers.contrast[i],
                answers.coherent[i],
                losses[i],
                kept[i],
            )
            for i, one in enumerate(candidates)
        ]

    @cached_property
    def _kept(self) -> Floats:
        """(collateral prompts,) 1 where it is continued rightly without an edit."""
        return rightly_continued(self.trials.model, self.study.spec.collateral)


class Figures:
    """Edits' figures over the items of test topics; `base` and `tuned` are unedited answers."""

    def __init__(self, study: Study, asks: Sequence[Ask], base: Floats, tuned: Floats) -> None:
        self._study = study
        self.main = np.array([ask.family == study.spec.main.name for ask in asks])
        self._family = np.array([ask.family for ask in asks])
        mains = [ask for ask in asks if ask.family == study.spec.main.name]
        self.shares = Shares(study, mains, 50)
        self.base, self.tuned = (self.shares.right(one[self.main]) for one in (base, tuned))
        self._by_family = {
            family: Shares(study, [ask for ask in asks if ask.family == family], 50)
            for family in dict.fromkeys(self._family.tolist())
        }

    def right(self, contrast: Floats) -> Floats:
        """(items,) share of right answers in the main form."""
        return self.shares.right(contrast[: len(self.main)][self.main])

    def gained(self, one: Tested) -> Floats:
        """(items,) right answers brought back, or lost by the edit."""
        right = self.right(one.contrast)
        return right - self.tuned if one.way == "restore" else self.base - right

    def row(self, one: Tested) -> EditRow:
        """The figures of one edit."""
        texts = self._study.bootstrap(len(one.loss), 2)
        main = self.main[: len(one.contrast)]
        return EditRow(
            name=one.name,
            way=one.way,
            features=one.features,
            size=one.size,
            right=self.shares.draws.mean(self.right(one.contrast)),
            share=self.shares.share(self.gained(one), self.base - self.tuned),
            families=tuple(
                (family, shares.draws.mean(shares.right(one.contrast[self._family == family])))
                for family, shares in self._by_family.items()
            ),
            coherent=float(one.coherent[main].mean()),
            loss=texts.mean(one.loss),
            kept=_mean(one.kept),
        )


def _mean(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def edit_rows(study: Study, asks: Sequence[Ask], tested: Sequence[Tested]) -> Iterator[Row]:
    """Every answer under every edit, the losses, and what was to stay."""
    for one in tested:
        model = "tuned" if one.way == "restore" else "base"
        name = f"{one.way}: {one.name}"
        for ask, value in zip(asks, one.contrast, strict=True):
            yield {"model": model, "name": name, "value": value, **of_ask(study, ask)}
        for number, value in enumerate(one.loss):
            yield {
                "model": model,
                "name": f"{name}: loss",
                "item": f"text {number}",
                "value": value,
            }
        for kept, value in zip(study.spec.collateral, one.kept, strict=True):
            yield {
                "model": model,
                "name": f"{name}: {kept.name}",
                "item": kept.prompt,
                "value": value,
            }
