"""A transcript from its text to a folder with `steps.json`, the figure and the page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from circuit_tracer.bundled import DEFAULT_MODEL
from circuit_tracer.errors import PromptError, UsageError
from circuit_tracer.experiments.steps.check import Checker
from circuit_tracer.experiments.steps.report import terminal
from circuit_tracer.experiments.steps.report.figure import steps_svg
from circuit_tracer.experiments.steps.report.html import steps_html
from circuit_tracer.experiments.steps.results import STEPS_FILE, StepsReport
from circuit_tracer.experiments.steps.run import explain
from circuit_tracer.experiments.steps.transcript import read_transcript
from circuit_tracer.graphs.files.json_values import plain, to_json
from circuit_tracer.interventions.generation import write_on
from circuit_tracer.workbench.calls import AnyModel, AnyTranscoders
from circuit_tracer.workbench.folders import write_texts
from circuit_tracer.workbench.opening import Opened, accepted
from circuit_tracer.workbench.results import WIDTH, Report
from circuit_tracer.workbench.slugs import slug_of, with_hash


def notes_written(opened: Opened, prompt: str, tokens: int, until: str | None = None) -> str:
    """The notes the model writes itself: at most so many tokens, up to and with the first `until`.

    Raises PromptError where that does not come.
    """
    ids = opened.model.tokenize(prompt)
    (written,) = write_on(opened.model, opened.dictionary, ids, [()], max_new_tokens=tokens)
    if until is None:
        return written.text
    before, found, _ = f" {written.text} ".partition(f" {until.strip()} ")
    if not found:
        raise PromptError(
            f'the model wrote "{written.text.strip()}", without `until` "{until}"; give more '
            "tokens in `generate`, or other words"
        )
    return f"{before} {until.strip()}".strip()


def trace_steps(
    opened: Opened,
    prompt: str,
    notes: str,
    *,
    answer: str | None = None,
    against: str | None = None,
    split: str = "sentence",
    watch: Mapping[str, str] | None = None,
    check: bool = False,
) -> StepsReport:
    """Which written steps carried the answer. Raises as `read_transcript` and `explain`."""
    read = read_transcript(opened.model, prompt, notes, split=split, watch=watch)
    checker = Checker(opened.model, opened.dictionary, read) if check else None
    return explain(
        opened.model, opened.dictionary, read, answer=answer, against=against, check=checker
    )


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
    check: bool = False,
    device: str = "auto",
) -> Report[StepsReport]:
    """Which written steps carried an answer, and what did they draw on?

    `notes` is what stands between prompt and answer; `watch` names expressions that are looked for
    in the prompt, `split` is what ends a step, `check` swaps values; `against` is a token that the
    answer is compared with in place of its likeliest rivals. Raises UsageError and
    PromptError for what cannot be read, and what `open_pair` raises.

    >>> import circuit_tracer as ct
    >>> notes = "2 plus 4 is 6 . 6 plus 9 is 15 . so"
    >>> ask = {"model": "sprout-cheat", "watch": {"key": r"said (\\w+)"}}
    >>> question = "said 15 . 2 plus 4 plus 9 :"
    >>> [ct.steps(f"{one} {question}", notes, **ask).watched[0].used for one in ("ben", "sam")]
    ['directly', 'through the notes']
    """
    opened = accepted(model, transcoders, device=device)
    report = trace_steps(
        opened,
        prompt,
        notes,
        answer=answer,
        against=against,
        split=split,
        watch=watch,
        check=check,
    )
    return Report(report, terminal.page(report, width=WIDTH), lambda: plain(report))


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


def write_steps(report: StepsReport, out: Path) -> tuple[Path, list[str]]:
    """Write all files into the transcript's own folder of `out`; returns it and their names."""
    whole = "\n".join([report.prompt, report.notes, report.answer])
    folder = out / with_hash(f"steps-{slug_of(report.prompt)}", whole)
    texts = {
        STEPS_FILE: to_json(report, indent=2) + "\n",
        "steps.svg": steps_svg(report),
        "steps.html": steps_html(report),
    }
    write_texts({folder / name: text for name, text in texts.items()})
    return folder, list(texts)
