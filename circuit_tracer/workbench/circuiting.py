"""From a prompt, or a file of prompts of one task, to a circuit and its folder."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from circuit_tracer.attribution.settings import TraceSettings
from circuit_tracer.attribution.targets import contrast_pair
from circuit_tracer.batch.prompt_file import PromptLine, read_prompts
from circuit_tracer.bundled import DEFAULT_MODEL
from circuit_tracer.errors import OutputError, PromptError, UsageError
from circuit_tracer.experiments.circuit import terminal
from circuit_tracer.experiments.circuit.graphs import circuit_graph
from circuit_tracer.experiments.circuit.judging import Asked, asked
from circuit_tracer.experiments.circuit.results import CIRCUIT_FILE, CircuitReport, Component
from circuit_tracer.experiments.circuit.run import CircuitSettings, find_circuit, in_words
from circuit_tracer.experiments.kit.results import read_record
from circuit_tracer.experiments.kit.study import Estimate
from circuit_tracer.graphs import PrunedGraph, open_graph
from circuit_tracer.graphs.files.json_values import to_json
from circuit_tracer.graphs.files.storage import TRACE_FILE
from circuit_tracer.models.chat import check_system
from circuit_tracer.models.passing import gradients_recorded
from circuit_tracer.workbench.arguments import check_arguments
from circuit_tracer.workbench.calls import AnyModel, AnyTranscoders
from circuit_tracer.workbench.folders import check_writable, write_texts, write_trace
from circuit_tracer.workbench.named_settings import made_from
from circuit_tracer.workbench.opening import Opened, accepted, reopen
from circuit_tracer.workbench.results import WIDTH, Report
from circuit_tracer.workbench.shipped import find_given
from circuit_tracer.workbench.slugs import slug_of, with_hash
from circuit_tracer.workbench.traced_graph import TracedGraph

logger = logging.getLogger(__name__)

LONG = 20.0
"""Seconds from which it is worth noting beforehand what a search will take."""
MOST_GRAPHS = 5
"""Prompts of a task whose graphs are written."""
NO_FEATURES = "`basis` features are those of `transcoders`; give some, or choose neurons"
OnProgress = Callable[[str, int], None]


class FoundCircuit(NamedTuple):
    """A circuit, and the graphs of the prompts it was found with, as far as they were asked for."""

    report: CircuitReport
    graphs: Sequence[PrunedGraph]


def read_circuit(path: Path) -> CircuitReport:
    """A circuit from its file or folder. GraphFileError, with what is wrong, for anything else."""
    return read_record(CircuitReport, path, file=CIRCUIT_FILE, command="circuit")


def graph_named(prompt: str | Path | TracedGraph | None) -> PrunedGraph | None:
    """A traced graph, or the one that a text names, if it is the place of one and no prompt.

    Raises GraphFileError for a graph that cannot be read, and for a path of a folder without one.
    """
    if isinstance(prompt, TracedGraph):
        return prompt.pruned
    if isinstance(prompt, Path):
        return open_graph(prompt)
    if not isinstance(prompt, str | None):
        raise UsageError(f"a {type(prompt).__name__} is no prompt; give text, or a traced graph")
    with suppress(OSError, ValueError):  # no place can have so long a name
        place = Path(prompt or "-")
        is_path = len(place.parts) > 1 and place.is_dir()
        is_file = place.suffix == ".json" and place.is_file()
        if is_path or is_file or (place / TRACE_FILE).is_file():
            return open_graph(place)
    return None


def asked_of(
    opened: Opened,
    prompt: str | PrunedGraph | None,
    task: str | None,
    answer: str | None,
    against: str | None,
    *,
    chat: bool = False,
    system: str | None = None,
) -> tuple[list[Asked], list[Asked]]:
    """The prompts a circuit is looked for with, and those it is checked on.

    Of a graph the answer is its first target, unless another is given; `chat` puts prompts into
    the model's chat template, after a `system` turn. Of a task every second line is for checking;
    lines that cannot be asked, or that the model answers otherwise than they say, are left out,
    with a note. Raises UsageError and PromptError for what cannot be asked.
    """
    if (prompt is None) == (task is None):
        raise UsageError("give a prompt, or `task`, a file of prompts; not both")
    if isinstance(prompt, PrunedGraph):
        if chat:
            raise UsageError("a graph says itself whether its prompt is a `chat`; leave it out")
        return [_asked_by(prompt, opened, answer, against)], []
    way = TraceSettings(chat=chat, system=system)
    if prompt is not None:
        return [asked(opened.model, prompt, answer, against, way)], []
    if answer is not None or against is not None:
        raise UsageError("`answer` and `against` are for one prompt; a `task` file has its own")
    found, left_out = [], list[str]()
    file = read_prompts(find_given(str(task), ".jsonl", "a prompt file"))
    if file.bad:
        raise PromptError(file.bad[0].message)
    for line in file.prompts:
        try:
            found.append(_asked(opened, line, way))
        except PromptError as error:
            left_out.append(f"line {line.line}: {error}")
    if not found:
        raise PromptError(f"no prompt of {task} can be taken; {left_out[0]}")
    if left_out:
        logger.info(f"{len(left_out)} prompts of {task} are left out; {left_out[0]}")
    return found[::2], found[1::2]


def _asked_by(
    pruned: PrunedGraph, opened: Opened, answer: str | None, against: str | None
) -> Asked:
    """A graph's prompt up to its first target, and that target."""
    info = pruned.graph.info
    target = info.targets[0]
    if answer is None and not target.vocabulary_ids:
        raise PromptError(f"the graph explains {target.token}, which is no token; give `answer`")
    named: list[str | None] = [f"id:{one}" for one in target.vocabulary_ids]
    if answer is None:
        answer, against = named[0], against or (named[1] if target.is_contrast else None)
    settings: Any = info.settings
    way = TraceSettings(
        position=target.position,
        chat=bool(settings.get("chat", False)),
        system=settings.get("system"),
        zeroed_positions=settings.get("zeroed_positions"),
    )
    return asked(opened.model, info.prompt, answer, against, way)


def _asked(opened: Opened, line: PromptLine, way: TraceSettings) -> Asked:
    answer, against = line.targets[0] if line.targets else None, None
    if line.contrast is not None:
        answer, against = contrast_pair(line.contrast)
    return asked(opened.model, line.prompt, answer, against, way)


def look_for(
    opened: Opened,
    found_with: Sequence[Asked],
    others: Sequence[Asked],
    settings: CircuitSettings,
    *,
    on_progress: OnProgress | None = None,
) -> FoundCircuit:
    """The circuit, with labels, and its graphs. Raises what `find_circuit` and `trace` do, and
    UsageError for features where there are none but neurons."""
    if settings.basis.startswith("features") and opened.dictionary.kind == "neurons":
        raise UsageError(NO_FEATURES)
    first = found_with[0]
    zeroed = first.way.zeroed_positions  # of a graph, its own
    if zeroed is None:
        zeroed = opened.model.zeroed_positions(list(first.ids))
    report, components, numbers = find_circuit(
        opened.model,
        opened.dictionary,
        found_with,
        others,
        settings,
        n_zeroed=zeroed,
        n_graphs=min(len(found_with), MOST_GRAPHS),
        on_progress=on_progress,
        on_estimate=_noted,
    )
    chosen = components.mask(numbers)
    if on_progress is not None:
        on_progress("tracing graphs", len(numbers))
    made = [
        opened.labelled(circuit_graph(components, one, chosen, opened.labels))
        for one in found_with[:MOST_GRAPHS]
    ]
    return FoundCircuit(_labelled(report, made), made)


def _noted(expected: Estimate) -> None:
    if expected.seconds > LONG:
        logger.info(f"circuit: a long search has {expected}, its graphs included")


def _labelled(report: CircuitReport, graphs: Sequence[PrunedGraph]) -> CircuitReport:
    """With what the graphs call its features."""
    labels: dict[tuple[int, int], str] = {}
    for pruned in graphs:
        nodes, rows = pruned.graph.nodes, pruned.kept_rows.tolist()
        labels |= {(int(nodes.layer[i]), int(nodes.feature[i])): nodes.label[i] for i in rows}

    def named(one: Component) -> Component:
        label = labels.get((one.layer, one.index), "") if one.kind == "feature" else ""
        return replace(one, label=label)

    return replace(report, components=tuple(map(named, report.components)))


def folder_of(
    opened: Opened, every: Sequence[Asked], settings: CircuitSettings, out: Path, overwrite: bool
) -> Path:
    """The folder of a circuit in `out`; raises OutputError for one that holds something.

    That is known before the search, which takes much longer.
    """
    texts = [one.prompt for one in every]
    made_with = [settings.basis, settings.ablation, in_words(settings.level)]
    way = every[0].way
    made_with += ["chat"] if way.chat else []
    made_with += [] if way.system is None else [way.system]
    key = to_json([texts, opened.model.identity.sha256, *made_with])
    folder = out / with_hash(f"circuit-{slug_of(texts[0])}", key)
    check_writable(folder)
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise OutputError(
            f"{folder} is there already; add `overwrite` to replace it, or choose another `out`"
        )
    return folder


def write_circuit(found: FoundCircuit, folder: Path, *, overwrite: bool = False) -> list[str]:
    """Write the circuit into its folder, each prompt's graph beside it; returns their names."""
    prompts = list(found.report.prompts)  # those it was found with come first
    names = list[str]()
    for at, pruned in enumerate(found.graphs):
        one = prompts[at]
        name = slug_of(one.prompt)
        if name in names:  # other words in the same letters, or another answer
            name = with_hash(name, to_json([one.prompt, one.answer, one.against]))
        if name not in names:
            write_trace(pruned, folder / name, overwrite=overwrite)
            names.append(name)
        prompts[at] = replace(one, graph=name)
    text = to_json(replace(found.report, prompts=tuple(prompts)), indent=2)
    write_texts({folder / CIRCUIT_FILE: f"{text}\n"})
    return [CIRCUIT_FILE, *(f"{name}/" for name in names)]


@gradients_recorded()
def circuit(
    prompt: str | Path | TracedGraph | None = None,
    *,
    task: str | Path | None = None,
    model: AnyModel | None = None,
    transcoders: AnyTranscoders | None = None,
    answer: str | None = None,
    against: str | None = None,
    chat: bool = False,
    system: str | None = None,
    device: str = "auto",
    **settings: Any,
) -> Report[CircuitReport]:
    """How little of the model is enough for an answer, or for the answers of a `task` file?

    `prompt` may be a traced graph, or the place of one, whose model and first target are taken
    then; `chat` puts prompts into the model's chat template, after a `system` turn.
    `settings` are those of `CircuitSettings`: `basis` ("neurons+attention", "neurons",
    "features", "features+attention"), `ablation` ("mean", "zero", "resample"), `keep` or `kl`,
    `by`, `random`, `seed`. Raises UsageError and PromptError for what cannot be asked, and what
    `open_pair` raises.

    >>> import circuit_tracer as ct
    >>> found = ct.circuit("rome is the capital of", basis="neurons")
    >>> found.prompts[0].right, found.prompts[0].share >= 0.8, found.is_minimal
    (True, True, True)
    """
    check_arguments(circuit, locals())
    check_system(system, chat=chat)
    chosen = made_from(CircuitSettings, settings)
    given, pruned = basis_transcoders(chosen.basis, transcoders), graph_named(prompt)
    if pruned is None:
        opened = accepted(model or DEFAULT_MODEL, given, device=device)
    else:
        own = prompt.opened if isinstance(prompt, TracedGraph) and model is None else model
        opened, _ = reopen(pruned, own, given, device=device, instead=("neurons",))
    typed = prompt if isinstance(prompt, str) else None
    file = None if task is None else str(task)
    found_with, others = asked_of(
        opened, pruned or typed, file, answer, against, chat=chat, system=system
    )
    report = look_for(opened, found_with, others, chosen).report
    return Report(report, terminal.page(report, width=WIDTH))


def basis_transcoders(basis: str, transcoders: AnyTranscoders | None) -> AnyTranscoders | None:
    """What to open for a basis; raises UsageError where neither goes with the other."""
    if basis.startswith("features"):
        if transcoders == "neurons":
            raise UsageError(NO_FEATURES)
        return transcoders
    if transcoders not in (None, "neurons"):
        raise UsageError(
            f"`transcoders` have no part in `basis` {basis}; leave them out, or choose features"
        )
    return "neurons"
