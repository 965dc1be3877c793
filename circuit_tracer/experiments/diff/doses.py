"""5. The chosen features on test topics: both directions, doses, one alone beside ten.

What is edited is the same for every prompt. Beside it stands the patch of the same features to
what they are in the base on the very prompt, which may copy the answer (read-outs).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from circuit_tracer.experiments.diff.directions import Candidate, Way, first_token
from circuit_tracer.experiments.diff.features import CHOSEN, HEADING, FeaturesResult, in_order
from circuit_tracer.experiments.diff.features import lacks as lacks_dictionary
from circuit_tracer.experiments.diff.ranking import Ranking, of_residual
from circuit_tracer.experiments.diff.study import Earlier, Step, Study
from circuit_tracer.experiments.diff.testing import CELLS, COLUMNS, EditName, EditRow, Testing
from circuit_tracer.experiments.kit.edits import ModuleEdits, stream_edits
from circuit_tracer.experiments.kit.passes import Ask, contrasts, token_ids
from circuit_tracer.experiments.kit.stages import Row
from circuit_tracer.experiments.kit.statistics import share
from circuit_tracer.experiments.kit.study import Progress
from circuit_tracer.experiments.kit.tables import Table, shares, table_of
from circuit_tracer.graphs.bootstrap import Interval
from circuit_tracer.graphs.graph import Floats, Ints
from circuit_tracer.models.parts import RESIDUAL
from circuit_tracer.render.numbers import whole_percent

TEN, ONE, INDUCING = "ten by screening", "one by screening", "one that induces most"
"""Edits' names."""


@dataclass(frozen=True)
class DoseRow(EditName):
    """One point of a dose curve, on test topics in the main form."""

    size: float
    right: Interval
    coherent: float
    loss: float
    kept: float


@dataclass(frozen=True)
class DosesResult:
    """5. The test of what was chosen."""

    prompts: int
    base: Interval
    """Share of right answers on test topics in the main form."""
    tuned: Interval
    edits: tuple[EditRow, ...]
    doses: tuple[DoseRow, ...]
    patched: Interval
    """Right answers of the tuned model with the chosen features, on each prompt, as they are in the
    base: an edit that depends on the prompt, no evidence of a persona."""
    patched_share: Interval
    """Of the lost answers."""

    def edit(self, name: str, way: Way) -> EditRow | None:
        """One edit in one direction."""
        return next((one for one in self.edits if (one.name, one.way) == (name, way)), None)


def lacks(study: Study, earlier: Earlier) -> str:
    """Chosen features are needed."""
    if lack := lacks_dictionary(study, earlier):
        return lack
    found = earlier.of(FeaturesResult).rows
    return "" if found else "no feature is more or less active in the tuned model"


def measure(study: Study, earlier: Earlier, progress: Progress) -> tuple[DosesResult, list[Row]]:
    """Sizes, tests, doses, the patch."""
    ranking = earlier.once(of_residual, study)
    chosen = earlier.of(FeaturesResult).chosen(ranking)
    ten, one, *others = chosen_edits(ranking, chosen)
    in_main, testing = Testing(study, ranking), Testing(study, ranking, study.spec.families)
    alone = [ranking.candidate(INDUCING, each) for each in chosen[:, None]]
    inducing = in_main.best("induce", alone)
    wanted: dict[Way, list[Candidate]] = {"restore": [ten, one, *others], "induce": [ten, inducing]}
    tested, doses = [], []
    rows: list[Row] = []
    for way, edits in wanted.items():
        tested += testing.tested(way, edits, progress)
        for each in (ten, edits[1]):
            found, measured = _doses(study, in_main, way, each)
            doses += found
            rows += measured
    patch = patched(study, ranking, chosen, in_main.asks)
    right, draws = in_main.main.right(patch), in_main.main.draws
    result = DosesResult(
        prompts=len(in_main.asks),
        base=draws.mean(in_main.base),
        tuned=draws.mean(in_main.tuned),
        edits=tuple(each.row for each in tested),
        doses=tuple(doses),
        patched=draws.mean(right),
        patched_share=share(draws, right - in_main.tuned, in_main.lost),
    )
    return result, [*(row for each in tested for row in each.measurements), *rows]


def chosen_edits(ranking: Ranking, chosen: Ints) -> list[Candidate]:
    """Ten by screening, the best of them alone, and ten by each of the rankings."""
    picked = {TEN: chosen, ONE: chosen[:1]}
    for name, values in (("change", np.abs(ranking.change)), ("gradient", ranking.predicted)):
        picked[f"ten by {name}"] = in_order(values)[:CHOSEN]
    return [ranking.candidate(*one) for one in picked.items()]


def _doses(
    study: Study, testing: Testing, way: Way, one: Candidate
) -> tuple[list[DoseRow], list[Row]]:
    """One edit at every dose, in the main form."""
    sizes = study.settings.doses
    named = [replace(one, name=f"{one.name} x {size:g}") for size in sizes]
    found = []
    rows: list[Row] = []
    for each in testing.at(way, named, np.array(sizes)):
        row = each.row
        found.append(
            DoseRow(one.name, way, row.size, row.right, row.coherent, row.loss.value, row.kept)
        )
        rows += each.measurements
    return found, rows


@torch.no_grad()
def patched(study: Study, ranking: Ranking, chosen: Ints, asks: Sequence[Ask]) -> Floats:
    """(prompts,) right minus wrong in the tuned model, features patched to the base's values."""
    dictionary, numbers = ranking.dictionary, ranking.dictionary.numbers
    layer, feature = ranking.split(chosen)
    features = {numbers[i]: feature[layer == i] for i in np.unique(layer)}

    def edits_of(rows: list[int]) -> ModuleEdits:
        ids = token_ids(study.base, asks, rows)
        read = study.base.mlp_activity(ids, RESIDUAL, RESIDUAL, numbers).inputs
        donor = dict(zip(numbers, read, strict=True))

        def edited(layer: int, stream: Tensor) -> Tensor:
            """What the features write as in the base, all else as it is; the first token aside."""
            one = dictionary.layers[layer]
            index = torch.as_tensor(features[layer], device=stream.device)
            change = (one.encode(donor[layer]) - one.encode(stream))[..., index]
            change[:, : first_token(study.base)] = 0
            return stream + change @ one.decoder_rows(index, layer)

        return stream_edits(features, edited)

    return contrasts(study.tuned, asks, edits_of)


def tables(found: DosesResult) -> Iterator[Table]:
    """The chosen features on test topics, then by form, then dose by dose."""
    note = (
        f"{found.prompts} prompts of test topics; the base answers "
        f"{whole_percent(found.base.value)} rightly, the tuned model "
        f"{whole_percent(found.tuned.value)}. size: in sizes of the shift. Patched to the base's "
        f"values prompt by prompt, the ten restore {shares(found.patched_share)[0]}."
    )
    yield table_of(HEADING, found.edits, COLUMNS, CELLS, note, "The test")
    forms = [name for name, _ in found.edits[0].families] if found.edits else []
    right = [(one.words, *shares(*(right for _, right in one.families))) for one in found.edits]
    yield Table(HEADING, ("right answers", *forms), tuple(right), title="By form")
    columns = ("dose", "size", "right", "one of the two", "loss", "kept")
    cells = "words size:g right:0% coherent:0% loss:+.3f kept:0%"
    yield table_of(HEADING, found.doses, columns, cells, title="Dose by dose")


STEP = Step("doses", DosesResult, measure, tables, lacks=lacks)
