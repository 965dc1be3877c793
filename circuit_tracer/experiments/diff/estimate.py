"""What a comparison will take, from a moment's trial of its parts.

Nearly all of it is passes: of prompts and of ordinary text, under edits. Some rows of each are
timed, and one prompt's split of edges, and the rank of one matrix of each shape; all are scaled by
how many there will be.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from circuit_tracer.experiments.diff.directions import HALVINGS, REFINED, SIZES, Trials
from circuit_tracer.experiments.diff.edges import Split
from circuit_tracer.experiments.diff.features import CHOSEN
from circuit_tracer.experiments.diff.study import Study
from circuit_tracer.experiments.diff.testing import TOGETHER
from circuit_tracer.experiments.diff.where import changed_parts, groups, rank_of_change
from circuit_tracer.experiments.kit.study import Estimate
from circuit_tracer.interventions.engine import rows_at_once
from circuit_tracer.models.devices import peak_memory, synchronize

TRIED, TIMED = 2, 32
"""Edits, and prompts, of the trial."""
REACHED = 0.7
"""Of all sizes, how many an edit is tried at before its loss is over the limit."""
COPIES = 4
"""Of a pass's logits while losses are taken."""


@dataclass(frozen=True)
class _Work:
    """How many there will be of each."""

    prompts: int
    documents: int
    splits: int


def expected(study: Study) -> Estimate:
    """For all steps that the study has dictionaries for."""
    changed = changed_parts(study)
    work = _work(study, sum(group.among(one for one, _ in changed) for group in groups(study)))
    layers = (study.base.n_layers // 2,) if study.residual is None else study.residual.numbers
    trials = Trials(study.tuned, layers, study.texts)
    edits = np.zeros((TRIED, len(layers), study.base.d_model))
    asks = study.some_asks("selection")[:TIMED]
    trials.losses(edits[:1])  # the first pass warms up
    prompt = _seconds(study, lambda: trials.answers(asks, edits)) / (TRIED * len(asks))
    document = _seconds(study, lambda: trials.losses(edits)) / (TRIED * len(study.texts))
    split = _seconds(study, lambda: Split(study, study.split[:1], None).add(0))
    seconds = work.prompts * prompt + work.documents * document + work.splits * split
    ranked = {pair[0].shape: pair for pair in changed if pair[0].has_rank}
    for shape, pair in ranked.items():
        count = sum(one.has_rank and one.shape == shape for one, _ in changed)
        seconds += count * _seconds(study, lambda pair=pair: rank_of_change(study, *pair))  # type: ignore[misc]
    rows = work.prompts + work.documents
    return Estimate(rows, "prompts and documents to pass", seconds, _memory(study))


def _work(study: Study, exchanges: int) -> _Work:
    """Rows of all steps; weights are exchanged so many times, both ways."""
    settings, main = study.settings, study.some_asks
    selection, test, others = len(main("selection")), len(main("test")), len(study.held_out())
    in_forms, kept = len(main("test", families=study.spec.families)), len(study.collateral)
    texts, located, fits = len(study.texts), len(study.located), len(study.dictionaries)
    prompts = 2 * (len(study.asks) + kept) + 8 * others + 2 * (exchanges + 1) * located
    documents, splits = 4 * texts, len(study.split) * (1 + (study.spec.contrast is not None))
    prompts, documents = prompts + 4 * fits * located, documents + 6 * fits * texts
    if study.residual is None:
        return _Work(prompts, documents, splits)
    screened = 3 * settings.tops  # twice as many at most, of two dictionaries
    sets = settings.random_tens + 2 * settings.matched_tens
    tested = 2 * sets - settings.matched_tens  # most are tested at the ten's scale, too
    sized, curves = CHOSEN + 6 + 4 + sets, 4 * len(settings.doses)
    tries = round(REACHED * (len(SIZES) + REFINED))
    prompts += (screened + 3 + sized * (tries + HALVINGS)) * selection
    prompts += 6 * (in_forms + kept) + (4 + tested + curves) * (test + kept)
    documents += (sized * (tries + 2) + 6 + 4 + tested + curves) * texts
    return _Work(prompts, documents, splits + 2 * len(study.split))


def _memory(study: Study) -> int:
    """What the trial took at its height, or the pass over ordinary text with the most rows."""
    lengths = Counter(map(len, study.texts))
    model = study.base
    passes = (
        min(TOGETHER * n, rows_at_once(model, length, 1, keep_seen=True)) * length
        for length, n in lengths.items()
    )
    logits = max(passes) * model.wiring.n_vocabulary * model.torch_dtype.itemsize
    return peak_memory(model.device) + COPIES * logits


def _seconds(study: Study, run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    synchronize(study.base.device)
    return time.perf_counter() - start
