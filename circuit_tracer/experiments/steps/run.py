"""One transcript from its tokens to the report: freeze, follow back, say what is used."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from circuit_tracer.attribution.estimate import WalkExpectation, estimate_walks
from circuit_tracer.attribution.resources import memory_remedy, products
from circuit_tracer.experiments.kit.places import as_words
from circuit_tracer.experiments.steps.results import (
    MAIN,
    Part,
    Said,
    Step,
    StepsReport,
    Swap,
    Used,
    Watched,
)
from circuit_tracer.experiments.steps.rows import BATCH, FrozenTranscript, Row
from circuit_tracer.experiments.steps.shares import (
    COVERAGE,
    Shares,
    arrows,
    followed,
    margin,
    noise_floor,
)
from circuit_tracer.experiments.steps.transcript import Span, Transcript
from circuit_tracer.graphs.token_text import spelled
from circuit_tracer.models import Model
from circuit_tracer.transcoders.neurons import AnyDictionary

Check = Callable[[FrozenTranscript, Shares], Sequence[Swap]]


def explain(
    model: Model,
    dictionary: AnyDictionary,
    read: Transcript,
    *,
    answer: str | None = None,
    against: str | None = None,
    decided: Sequence[int] = (),
    coverage: float = COVERAGE,
    check: Check | None = None,
    on_plan: Callable[[WalkExpectation], None] | None = None,
) -> StepsReport:
    """Which steps and watched spans an answer drew on.

    `answer` is the model's own where none is given, compared with its likeliest rivals or with the
    token `against`; `decided` the positions of tokens to follow
    back where the rule should not choose them, and `check` what swaps values; `coverage` is that of
    `followed`, and `on_plan` hears what rows will take before they are made. Raises PromptError
    for an answer that is not one token, DictionaryError for a dictionary of another model.
    """
    begun = time.process_time()
    with memory_remedy(), products():
        frozen = FrozenTranscript(model, dictionary, read, answer, against)

        def rows_of(places: Sequence[int]) -> Sequence[Row]:
            if on_plan is not None and places:
                said = [at - 1 for at in places]
                on_plan(estimate_walks(frozen.sweep, said, BATCH))
            return frozen.rows(places)

        shares = followed(read, rows_of, decided, coverage=coverage)
        seconds = time.process_time() - begun
        swaps = tuple(check(frozen, shares)) if check is not None else ()
    row = shares.answer
    steps = tuple(
        Step(**_part(shares, one), decided=tuple(shares.heads(one))) for one in read.steps
    )
    watched = tuple(_watched(model, read, shares, one) for one in read.watched)
    return StepsReport(
        prompt=read.prompt,
        notes=read.notes,
        tokens=tuple(model.token_text(one) for one in read.ids),
        answer=model.token_text(frozen.answer),
        probability=frozen.probability,
        answer_is_models_own=int(frozen.logits[-1].argmax()) == frozen.answer,
        against="" if frozen.against is None else model.token_text(frozen.against),
        value=row.value,
        signed=tuple(row.tokens.tolist()),
        constant=row.constant,
        error_share=row.error_share,
        steps=steps,
        watched=watched,
        prompt_rest=_rest(read, shares),
        arrows=tuple(arrows(read, shares, [*read.watched, *read.steps])),
        swaps=swaps,
        model=model.identity,
        dictionary=dictionary.identity,
        left=float(shares.chain.ends[read.first_note :].sum()),
        seconds=seconds,
        system=read.system,
        chat=read.chat,
    )


def _part(shares: Shares, span: Span) -> dict[str, Any]:
    return {
        "name": span.name,
        "text": span.text,
        "start": span.start,
        "stop": span.stop,
        "direct": shares.direct(span),
        "chained": shares.chained(span),
        "direct_floor": shares.direct_floor(span),
        "chained_floor": shares.chained_floor(span),
    }


def _rest(read: Transcript, shares: Shares) -> Part:
    """The prompt without what is watched."""
    rest = np.ones(read.first_note, dtype=bool)
    for one in read.watched:
        rest[one.start : one.stop] = False
    at = np.flatnonzero(rest)
    return Part(
        name="prompt",
        text=read.prompt,
        start=0,
        stop=read.first_note,
        direct=float(shares.answer.shares[at].sum()),
        chained=float(shares.chain.ends[at].sum()),
        direct_floor=len(at) * margin(len(at)) * noise_floor(shares.answer.shares, read.n_tokens),
        chained_floor=float(shares.chain.noise[at].sum()) * margin(len(at)),
    )


def _watched(model: Model, read: Transcript, shares: Shares, span: Span) -> Watched:
    value = spelled([model.token_text(read.ids[at]) for at in span.value]).strip()
    quoted = tuple(step.name for step in read.steps if says(step.text, span.text))
    where = quoted or tuple(step.name for step in read.steps if says(step.text, value))
    said: Said = "quoted" if quoted else "value" if where else "no"
    part = _part(shares, span)
    return Watched(**part, said=said, where=where, used=used(Part(**part)))


def used(part: Part) -> Used:
    """How the answer draws on a watched span, by its shares and their floors."""
    if part.direct >= MAIN and part.direct > part.direct_floor:
        return "directly"
    if not part.carries:  # however large, in a short text whose tokens all have as much
        return "no"
    return "through the notes" if part.chained >= MAIN else "little"


def says(text: str, words: str) -> bool:
    """Whether a text has these words, as words."""
    return bool(words) and re.search(as_words(words), text, re.I) is not None
