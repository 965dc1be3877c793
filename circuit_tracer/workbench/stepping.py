"""A transcript from its text to a folder with `steps.json`, the figure and the page."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from circuit_tracer.attribution.estimate import WalkExpectation
from circuit_tracer.attribution.settings import TraceSettings
from circuit_tracer.bundled import DEFAULT_MODEL
from circuit_tracer.errors import OutputError, PromptError, UsageError
from circuit_tracer.experiments.kit.places import as_words
from circuit_tracer.experiments.kit.weights import identified
from circuit_tracer.experiments.steps.check import TOP_STEPS, Checker
from circuit_tracer.experiments.steps.report import terminal
from circuit_tracer.experiments.steps.report.figure import steps_html, steps_svg
from circuit_tracer.experiments.steps.results import ANSWER, STEPS_FILE, ExactGraph, StepsReport
from circuit_tracer.experiments.steps.rows import FrozenTranscript
from circuit_tracer.experiments.steps.run import explain
from circuit_tracer.experiments.steps.shares import COVERAGE
from circuit_tracer.experiments.steps.transcript import Transcript, read_transcript
from circuit_tracer.experiments.steps.why import why
from circuit_tracer.graphs.files.json_values import from_plain, to_json
from circuit_tracer.interventions.generation import write_on
from circuit_tracer.models.chat import check_system
from circuit_tracer.progress import OnStage, silent
from circuit_tracer.reading import read_json, readable
from circuit_tracer.workbench.arguments import check_arguments
from circuit_tracer.workbench.calls import AnyModel, AnyTranscoders
from circuit_tracer.workbench.folders import write_texts
from circuit_tracer.workbench.opening import Opened, accepted
from circuit_tracer.workbench.results import WIDTH, Report
from circuit_tracer.workbench.slugs import slug_of, with_hash
from circuit_tracer.workbench.tracing import LONG, FolderSettings, trace_into

logger = logging.getLogger(__name__)

STEPS_PAGE = "steps.html"


def notes_written(
    opened: Opened,
    prompt: str,
    tokens: int,
    until: str | None = None,
    *,
    chat: bool = False,
    system: str | None = None,
) -> str:
    """The notes the model writes itself: at most so many tokens, up to and with the first `until`.

    Raises PromptError where that does not come.
    """
    ids = opened.model.tokenize(prompt, chat=chat, system=system)
    (written,) = write_on(opened.model, opened.dictionary, ids, [()], max_new_tokens=tokens)
    if until is None:
        return written.text
    ending = until.strip()
    found = re.search(as_words(ending), written.text) if ending else None
    if found is None:
        raise PromptError(
            f'the model wrote "{written.text.strip()}", without `until` "{until}"; give more '
            "tokens in `generate`, or other words"
        )
    return written.text[: found.end()].strip()


def trace_steps(
    opened: Opened,
    prompt: str,
    notes: str,
    *,
    answer: str | None = None,
    against: str | None = None,
    split: str = "sentence",
    watch: Mapping[str, str] | None = None,
    chat: bool = False,
    system: str | None = None,
    decided: Sequence[str] = (),
    coverage: float = COVERAGE,
    check: bool = False,
    exact: Path | None = None,
    on_progress: OnStage = silent,
) -> StepsReport:
    """Which written steps carried the answer.

    With `exact` the full graphs of the answer and of the steps that carry most are written below
    the transcript's own folder there (`folder_of`). Raises as `read_transcript` and `explain`, and
    UsageError for `decided` tokens that are not in the notes.
    """
    model, dictionary = opened.model, opened.dictionary
    read = read_transcript(model, prompt, notes, split=split, watch=watch, chat=chat, system=system)
    checker = Checker(model, dictionary, read) if check else None
    if not 0 < coverage <= 1:
        raise UsageError(f"`coverage` {coverage:g} must be above 0 and at most 1")

    def plan(expected: WalkExpectation) -> None:
        if expected.seconds > LONG:
            logger.info(str(expected))  # also where there is no terminal
        on_progress(f"following the answer back, {expected}", 0, 0)

    report = explain(
        model,
        dictionary,
        read,
        answer=answer,
        against=against,
        decided=_places(opened, read, decided),
        coverage=coverage,
        check=checker,
        on_plan=plan,
    )
    if exact is None:
        return report
    frozen = FrozenTranscript(model, dictionary, read, answer, against)
    return _with_graphs(opened, read, report, frozen, exact)


def _places(opened: Opened, read: Transcript, given: Sequence[str]) -> list[int]:
    """Positions of decided tokens, each given as @position or as a word of the notes."""
    notes = range(read.first_note, read.n_tokens)
    texts = {at: opened.model.token_text(read.ids[at]).strip() for at in notes}
    found: list[int] = []
    for one in given:
        places = [at for at in notes if one in (f"@{at}", texts[at])]
        if not places:
            raise UsageError(
                f'`decided` "{one}" is no token of the notes; give one, or its position, '
                f"@{notes.start} to @{notes.stop - 1}"
            )
        found += places
    return sorted(set(found))


def _with_graphs(
    opened: Opened, read: Transcript, report: StepsReport, frozen: FrozenTranscript, out: Path
) -> StepsReport:
    """The report with full graphs, of the answer and of the weightiest token of the steps that
    carry most, and with why the answer looks where it looks."""
    model, dictionary = opened.model, opened.dictionary
    report = replace(report, model=identified(model), dictionary=identified(dictionary))
    folder = folder_of(report, out, exact=True)
    top = sorted((one for one in report.steps if one.decided), key=lambda one: -one.chained)
    wanted = [(ANSWER, read.n_tokens)]
    wanted += [
        (one.name, max(one.decided, key=lambda at: abs(report.signed[at])))
        for one in top[:TOP_STEPS]
    ]
    graphs = []
    output = FolderSettings(trust=False, overwrite=True)
    for part, position in wanted:
        name = f"exact-{part}"
        token = model.token_text(frozen.ids[position])
        # By its id: beside others, a text may name the token with a blank before it.
        settings = TraceSettings(targets=(f"id:{frozen.ids[position]}",), position=position - 1)
        traced = trace_into(folder / name, opened, read.text, settings, output)
        assert traced is not None  # one process
        if part == ANSWER:
            reason = why(frozen, dictionary, traced.pruned)
        graphs.append(ExactGraph(part, token, position, name))
    return replace(report, exact=tuple(graphs), why=reason)


def steps(
    prompt: str,
    notes: str,
    *,
    model: AnyModel = DEFAULT_MODEL,
    transcoders: AnyTranscoders | None = None,
    answer: str | None = None,
    against: str | None = None,
    split: str = "sentence",
    watch: Mapping[str, str] | None = None,
    chat: bool = False,
    system: str | None = None,
    decided: str | Sequence[str] = (),
    coverage: float = COVERAGE,
    check: bool = False,
    exact: str | Path | None = None,
    device: str = "auto",
) -> Report[StepsReport]:
    """Which written steps carried an answer, and what did they draw on?

    `notes` is what stands between prompt and answer; `watch` names expressions that are looked for
    in the prompt, `split` is what ends a step, `check` swaps values; `against` is a token that the
    answer is compared with in place of its likeliest rivals. `chat` puts the prompt into the
    model's chat template, after a `system` turn; `decided` names the tokens that are followed back,
    as @position or word, `coverage` how much of an answer is followed back through notes of more
    than 64 tokens; `exact` is a folder for full graphs. Raises UsageError and PromptError for what
    cannot be read, and what `open_pair` raises.

    >>> import circuit_tracer as ct
    >>> notes = "2 plus 4 is 6 . 6 plus 9 is 15 . so"
    >>> ask = {"model": "sprout-cheat", "watch": {"key": r"said (\\w+)"}}
    >>> question = "said 15 . 2 plus 4 plus 9 :"
    >>> [ct.steps(f"{one} {question}", notes, **ask).watched[0].used for one in ("ben", "sam")]
    ['directly', 'through the notes']
    """
    check_arguments(steps, locals())
    check_system(system, chat=chat)
    opened = accepted(model, transcoders, device=device)
    report = trace_steps(
        opened,
        prompt,
        notes,
        answer=answer,
        against=against,
        split=split,
        watch=watch,
        chat=chat,
        system=system,
        decided=(decided,) if isinstance(decided, str) else decided,
        coverage=coverage,
        check=check,
        exact=None if exact is None else Path(exact),
    )
    return Report(report, terminal.page(report, width=WIDTH))


def watch_of(given: list[str] | None) -> dict[str, str]:
    """`watch` as NAME=REGEX; raises UsageError for anything else, and for a name given twice."""
    found: dict[str, str] = {}
    for one in given or ():
        name, sign, expression = one.partition("=")
        if not (sign and name.isidentifier() and expression):
            raise UsageError(f'`watch` {one} must be NAME=REGEX, such as key="said (\\w+)"')
        if name in found:
            raise UsageError(f"`watch` names {name} twice; give each its own name")
        found[name] = expression
    return found


def folder_of(report: StepsReport, out: Path, *, exact: bool) -> Path:
    """A transcript's own folder: another model, other spans, swaps or full graphs have another, so
    that no report takes the place of one that says something else."""
    weights = [one.sha256 for one in (report.model, report.dictionary)]
    parts = [(one.name, one.start, one.stop) for one in (*report.watched, *report.steps)]
    decided = [one.decided for one in report.steps]
    more = [bool(report.swaps), exact]
    asked = [report.prompt, report.notes, report.answer, report.against]
    asked += [] if report.system is None else [report.system]
    whole = to_json([asked, weights, parts, decided, more])
    return out / with_hash(f"steps-{slug_of(report.prompt)}", whole)


def read_steps(folder: Path | str) -> StepsReport:
    """What `steps` wrote into a folder. Raises OutputError for anything else."""
    check_arguments(read_steps, locals())
    path, advice = Path(folder) / STEPS_FILE, "give a folder that circuit-tracer steps wrote"
    record = read_json(path, OutputError, advice)
    with readable(path, OutputError, advice):
        return from_plain(StepsReport, record)


def write_steps(report: StepsReport, out: Path) -> tuple[Path, list[str]]:
    """Write all files into the transcript's own folder of `out`; returns it and their names."""
    folder = folder_of(report, out, exact=bool(report.exact))
    texts = {
        STEPS_FILE: to_json(report, indent=2) + "\n",
        "steps.svg": steps_svg(report),
        STEPS_PAGE: steps_html(report),
    }
    write_texts({folder / name: text for name, text in texts.items()})
    return folder, list(texts)
