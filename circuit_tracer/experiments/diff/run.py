"""The comparison from its spec to its report, step by step; finished stages are not rerun."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import GenericAlias
from typing import Any

from circuit_tracer.experiments.diff.estimate import expected
from circuit_tracer.experiments.diff.report import STEPS, DiffReport
from circuit_tracer.experiments.diff.study import Earlier, Study
from circuit_tracer.experiments.diff.verdict import judge
from circuit_tracer.experiments.kit.results import Verdict
from circuit_tracer.experiments.kit.spec_reader import fingerprint
from circuit_tracer.experiments.kit.stages import Row, StageStore, stage_key, write_rows
from circuit_tracer.experiments.kit.study import Estimate
from circuit_tracer.experiments.kit.weights import weights_hash
from circuit_tracer.interventions.engine import few_threads
from circuit_tracer.progress import OnStage, silent
from circuit_tracer.versions import versions

COLUMNS = (
    "step", "model", "topic", "family", "claim", "item", "name", "layer", "head", "feature", "value"
)  # fmt: skip
"""Of the table of measurements. `model` is "base" or "tuned"; `name` says what a value is, where it
is no lead of the right answer in logits."""


def diff(
    study: Study,
    folder: Path,
    *,
    on_progress: OnStage = silent,
    on_estimate: Callable[[Estimate], None] | None = None,
) -> DiffReport:
    """Run or finish a comparison in its report folder; writes stages and measurements.

    `on_estimate` gets what it will take before anything is measured, and nothing from a run that
    goes on.

    Raises OutputError where the folder holds another comparison, PromptError for items that the
    tokenizer cannot write, UsageError for models that do not compare.
    """
    store = StageStore(folder, diff_key(study), "diff")
    store.check()
    study.check()
    earlier, notes = Earlier(), []
    results: dict[str, Any] = {}
    measurements: list[Row] = []
    with few_threads(study.base):
        if on_estimate is not None and not store.folder.is_dir():
            on_progress("estimating", 0, 0)
            on_estimate(expected(study))
        for step in STEPS:
            if lack := step.lacks(study, earlier):
                notes.append(f"{step.name}: {lack}")
                continue
            progress = partial(on_progress, step.name)
            progress(0, 0)
            # A stage is a step's result with every measurement that it is made of.
            stored: Any = GenericAlias(tuple, (step.kind, tuple[Row, ...]))
            measure = partial(step.measure, study, earlier, progress)
            result, rows = store.stage(step.name, stored, measure)
            results[step.name] = result = step.named(study, result)
            earlier.add(result)
            measurements += ({"step": step.name, **row} for row in rows)
    write_rows(measurements, COLUMNS, folder)
    report = _report(study, results, tuple(notes))
    return replace(report, verdict=judge(report), seconds=dict(store.seconds))


def _report(study: Study, results: dict[str, Any], notes: tuple[str, ...]) -> DiffReport:
    spec, settings = study.spec, study.settings
    return DiffReport(
        name=spec.name,
        question=spec.question,
        base=study.base.identity,
        tuned=study.tuned.identity,
        dictionaries=tuple(one.identity for one in study.dictionaries),
        n_layers=study.base.n_layers,
        main=spec.main.name,
        topics=dict(spec.topics),
        loss_limit=spec.loss_limit,
        seed=settings.seed,
        quick=settings.quick,
        resamples=settings.resamples,
        verdict=Verdict("", ()),
        notes=notes,
        versions=versions(),
        **results,
    )


def diff_key(study: Study) -> str:
    """Of everything that a stage depends on."""
    return stage_key(
        spec=fingerprint(study.spec),
        base=weights_hash(study.base),
        tuned=weights_hash(study.tuned),
        dictionaries=[*map(weights_hash, study.dictionaries)],
        dtype=str(study.base.torch_dtype),
        settings=study.settings,
    )
