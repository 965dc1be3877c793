"""One prompt from its edits to the report: edit, run all again, trace those that matter, judge."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from circuit_tracer.attribution.resources import memory_remedy, products
from circuit_tracer.attribution.settings import TraceSettings
from circuit_tracer.attribution.tracing import Labels, Progress, check_together, trace
from circuit_tracer.errors import UsageError
from circuit_tracer.experiments.edits.making import (
    Classes,
    Replacements,
    all_edits,
    clauses_of,
    tokenised,
)
from circuit_tracer.experiments.edits.passes import Ends, Target, spans_of
from circuit_tracer.experiments.edits.results import EditsReport, Outcome, Routes, Word
from circuit_tracer.experiments.edits.routes import routes_of, strongest_route
from circuit_tracer.experiments.edits.verdict import conflict_of, in_order, judged
from circuit_tracer.graphs.pruning import PrunedGraph, prune
from circuit_tracer.models import Model
from circuit_tracer.models.chat import check_system
from circuit_tracer.progress import OnStage, silent
from circuit_tracer.transcoders.neurons import AnyDictionary

logger = logging.getLogger(__name__)

LONG = 5.0
"""Seconds from which it is worth noting beforehand what something will take."""
ORIGINAL = "original"
"""The folder of the prompt's own graph."""


@dataclass(frozen=True)
class EditSettings:
    """What is edited, and what is measured."""

    answer: str | None = None
    against: str | None = None
    given: tuple[str, ...] = ()
    """ "old=>new"."""
    added: tuple[str, ...] = ()
    """Clauses."""
    classes: Classes = ()
    replacements: int = 3
    """Most words that are put in a word's place, one at a time."""
    split: str = "clause"
    """What ends a clause."""
    graphs: int | None = None
    """Edits whose graphs are traced; items of each family, of a spec."""
    max_feature_nodes: int | None = None
    chat: bool = False
    """Whether the prompt is the user's turn in the model's chat template."""
    system: str | None = None
    """The system turn before it, which is not edited."""

    def __post_init__(self) -> None:
        """Raise UsageError for what cannot be."""
        check_system(self.system, chat=self.chat)
        for name, value in (("replacements", self.replacements), ("graphs", self.graphs)):
            if (value or 0) < 0:
                raise UsageError(f"`{name}` {value} must be at least 0")


@dataclass(frozen=True)
class Engine:
    """What is asked, and how its graphs are labelled."""

    model: Model
    dictionary: AnyDictionary
    labels: Labels | None = None
    relabel: Callable[[PrunedGraph], PrunedGraph] = lambda pruned: pruned
    on_progress: OnStage = silent

    def graphs_of(
        self,
        target: Target,
        max_feature_nodes: int | None,
        count: int,
        *,
        chat: bool = False,
        system: str | None = None,
    ) -> Callable[[str], PrunedGraph]:
        """From a prompt to its pruned graph of one token's logit minus another's.

        What `count` of them will take is noted beforehand where that is long. The function raises
        what `trace` does.
        """
        contrast, noted = ",".join(f"id:{one}" for one in target), list[str]()
        settings = TraceSettings(
            contrast=contrast, max_feature_nodes=max_feature_nodes, chat=chat, system=system
        )

        def tell(now: Progress) -> None:
            if now.note and now.seconds * count > LONG and not noted:
                noted.append(now.note)
                logger.info(f"{count} graphs, each like the first: {now.note}")
            self.on_progress(f"tracing: {now.stage}", now.done, now.total)

        def pruned(prompt: str) -> PrunedGraph:
            traced = trace(
                self.model, self.dictionary, prompt, settings, labels=self.labels, on_progress=tell
            )
            return self.relabel(prune(traced.graph))

        return pruned


class Explained(NamedTuple):
    """A report, and the graphs it speaks of by their folders."""

    report: EditsReport
    graphs: dict[str, PrunedGraph]


def explain(engine: Engine, prompt: str, asked: EditSettings) -> Explained:
    """Which words decide a prompt's answer, and along which routes.

    Raises UsageError and PromptError for edits that cannot be made and tokens that are none,
    DictionaryError for a dictionary of another model, and what `trace` raises.
    """
    begun, model, chat = time.process_time(), engine.model, asked.chat
    check_together(engine.dictionary, model)
    ids = model.tokenize(prompt, chat=chat, system=asked.system)
    with memory_remedy(), products():
        start = time.perf_counter()
        capture = model.capture(ids)
        a_token = (time.perf_counter() - start) / len(ids)
        own = Replacements(
            *(model, prompt, ids, capture.logits),
            classes=asked.classes,
            count=asked.replacements,
            chat=chat,
            system=asked.system,
        )
        made = all_edits(prompt, own, split=asked.split, given=asked.given, added=asked.added)
        edits, texts = tokenised(model, made, chat=chat, system=asked.system)
        seconds = a_token * sum(len(one) for one in {*texts})
        if seconds > LONG:
            then = ", then the graphs" if asked.graphs else ""
            logger.info(f"{len({*texts})} edited prompts: at most {seconds:.0f} s{then}")
        engine.on_progress("running edits", 0, 0)
        ends = Ends.of(model, capture.logits[-1], texts)
    target = ends.target(edits, asked.answer, asked.against, chat=chat)
    contrast, done = ends.contrast(target), ends.outcomes(edits, target)
    words = spans_of(prompt, own.words, done)
    clauses = spans_of(prompt, clauses_of(prompt, asked.split), done)
    chosen = chosen_edits(done, words, clauses, contrast, asked.graphs or 0)
    most, count = asked.max_feature_nodes, 1 + len(chosen)
    graph_of = engine.graphs_of(target, most, count, chat=chat, system=asked.system)
    graphs = {ORIGINAL: graph_of(prompt)} if chosen else {}
    routes: list[Routes] = []
    for one in chosen:
        graphs[one.name] = graph_of(one.prompt)
        routes.append(routes_of(one.name, one.name, graphs[ORIGINAL], graphs[one.name]))
    route_of = partial(_route, graphs.get(ORIGINAL), own.places)
    report = EditsReport(
        prompt=prompt,
        answer=model.token_text(target.answer),
        probability=float(model.probabilities(ends.own)[target.answer]),
        against=model.token_text(target.against),
        contrast=contrast,
        words=tuple(words),
        clauses=tuple(clauses),
        edits=tuple(done),
        routes=tuple(routes),
        verdict=judged(words, clauses, contrast, route_of),
        model=model.identity,
        dictionary=engine.dictionary.identity,
        seconds=time.process_time() - begun,
        chat=chat,
        system=asked.system,
    )
    return Explained(report, graphs)


def chosen_edits(
    done: Sequence[Outcome],
    words: Sequence[Word],
    clauses: Sequence[Word],
    contrast: float,
    count: int,
) -> list[Outcome]:
    """The edits that matter most: those asked for, of spans in conflict, of words by their pull.

    Of a span the edit that changes most, a replacement where there is one.
    """
    by_name = {one.name: one for one in done}
    spans = [*conflict_of(words, clauses, contrast), *in_order(words, clauses)]
    chosen = [one for one in done if one.kind in ("given", "added")]
    for span in spans:
        own = [by_name[name] for name in span.edits]
        chosen.append(max(own, key=lambda one: (one.kind == "replaced", abs(one.change))))
    unique = {one.prompt: one for one in reversed(chosen)}
    return [one for one in dict.fromkeys(chosen) if unique[one.prompt] is one][:count]


def _route(graph: PrunedGraph | None, places: Sequence[int], word: Word) -> str:
    """The strongest route from a span in the prompt's own graph."""
    if graph is None:
        return ""
    inside = [at for at, place in enumerate(places) if word.start <= place < word.stop]
    return strongest_route(graph, inside, word.pull)
