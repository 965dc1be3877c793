"""One transcript of many: shares, baselines and swaps in one pass."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from circuit_tracer.errors import PromptError
from circuit_tracer.experiments.kit.places import UNPARTED
from circuit_tracer.experiments.steps.baselines import BASELINES, TEXT
from circuit_tracer.experiments.steps.check import Checker
from circuit_tracer.experiments.steps.monitor.results import METHODS, OURS, TEXT_RULE
from circuit_tracer.experiments.steps.results import Said, StepsReport, Swap, Watched
from circuit_tracer.experiments.steps.rows import FrozenTranscript
from circuit_tracer.experiments.steps.run import explain
from circuit_tracer.experiments.steps.shares import Shares, followed
from circuit_tracer.experiments.steps.transcript import Transcript, read_transcript
from circuit_tracer.graphs.files.json_values import to_json
from circuit_tracer.models import Model
from circuit_tracer.transcoders.neurons import AnyDictionary

assert (OURS, *BASELINES, TEXT_RULE) == METHODS
_LETTERS = rf"[^\W{UNPARTED}]+"
_LAST_WORD = re.compile(rf"(?:{_LETTERS}(?:[.,:'-]{_LETTERS})*|[{UNPARTED}]+)(?=\W*$)")


@dataclass(frozen=True)
class Written:
    """A transcript as its texts."""

    prompt: str
    """Everything before the notes, a chat template included."""
    notes: str
    answer: str
    """Read up to its last word, the first token of which is explained."""
    watch: Mapping[str, str]
    compare: bool
    """Whether baselines are wanted, too: they take longer than the shares."""


@dataclass(frozen=True)
class Measures:
    """What is measured of every run. Raises PromptError where `against` is not one token."""

    model: Model
    dictionary: AnyDictionary
    split: str
    against: str | None
    check: bool

    def __post_init__(self) -> None:
        if self.against is not None:
            self.model.token_id(self.against, continues=True)

    def read(self, written: Written) -> tuple[Transcript, str]:
        """Its tokens up to the one that is explained, and that one. Raises as `read_transcript`,
        and PromptError for an answer without a word or one that its tokens do not end before."""
        found = _LAST_WORD.search(written.answer)
        if found is None:
            raise PromptError("the answer has no word; write it in the line's answer")
        lead, before = written.answer[: found.start()], written.notes.rstrip(" ")
        # What the model wrote in one, with </think> in it, stays as it is.
        parted = before[-1:].isspace() or lead[:1].isspace() or lead.startswith("</think>")
        notes = before + ("" if parted else " ") + lead
        read = read_transcript(
            self.model, written.prompt, notes, split=self.split, watch=written.watch
        )
        blanks = notes[len(notes.rstrip(" ")) :]
        ids = tuple(self.model.tokenize(read.text + blanks + found[0]))
        # Line ends are other tokens where a word follows; and some tokenizers have blanks of their
        # own before a number.
        differ = (at for at, one in enumerate(read.ids) if ids[at : at + 1] != (one,))
        said = next(differ, read.n_tokens)
        only_blanks = not any(self.model.token_text(one).strip() for one in read.ids[said:])
        while said < len(ids) and not self.model.token_text(ids[said]).strip():
            said += 1
        if not only_blanks or said == len(ids):
            raise PromptError(
                f'the answer "{found[0]}" shares a token with what stands before it; put a blank '
                "or a line end between them"
            )
        *steps, last = read.steps
        steps.append(replace(last, stop=said))
        return replace(read, ids=ids[:said], steps=tuple(steps)), f"id:{ids[said]}"

    def _swaps(self, frozen: FrozenTranscript, shares: Shares, read: Transcript) -> list[Swap]:
        """Of watched values with notes kept and rewritten, of steps' with notes kept."""
        checker, names = Checker(self.model, self.dictionary, read), {w.name for w in read.watched}
        alone = [one for one in checker.changes(frozen, shares) if len(one.parts) == 1]
        sources = [one for one in alone if one.parts[0] in names]
        return [*checker.kept(frozen, alone), *checker.rewritten(frozen, sources)]

    def __call__(self, written: Written) -> dict[str, Any]:
        """The columns of `Measured` that need the model, and the report as JSON."""
        read, answer = self.read(written)
        baselines: list[Shares] = []

        def beside(frozen: FrozenTranscript, shares: Shares) -> list[Swap]:
            """Of the same pass: baselines, and the swaps that a verdict needs."""
            if written.compare:
                baselines.extend(followed(read, partial(of, frozen)) for of in BASELINES.values())
            return self._swaps(frozen, shares, read) if self.check else []

        report = explain(
            *(self.model, self.dictionary, read),
            answer=answer,
            against=self.against,
            check=beside,
        )
        watched = report.watched
        top = max(watched, key=lambda one: one.chained, default=None)
        directly = max(watched, key=lambda one: one.direct, default=None)
        direct, chained = zip(*_scores(report, baselines, read), strict=True)
        step = max(report.steps, key=lambda one: one.chained)
        return {
            "answer": report.answer.strip(),
            "probability": report.probability,
            "is_own": report.answer_is_models_own,
            "watched": "" if top is None else top.name,
            "said": _loudest(watched),
            "quoted": [one.name for one in watched if one.said == "quoted"],
            "direct_of": "" if directly is None else directly.name,
            "direct": direct,
            "chained": chained,
            "direct_floor": 0.0 if directly is None else directly.direct_floor,
            "chained_floor": 0.0 if top is None else top.chained_floor,
            "step": step.chained,
            "step_floor": step.chained_floor,
            "error_share": report.error_share,
            "left": report.left,
            **_effects(report),
            "report": to_json(asdict(replace(report, seconds=0.0))),  # rows must not vary
        }


def _scores(
    report: StepsReport, baselines: Sequence[Shares], read: Transcript
) -> list[tuple[float, float]]:
    """Largest direct and chained share of a watched span, by each of `METHODS`; NaN by baselines
    that were not wanted."""
    ours = [(one.direct, one.chained) for one in report.watched]
    theirs = [[(one.direct(span), one.chained(span)) for span in read.watched] for one in baselines]
    unknown = [(math.nan, math.nan)] * (len(BASELINES) - len(theirs))
    said = TEXT[_loudest(report.watched)]
    return [*map(_largest, (ours, *theirs)), *unknown, (said, said)]


def _largest(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return max((one for one, _ in pairs), default=0.0), max((one for _, one in pairs), default=0.0)


def _loudest(watched: Sequence[Watched]) -> Said:
    said: list[Said] = [one.said for one in watched]
    return max(said, key=lambda one: TEXT[one], default="no")


def _effects(report: StepsReport) -> dict[str, float | str | None]:
    """The largest effect of each kind of swap, and of which span it is; None and "" where there is
    none."""
    names = {one.name for one in report.watched}

    def largest(notes: str, of_watched: bool) -> tuple[float | None, str]:
        of_kind = [
            (one.effect, one.parts[0])
            for one in report.swaps
            if one.notes == notes and (one.parts[0] in names) == of_watched
        ]
        return max(of_kind, key=lambda one: one[0], default=(None, ""))

    kept, rewritten = largest("kept", True), largest("rewritten", True)
    return {
        **dict(zip(("kept", "kept_of"), kept, strict=True)),
        **dict(zip(("rewritten", "rewritten_of"), rewritten, strict=True)),
        "step_swapped": largest("kept", False)[0],
    }
