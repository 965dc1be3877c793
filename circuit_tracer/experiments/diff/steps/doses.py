"""5. The chosen features on test topics: both directions, doses, one alone beside ten.

What is edited is the same for every prompt. Beside it stands the patch of the same features to
what they are in the base on the very prompt, which may copy the answer (read-outs).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from circuit_tracer.experiments.diff.directions import first_token
from circuit_tracer.experiments.diff.persona import INDUCING, ONE, TEN
from circuit_tracer.experiments.diff.results.features import DoseRow, DosesResult, Way
from circuit_tracer.experiments.diff.step import Earlier, Step
from circuit_tracer.experiments.diff.steps.features import (
    CHOSEN,
    Features,
    residual,
    undone,
)
from circuit_tracer.experiments.diff.steps.features import lacks as lacks_dictionary
from circuit_tracer.experiments.diff.steps.testing import (
    Candidate,
    Figures,
    Tested,
    Testing,
    edit_rows,
)
from circuit_tracer.experiments.diff.study import Progress, Study
from circuit_tracer.experiments.kit.measurement_table import Row
from circuit_tracer.experiments.kit.passes import Ask, contrasts, token_ids
from circuit_tracer.graphs.graph import Floats, Ints
from circuit_tracer.models.capture import Place
from circuit_tracer.models.parts import RESIDUAL
from circuit_tracer.transcoders.dictionary import Dictionary

DOSES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0)
QUICK_DOSES = (0.5, 1.0, 2.0)
"""In sizes of the shift."""


@dataclass(frozen=True)
class Doses:
    """Answers on test topics, unedited and under edits."""

    base: Floats
    """(prompts,) right minus wrong, in all forms."""
    tuned: Floats
    edits: tuple[Tested, ...]
    doses: tuple[Tested, ...]
    """At every dose, in the main form."""
    patched: Floats
    """(prompts of the main form,) of the tuned model, the ten patched to the base's values."""


def tested_asks(study: Study) -> tuple[Ask, ...]:
    """Test topics in all forms."""
    return study.some_asks("test", families=study.spec.families)


def measure(study: Study, earlier: Earlier, progress: Progress) -> Doses:
    """Sizes, tests, doses, the patch."""
    dictionary, found = residual(study), earlier.of(Features)
    assert dictionary is not None
    scale = float(np.linalg.norm(found.ranking.shift))
    ten, one, *others = chosen_edits(dictionary, found)
    asks = tested_asks(study)
    inducing = _inducing(study, dictionary, found, scale)
    edits, doses = [], []
    ways: tuple[tuple[Way, Candidate, list[Candidate]], ...] = (
        ("restore", one, others),
        ("induce", inducing, []),
    )
    for way, alone, more in ways:
        testing = Testing(study, way, dictionary.numbers, study.spec.families)
        edits += testing.tested([ten, alone, *more], scale, progress)
        doses += list(_doses(study, way, dictionary, (ten, alone), scale))
    main = study.some_asks("test")
    return Doses(
        base=contrasts(study.base, asks),
        tuned=contrasts(study.tuned, asks),
        edits=tuple(edits),
        doses=tuple(doses),
        patched=patched(study, dictionary, found.screening.chosen, main),
    )


def chosen_edits(dictionary: Dictionary, found: Features) -> list[Candidate]:
    """Ten by screening, the best of them alone, and ten by each of the rankings."""
    screening, ranking = found.screening, found.ranking
    layer, feature = screening.chosen
    ten = candidate(dictionary, found, TEN, layer, feature)
    one = candidate(dictionary, found, ONE, layer[:1], feature[:1])
    others = []
    for name, values in (("change", np.abs(ranking.change)), ("gradient", ranking.predicted)):
        order = np.argsort(-values.ravel(), kind="stable")[:CHOSEN]
        where = np.unravel_index(order, values.shape)
        others.append(candidate(dictionary, found, f"ten by {name}", *where))
    return [ten, one, *others]


def _inducing(study: Study, dictionary: Dictionary, found: Features, scale: float) -> Candidate:
    """The one of the ten that alone brings the base to most wrong answers on selection topics."""
    layer, feature = found.screening.chosen
    alone = [
        candidate(dictionary, found, INDUCING, layer[i : i + 1], feature[i : i + 1])
        for i in range(len(layer))
    ]
    testing = Testing(study, "induce", dictionary.numbers, (study.spec.main,))
    return alone[testing.best(alone, scale)]


def candidate(
    dictionary: Dictionary, found: Features, name: str, layer: Ints, feature: Ints
) -> Candidate:
    """The change of some features taken back, all at once."""
    numbers = [dictionary.numbers[i] for i in layer]
    names = tuple(zip(numbers, map(int, feature), strict=True))
    return Candidate(name, names, undone(dictionary, found.ranking, layer, feature).sum(0))


def _doses(
    study: Study, way: Way, dictionary: Dictionary, given: Sequence[Candidate], scale: float
) -> Iterator[Tested]:
    testing = Testing(study, way, dictionary.numbers, (study.spec.main,))
    sizes = np.array(QUICK_DOSES if study.settings.quick else DOSES)
    for one in given:
        direction = testing.directions([one], scale)
        yield from testing.at([one] * len(sizes), direction.repeat(len(sizes), 0), sizes)


@dataclass(frozen=True)
class _Patch:
    """Some features at what they are in another pass over the same rows, the first token aside."""

    dictionary: Dictionary
    features: dict[int, Ints]
    donor: dict[int, Float[Tensor, "B T d"]]
    """By layer, the stream that they are read from."""
    first: int
    """Where a prompt's own tokens start."""

    def wants(self, place: Place, layer: int) -> bool:
        """The streams after the features' layers."""
        return place == "layer" and layer in self.features

    def edit(self, place: Place, layer: int, seen: Tensor, given: Tensor) -> Tensor:
        """What the features write as in the donor, all else as it is."""
        one = self.dictionary.layers[layer]
        index = torch.as_tensor(self.features[layer], device=given.device)
        change = (one.encode(self.donor[layer]) - one.encode(given))[..., index]
        change[:, : self.first] = 0
        return given + change @ one.decoder_rows(index, layer)


@torch.no_grad()
def patched(
    study: Study, dictionary: Dictionary, chosen: tuple[Ints, Ints], asks: Sequence[Ask]
) -> Floats:
    """(prompts,) right minus wrong in the tuned model, features patched to the base's values."""
    layer, feature = chosen
    numbers = dictionary.numbers
    features = {numbers[i]: feature[layer == i] for i in np.unique(layer)}

    def edits_of(rows: list[int]) -> _Patch:
        ids = token_ids(study.base, asks, rows)
        read = study.base.mlp_activity(ids, RESIDUAL, RESIDUAL, numbers).inputs
        donor = dict(zip(numbers, read, strict=True))
        return _Patch(dictionary, features, donor, first_token(study.base))

    return contrasts(study.tuned, asks, edits_of)


def result(study: Study, found: Doses) -> DosesResult:
    """The figures."""
    asks = tested_asks(study)
    figures = Figures(study, asks, found.base, found.tuned)
    draws, shares = figures.shares.draws, figures.shares
    patched_right = shares.right(found.patched)
    alone = Figures(
        study, study.some_asks("test"), found.base[figures.main], found.tuned[figures.main]
    )
    doses = [alone.row(one) for one in found.doses]
    return DosesResult(
        prompts=int(figures.main.sum()),
        base=draws.mean(figures.base),
        tuned=draws.mean(figures.tuned),
        edits=tuple(figures.row(one) for one in found.edits),
        doses=tuple(
            DoseRow(one.name, one.way, one.size, one.right, one.coherent, one.loss.value, one.kept)
            for one in doses
        ),
        patched=draws.mean(patched_right),
        patched_share=shares.share(patched_right - figures.tuned, figures.base - figures.tuned),
    )


def rows(study: Study, found: Doses) -> Iterator[Row]:
    """Every answer under every edit and dose."""
    asks, main = tested_asks(study), study.some_asks("test")
    yield from edit_rows(study, asks, found.edits)
    named = [replace(one, name=f"{one.name} x {one.size:g}") for one in found.doses]
    yield from edit_rows(study, main, named)


def lacks(study: Study, earlier: Earlier) -> str:
    """Chosen features are needed."""
    if lack := lacks_dictionary(study, earlier):
        return lack
    found = earlier.of(Features).screening
    return "" if len(found.layer) else "no feature is more or less active in the tuned model"


STEP = Step("doses", Doses, measure, result, rows, lacks)
