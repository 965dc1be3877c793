"""`run.toml`: the facts of a run that all its prompts share, enough to trace it again.

The table [batch] or [monitor] has the command's own option names, so that it can be copied into
circuit-tracer.toml; the others say which weights and versions these options meant.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar
from uuid import uuid4

from circuit_tracer.batch.parts import writable
from circuit_tracer.errors import GraphFileError, UsageError
from circuit_tracer.graphs.files.atomic import sync
from circuit_tracer.graphs.files.json_values import plain
from circuit_tracer.graphs.graph import Identity
from circuit_tracer.graphs.supernodes.file import quoted
from circuit_tracer.reading import read_toml, readable

RUN_FILE = "run.toml"
SCHEMAS = {"batch": "circuit-tracer-cli/run", "monitor": "circuit-tracer-cli/monitor"}
"""By the command that writes such runs."""
SCHEMA_VERSION = 1

Kept = Literal["kept", "whole"]
"""What of a graph goes into a store: what pruning kept of it, or all of it."""


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What all prompts of a run share, whatever it makes of them."""

    command: ClassVar[str]
    """Which writes such runs."""
    plain: ClassVar[tuple[str, ...]]
    """The fields that are one plain value and that rows depend on."""

    model: Identity
    dictionary: Identity
    settings: Mapping[str, Any]
    """What else the rows depend on."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The command's options, under their own names, as they were resolved."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of the process that began the run."""
    prompt_file: str = ""

    def identity(self) -> dict[str, Any]:
        """All that a prompt's rows depend on: what the ids are a hash of."""
        return {
            "model": self.model.sha256 or self.model.as_plain(),
            "dictionary": self.dictionary.sha256 or self.dictionary.as_plain(),
            "settings": dict(self.settings),
            **{name: getattr(self, name) for name in self.plain},
        }


@dataclass(frozen=True, kw_only=True)
class RunInfo(RunFacts):
    """What all graphs of a run share; `settings` are its `TraceSettings`, before a line's own
    targets."""

    command = "batch"
    plain = ("dtype", "node_threshold", "edge_threshold", "graphs", "routes", "heads")

    dtype: str
    """What the model computes in."""
    node_threshold: float
    edge_threshold: float
    graphs: Kept
    routes: int
    """Routes stored of each target."""
    heads: bool


AnyRun = TypeVar("AnyRun", bound=RunFacts)
LONGEST_SHOWN = 40
"""Characters of a setting that a message shows."""


def settle_run(folder: Path, info: AnyRun) -> AnyRun:
    """Begin the run in a folder, or go on with it; gives what its run.toml says.

    Of several processes that begin at once one wins. Raises UsageError where the run was begun with
    other settings or weights, OutputError where nothing can be written.
    """
    path = folder / RUN_FILE
    if not path.exists():
        _create(path, _text(info))
    known = read_run(folder, type(info), instead=", or choose another `name`")
    ours, theirs = (_by_name(run.identity()) for run in (info, known))
    changed = next(
        (name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)), None
    )
    if changed is not None:
        before, now = (_shown(facts.get(changed)) for facts in (theirs, ours))
        raise UsageError(
            f"{folder} was begun with another `{_PARAMETERS.get(changed, changed)}` ({before} "
            f"before, {now} now); go on with the same command, choose another `name`, or add "
            "`overwrite` to begin again"
        )
    return known


def _by_name(identity: dict[str, Any]) -> dict[str, Any]:
    """The identity with its settings one by one."""
    facts = plain(identity)
    settings = sorted(facts.pop("settings").items())
    return {**facts, **dict(settings)}


def _shown(value: Any) -> str:
    """A setting in a sentence, a hash by how it begins."""
    if value in (None, [], ""):
        return "none"
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:12]}…"


_PARAMETERS = {"graphs": "store", "cotangents": "dtype"}
"""What the caller calls what ids depend on, where it has another name."""


def _create(path: Path, text: str) -> None:
    """Write a file that is not there yet; whoever comes second leaves it alone."""
    partial = path.with_name(f".{path.name}.{uuid4().hex[:8]}.partial")
    try:
        with writable(path, "choose another place"):
            partial.write_text(text, encoding="utf-8")
            sync(partial)
            try:
                os.link(partial, path)
            except FileExistsError:
                return
            except OSError:  # a file system without links
                os.replace(partial, path)
            sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def command_of(folder: Path) -> str | None:
    """The command that wrote a run, as its run.toml says; None where that says nothing."""
    try:
        schema = read_toml(folder / RUN_FILE, GraphFileError, "").get("schema")
    except GraphFileError:
        return None
    return next((command for command, name in SCHEMAS.items() if name == schema), None)


def read_run(folder: Path, kind: type[AnyRun], *, instead: str = "") -> AnyRun:
    """The facts of a stored run of a kind. Raises GraphFileError when they are missing or damaged,
    or another command's; `instead` says what else may be done."""
    path, command = folder / RUN_FILE, kind.command
    advice = f"give a folder that circuit-tracer {command} wrote{instead}"
    record = read_toml(path, GraphFileError, advice)
    if (other := command_of(folder)) not in (None, command):
        what = f"{folder} is a run of circuit-tracer {other}{_HOLDING.get(str(other), '')}"
        raise GraphFileError(f"{what}; {advice}")
    with readable(path, GraphFileError, advice, problem="is damaged or of another version"):
        if (record["schema"], record["schema_version"]) != (SCHEMAS[command], SCHEMA_VERSION):
            raise ValueError(f"schema version {record['schema_version']}")
        return kind(
            model=Identity(**record["model"]),
            dictionary=Identity(**record["dictionary"]),
            settings={**(_NO_SETTINGS if command == "batch" else {}), **record["settings"]},
            options=record[command],
            versions=record["versions"],
            **record["run"],
        )


_HOLDING = {
    "monitor": " and has no graphs: its verdicts are in monitor.json and verdicts.parquet, and the "
    "same command prints them again"
}
"""What is in a run that another command is asked to read."""
_NO_SETTINGS: dict[str, Any] = {
    "contrast": None,
    "why_not": None,
    "max_feature_nodes": None,
    "coverage": None,
    "edge_floor": None,
    "cotangents": None,
    "zeroed_positions": None,
    "system": None,
}
"""What TOML has no word for: options that were not given are left out of the file."""


def _text(info: RunFacts) -> str:
    run = {name: getattr(info, name) for name in ("prompt_file", *info.plain)}
    lines = [f"schema = {quoted(SCHEMAS[info.command])}", f"schema_version = {SCHEMA_VERSION}"]
    for name, table in (
        ("run", run),
        (info.command, info.options),
        ("model", info.model.as_plain()),
        ("dictionary", info.dictionary.as_plain()),
        ("settings", info.settings),
        ("versions", info.versions),
    ):
        lines += ["", f"[{name}]", *_lines(table)]
    return "\n".join(lines) + "\n"


def _lines(table: Mapping[str, Any]) -> list[str]:
    given = ((key, value) for key, value in plain(table).items() if value is not None)
    return [f"{quoted(key) if '.' in key else key} = {_value(value)}" for key, value in given]


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return quoted(value) if isinstance(value, str) else repr(value)
