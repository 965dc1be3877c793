"""A prompt's edits, or a spec's, from their words to a folder with `edits.json`, figure, page and
graphs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from circuit_tracer.bundled import (
    DEFAULT_MODEL,
    default_dictionary,
    shipped_edits,
    shipped_specs,
    shipped_words,
)
from circuit_tracer.errors import OutputError, UsageError
from circuit_tracer.experiments.edits.families import explain_families
from circuit_tracer.experiments.edits.making import Classes, classes_in, classes_of
from circuit_tracer.experiments.edits.report import terminal
from circuit_tracer.experiments.edits.report.families import FIGURE, families_html, families_svg
from circuit_tracer.experiments.edits.report.figure import edits_html, edits_svg
from circuit_tracer.experiments.edits.results import EDITS_FILE, EditsReport, FamiliesReport
from circuit_tracer.experiments.edits.run import EditSettings, Engine, explain
from circuit_tracer.experiments.edits.spec import Spec, read_spec
from circuit_tracer.experiments.kit.weights import identified
from circuit_tracer.graphs.files.json_values import from_plain, plain, to_json
from circuit_tracer.graphs.files.storage import TRACE_FILE
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.progress import OnStage, silent
from circuit_tracer.reading import read_bytes, read_json, read_toml, readable
from circuit_tracer.workbench.arguments import check_arguments
from circuit_tracer.workbench.calls import AnyModel, AnyTranscoders
from circuit_tracer.workbench.folders import write_texts, write_trace
from circuit_tracer.workbench.opening import Opened, accepted
from circuit_tracer.workbench.report_folder import remove
from circuit_tracer.workbench.results import WIDTH, Report
from circuit_tracer.workbench.shipped import find_given
from circuit_tracer.workbench.slugs import slug_of, with_hash
from circuit_tracer.workbench.tables import Table
from circuit_tracer.workbench.token_notes import note_forms

EDITS_PAGE, EDITS_TABLE = "edits.html", "edits.parquet"
GRAPHS = {"prompt": 2, "spec": 1}
"""Edits of a prompt that are traced, and items of each family of a spec, where nothing is said."""


class Found(NamedTuple):
    """What was found of a prompt or of a spec, and what is written of it."""

    report: EditsReport | FamiliesReport
    graphs: dict[str, PrunedGraph]

    def write(self, out: Path) -> tuple[Path, list[str]]:
        """Report, figure, page and graphs, into a folder of its own in `out`, in place of those of
        an earlier run; returns it and their names."""
        report = self.report
        if isinstance(report, FamiliesReport):
            folder, drawn = out / _name_of(report), families_svg(report)
        else:
            weights = [one.sha256 for one in (report.model, report.dictionary)]
            parts = [report.prompt, report.answer, report.against, *(["chat"] * report.chat)]
            parts += [*([] if report.system is None else [report.system]), *weights]
            folder = out / with_hash(f"edits-{slug_of(report.prompt)}", "\n".join(parts))
            drawn = edits_svg(report)
        texts = {
            EDITS_FILE: to_json(report, indent=2) + "\n",
            FIGURE: drawn,
            EDITS_PAGE: edits_page(report),
        }
        # Edits are numbered by what was asked for: an earlier run's E1 may be another prompt's.
        earlier = [one.parent.name for one in folder.glob(f"*/{TRACE_FILE}")]
        remove(folder, earlier)
        write_texts({folder / name: text for name, text in texts.items()})
        edits_table(report).save(folder / EDITS_TABLE)
        for name, pruned in self.graphs.items():
            write_trace(pruned, folder / name, ("json",), overwrite=True)
        return folder, [*texts, EDITS_TABLE, *(f"{name}/" for name in self.graphs)]


def _name_of(report: FamiliesReport) -> str:
    """What a spec's folder is called: its name, and what it was asked of where that is not the
    usual model and dictionary, or is a turn of a chat; names in memory say no weights."""
    model, dictionary = report.model, report.dictionary.name.rpartition("/")[2]
    own = [] if model.name == DEFAULT_MODEL else [model.name]
    own += [] if dictionary == default_dictionary(model.name, model.source) else [dictionary]
    own += ["chat"] * report.chat
    name = "-".join([report.name, *(slug_of(one, empty="model") for one in own)])
    more = [] if report.system is None else [report.system]
    more += [one.sha256 for one in (model, report.dictionary) if one.source == "memory"]
    return with_hash(name, "\n".join(more)) if more else name


def read_edits(folder: Path) -> EditsReport | FamiliesReport:
    """What `edits` wrote into a folder. Raises OutputError for anything else."""
    path, advice = folder / EDITS_FILE, "give a folder that circuit-tracer edits wrote"
    record = read_json(path, OutputError, advice)
    with readable(path, OutputError, advice):
        if "families" in record:
            return from_plain(FamiliesReport, record)
        return from_plain(EditsReport, record)


def edits_page(report: EditsReport | FamiliesReport) -> str:
    """The page of a report, of either kind."""
    return families_html(report) if isinstance(report, FamiliesReport) else edits_html(report)


def edits_table(report: EditsReport | FamiliesReport) -> Table:
    """A row an edit, or a family; of an interval its value, low and high end."""
    things = report.families if isinstance(report, FamiliesReport) else report.edits
    return Table(
        [{k: v for field in plain(one).items() for k, v in _flat(*field)} for one in things]
    )


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """What a field of a row has as columns: of lists none."""
    if isinstance(value, Mapping):
        yield from ((name, value["value"]), *((f"{name}_{k}", value[k]) for k in ("low", "high")))
    elif not isinstance(value, list | tuple):
        yield name, value


def spec_of(given: str) -> Spec | None:
    """The spec that somebody means: a TOML file, or one that ships; None for a prompt.

    Raises UsageError for a file of that ending that is not there or cannot be read, and for a name
    that is nearly one of those that ship.
    """
    ships = shipped_edits()
    if given.endswith(".toml") or given in ships:
        return read_spec(find_given(given, ".toml", "a spec in TOML", shipped_specs("edits")))
    if near := get_close_matches(given, ships, cutoff=0.8):
        raise UsageError(f'"{given}" is no spec that ships; did you mean {near[0]}?')
    return None


def read_classes(given: str | Path) -> Classes:
    """The word classes of a vocabulary file, TOML or one class a line, or of one that ships.

    Raises UsageError for anything else, and for a file without a class.
    """
    ships, path = shipped_words(), Path(given)
    path = ships.get(str(given), path) if not path.is_file() else path
    advice = f"give word classes in TOML or one a line, or {' or '.join(ships)}, which ships"
    if path.suffix == ".toml":
        classes = classes_of(read_toml(path, UsageError, advice), path.name)
    else:
        content = read_bytes(path, UsageError, advice)
        with readable(path, UsageError, advice):
            classes = classes_in(content.decode("utf-8-sig"))
    if not any(len(one) > 1 for one in classes):
        raise UsageError(f"{path} has no class of two words or more; {advice}")
    return classes


def find(
    opened: Opened,
    prompt: str,
    spec: Spec | None,
    asked: EditSettings,
    on_progress: OnStage = silent,
) -> Found:
    """What decides a prompt's answer, or what a spec's edits do. Raises as `run.explain` and
    `explain_families`, and UsageError for what goes with a prompt alone."""
    engine = Engine(opened.model, opened.dictionary, opened.labels, opened.labelled, on_progress)
    if spec is None:
        if asked.chat:  # elsewhere answers follow a blank
            named = (asked.answer, asked.against)
            note_forms(opened.model, [one for one in named if one is not None])
        graphs = GRAPHS["prompt"] if asked.graphs is None else asked.graphs
        return Found(*explain(engine, prompt, replace(asked, graphs=graphs)))
    if any((asked.answer, asked.against, asked.given, asked.added, asked.classes)):
        raise UsageError(
            "a spec says itself what is edited and compared; leave out `answer`, `against`, "
            "`edit`, `add` and `vocabulary`"
        )
    system = spec.system if asked.system is None else asked.system
    spec = replace(spec, chat=spec.chat or asked.chat, system=system)
    graphs = GRAPHS["spec"] if asked.graphs is None else asked.graphs
    most = asked.max_feature_nodes
    return Found(explain_families(engine, spec, graphs=graphs, max_feature_nodes=most), {})


def edits(
    prompt: str | Path,
    *,
    model: AnyModel | None = None,
    transcoders: AnyTranscoders | None = None,
    answer: str | None = None,
    against: str | None = None,
    edit: str | Sequence[str] = (),
    add: str | Sequence[str] = (),
    vocabulary: str | Path | None = None,
    replacements: int = 3,
    split: str = "clause",
    chat: bool = False,
    system: str | None = None,
    graphs: int | None = None,
    max_feature_nodes: int | None = None,
    out: str | Path | None = None,
    device: str = "auto",
) -> Report[EditsReport | FamiliesReport]:
    """Which words of a prompt decide its answer, and along which routes?

    Every word is deleted and replaced by others of its class (`vocabulary`: a TOML file, one with a
    class a line, or "words-sprout"; by default tokens of its kind), clauses are left out, `chat`
    puts prompts into the model's chat template, after a `system` turn, `edit` ("joker=>teacher")
    and `add` make others.
    `.words` have each one's pull on the contrast of `answer` and `against`, `.verdict` what the
    rules say, `.routes` what the `graphs` edits that matter most change of the graph. A spec (a
    TOML file or a name that ships: "edits-speaker") asks about families of prompts. Files are
    written where `out` names a folder. Raises UsageError and PromptError for what cannot be edited.

    >>> import circuit_tracer as ct
    >>> found = ct.edits("joker : is a tomato red ?", edit="joker=>teacher", graphs=1)
    >>> found.edits[0].answer.strip(), found.verdict.kind
    ('yes', 'decided by')
    """
    check_arguments(edits, locals())
    spec = spec_of(str(prompt))
    asked = EditSettings(
        answer=answer,
        against=against,
        given=(edit,) if isinstance(edit, str) else tuple(edit),
        added=(add,) if isinstance(add, str) else tuple(add),
        classes=() if vocabulary is None else read_classes(vocabulary),
        replacements=replacements,
        split=split,
        graphs=graphs,
        max_feature_nodes=max_feature_nodes,
        chat=chat,
        system=system,
    )
    if model is None:
        model = DEFAULT_MODEL if spec is None else spec.model
    opened = accepted(model, transcoders, device=device)
    found = find(opened, str(prompt), spec, asked)
    if out is not None:
        one, other = identified(opened.model), identified(opened.dictionary)
        found._replace(report=replace(found.report, model=one, dictionary=other)).write(Path(out))
    return Report(found.report, terminal.page(found.report, width=WIDTH))
