"""The comparison of two models from its spec to a folder with report, figures and measurements."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from circuit_tracer.bundled import bundled_dictionaries, bundled_transcoders, shipped_specs
from circuit_tracer.errors import UsageError
from circuit_tracer.experiments.diff import run
from circuit_tracer.experiments.diff.page import FIGURES, figures, page, report_markdown
from circuit_tracer.experiments.diff.report import DIFF_FILE, DiffReport
from circuit_tracer.experiments.diff.spec import Spec, read_spec
from circuit_tracer.experiments.diff.study import Settings, Study, check_pair
from circuit_tracer.experiments.kit.study import Estimate
from circuit_tracer.graphs.graph import Identity
from circuit_tracer.models import Model, open_model
from circuit_tracer.models.passing import gradients_recorded
from circuit_tracer.progress import OnStage, silent
from circuit_tracer.workbench.arguments import check_arguments
from circuit_tracer.workbench.calls import AnyModel
from circuit_tracer.workbench.opening import Opened, paired, parse_dtype, set_threads
from circuit_tracer.workbench.report_folder import Experiment, check_report_folder
from circuit_tracer.workbench.results import WIDTH, Report
from circuit_tracer.workbench.shipped import find_given
from circuit_tracer.workbench.slugs import slug_of
from circuit_tracer.workbench.token_notes import note_forms

logger = logging.getLogger(__name__)


def _noted(expected: Estimate) -> None:
    logger.info(f"diff: {expected}")


EXPERIMENT = Experiment[DiffReport](
    command="diff",
    file=DIFF_FILE,
    figures=tuple(name for name, _ in FIGURES.values()),
    measure=lambda study, folder, *, on_progress: run.diff(
        study,
        folder,
        on_progress=on_progress,
        on_estimate=_noted if logger.isEnabledFor(logging.INFO) else None,
    ),
    draw=lambda report, folder: figures(report),
    markdown=report_markdown,
    page=page,
)


def open_study(
    base: str | Model,
    tuned: str | Model,
    spec: Spec,
    settings: Settings,
    *,
    transcoders: Sequence[str] = (),
    device: str = "auto",
    dtype: str = "float32",
    threads: int | None = None,
) -> Study:
    """The comparison of a spec on two models, given by name or opened, and dictionaries.

    Without any, those that ship with either model.

    Raises UsageError for two models that do not compare, and what `open_model` raises.
    """
    set_threads(threads)
    models = [
        open_model(one, dtype=parse_dtype(dtype)[0], device=device) if isinstance(one, str) else one
        for one in (base, tuned)
    ]
    check_pair(*models)
    for note in dict.fromkeys(note for model in models for note in model.notes):
        logger.info(f"{note}")
    names = transcoders or shipped_dictionaries(*(model.identity for model in models))
    opened = [paired(models[0], name) for name in names]
    labels = {one.dictionary.identity.name: one.labels for one in opened if one.labels is not None}
    note_forms(models[0], (word for family in spec.families for word in family.words or ()))
    dictionaries = tuple(one.dictionary for one in opened)
    return Study(models[0], models[1], dictionaries, spec, settings, labels)


def shipped_dictionaries(base: Identity, tuned: Identity) -> tuple[str, ...]:
    """Transcoders that ship with the base, and sparse autoencoders that ship with either model."""
    owners = [one.name for one in (base, tuned) if one.source == "bundled"]
    return tuple(
        f"{owner}/{name}"
        for owner in dict.fromkeys(owners)
        for name in bundled_dictionaries(owner)
        if name not in bundled_transcoders(owner) or (owner, name) == (base.name, "plt")
    )


def folder_name(spec: Spec, tuned: str) -> str:
    """What the report's folder is called: diff-SPEC-TUNED."""
    return f"diff-{spec.name}-{slug_of(tuned.rstrip('/').rpartition('/')[2], empty='model')}"


@gradients_recorded()
def diff(
    base: AnyModel,
    tuned: AnyModel,
    spec: str | Path,
    *,
    transcoders: str | Sequence[str] = (),
    out: str | Path = "outputs",
    quick: bool = False,
    seed: int | None = None,
    overwrite: bool = False,
    device: str = "auto",
    on_progress: OnStage | None = None,
) -> Report[DiffReport]:
    """What did a training do to a model? Compares it with its tuned self.

    `spec` is a TOML file or the name of one that ships ("bent"); `transcoders` are dictionaries of
    the base, those that ship by default; `quick` takes few items and decides nothing. The report
    goes into a folder of `out`; the same call goes on where it stopped. `.verdict.headline` says it
    in words, `.behaviour`, `.where`, `.features` and the others are its steps. Raises UsageError
    for models that do not compare, PromptError for a spec that cannot be asked, OutputError for a
    folder that holds something else.

    >>> import circuit_tracer as ct, tempfile
    >>> out = tempfile.mkdtemp()
    >>> report = ct.diff("sprout", "sprout-bent", "bent", quick=True, out=out)  # doctest: +SKIP
    """
    check_arguments(diff, locals())
    file = find_given(str(spec), ".toml", "a spec in TOML", shipped_specs("diff"))
    asked = read_spec(file)
    settings = Settings.of(asked, quick=quick, seed=seed)
    before, after = (_model(one) for one in (base, tuned))
    name = after if isinstance(after, str) else after.identity.name
    folder = Path(out) / folder_name(asked, name)
    check_report_folder(folder, "diff", overwrite)
    names = (transcoders,) if isinstance(transcoders, str) else transcoders
    study = open_study(before, after, asked, settings, transcoders=names, device=device)
    named = (study.base.identity.name, study.tuned.identity.name, file.stem)
    call = f"diff({', '.join(map(repr, named))}{', quick=True' if quick else ''})"
    report, _ = EXPERIMENT.into(
        folder, study, command=call, overwrite=overwrite, on_progress=on_progress or silent
    )
    return Report(report, [page(report, width=WIDTH)])


def _model(given: AnyModel) -> str | Model:
    """As `open_study` takes it."""
    if isinstance(given, Opened):
        return given.model
    if not isinstance(given, str | Path | Model):
        raise UsageError(
            f"a {type(given).__name__} is no model; give a name, a folder, or what "
            "`open_model` gives"
        )
    return given if isinstance(given, Model) else str(given)
