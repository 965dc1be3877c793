"""A small run of a tiny model, made in this process."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from circuit_tracer.attribution.settings import TraceSettings
from circuit_tracer.batch.kinds import Graphs
from circuit_tracer.batch.manifest import Entry, entries_of
from circuit_tracer.batch.prompt_file import PromptFile, parse_prompts
from circuit_tracer.batch.run import OpenedBatch, begin
from circuit_tracer.batch.run_file import RunInfo
from circuit_tracer.batch.shards import Outcome, Work
from circuit_tracer.batch.tracing import Tracer
from circuit_tracer.models import Model
from circuit_tracer.transcoders.dictionary import Dictionary
from tests.tiny import random_dictionary, tiny_llama

PROMPTS = (
    "the banana is",
    "the lemon is",
    "is the banana yellow",
    "is the banana red",
    "a lemon is",
    "is a lemon yellow",
    "sky is",
    "the sky is blue yes",
    "is the sky red",
    "true sky is",
)
"""Of four lengths, so that groups are of one to four prompts."""


@cache
def opened() -> tuple[Model, Dictionary]:
    """A tiny random model and dictionary."""
    model = tiny_llama()
    return model, random_dictionary(model)


def prompt_file(prompts: Sequence[str] = PROMPTS) -> PromptFile:
    """One prompt a line."""
    return parse_prompts("\n".join(prompts).encode(), None, "prompts")


def run_info(**changes: Any) -> RunInfo:
    """The facts of a run with the tiny model."""
    model, dictionary = opened()
    settings = {k: v for k, v in vars(TraceSettings()).items() if k != "batch_size"}
    facts: dict[str, Any] = {
        "settings": settings,
        "dtype": "float32",
        "node_threshold": 0.8,
        "edge_threshold": 0.98,
        "graphs": "kept",
        "routes": 3,
        "heads": False,
        "versions": {"torch": "2"},
    }
    return RunInfo(model=model.identity, dictionary=dictionary.identity, **{**facts, **changes})


def tracer(info: RunInfo, **changes: Any) -> Tracer:
    """What traces it."""
    model, dictionary = opened()
    facts: dict[str, Any] = {"settings": TraceSettings(), "heads": info.heads}
    return Tracer(model, dictionary, **{**facts, **changes})


class Alone(Graphs):
    """Without a row maker, which would be ready when such a run has ended."""

    def open(self) -> None:
        return


def make_run(
    folder: Path,
    file: PromptFile | None = None,
    work: Work | None = None,
    *,
    info: RunInfo | None = None,
    **changes: Any,
) -> Outcome:
    """Begin a run or go on with it."""
    info = info or run_info()
    entries = entries_of(file or prompt_file(), info.identity())
    run = begin(folder, info, entries)
    with OpenedBatch(folder, Alone(run, tracer(info, **changes)), entries) as opened:
        return opened.go(work or Work())


def entries(file: PromptFile | None = None) -> list[Entry]:
    """The entries of a prompt file in such a run."""
    return entries_of(file or prompt_file(), run_info().identity())
