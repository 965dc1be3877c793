"""The ending of a file's name decides its form; what clashes with it is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from circuit_tracer.cli.main import app
from circuit_tracer.errors import UsageError
from circuit_tracer.graphs import prune, save_graph
from circuit_tracer.workbench.formats import DRAWN, EXPORTED, FIGURES, form_of
from tests.cli.conftest import Run
from tests.graphs.builders import random_graph

HEADS = {
    "svg": b"<svg",
    "dot": b"digraph",
    "gv": b"digraph",
    "pdf": b"%PDF",
    "PNG": b"\x89PNG",
    "htm": b"<!doctype html",
}


@pytest.fixture
def graph() -> str:
    """A small traced folder."""
    Path("traced").mkdir()
    save_graph(prune(random_graph(n_layers=2, n_tokens=3)), Path("traced"))
    return "traced"


@pytest.mark.parametrize(
    ("name", "given", "allowed", "form"),
    [
        (None, None, DRAWN, "svg"),
        ("figure", None, DRAWN, "svg"),
        ("figure", "pdf", DRAWN, "pdf"),
        ("v1.2/figure", "pdf", DRAWN, "pdf"),
        ("x.pdf", None, DRAWN, "pdf"),
        ("x.tar.PDF", "pdf", DRAWN, "pdf"),
        ("x.json", None, EXPORTED, "json"),
        ("x.json", "node-link", EXPORTED, "node-link"),
        ("x.gexf", None, EXPORTED, "gexf"),
        ("tables.csv", None, EXPORTED, "csv"),
        ("tables.v2", "csv", EXPORTED, "csv"),
    ],
)
def test_the_name_decides(
    name: str | None, given: str | None, allowed: tuple[str, ...], form: str
) -> None:
    default = "svg" if allowed == DRAWN else "json"
    assert form_of(None if name is None else Path(name), given, allowed, default=default) == form


@pytest.mark.parametrize(
    ("name", "given", "allowed", "words"),
    [
        ("x.pdf", "svg", DRAWN, "`format` svg and the name x.pdf exclude each other"),
        ("x.json", "graphml", EXPORTED, "exclude each other"),
        ("x.graphml", "node-link", EXPORTED, "exclude each other"),
        ("x.pdf", "csv", EXPORTED, "circuit-tracer render draws"),
        ("x.gexf", None, DRAWN, "circuit-tracer export writes"),
        ("x.bmp", None, DRAWN, "no known form; let it end in .svg, .dot, .pdf, .png or .html"),
        ("x.bmp", "png", DRAWN, "no known form"),
        ("x.svg", None, ("html",), "let it end in .html"),
        ("figure", None, FIGURES, "has no ending that says what to draw"),
        ("x.svg", "svg,pdf", DRAWN, "is not one format"),
    ],
)
def test_what_clashes_is_one_sentence(
    name: str, given: str | None, allowed: tuple[str, ...], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        form_of(Path(name), given, allowed)


@pytest.mark.parametrize("ending", HEADS)
def test_render_writes_what_the_name_says(ending: str, graph: str, run: Run) -> None:
    outcome = run("render", graph, "-o", f"x.{ending}", "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["file"] == f"x.{ending}"
    assert HEADS[ending] in Path(f"x.{ending}").read_bytes()[:200]


def test_export_writes_what_the_name_says(graph: str, run: Run) -> None:
    for name in ("x.gexf", "x.graphml", "x.json", "tables.parquet"):
        outcome = run("export", graph, "-o", name, "--json")
        assert outcome.code == 0, outcome.err
        assert json.loads(outcome.out)["format"] == name.partition(".")[2]
    assert b"<gexf" in Path("x.gexf").read_bytes()
    assert b"<graphml" in Path("x.graphml").read_bytes()
    assert Path("tables.parquet").is_dir()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("render GRAPH -o x.gexf", "circuit-tracer export writes"),
        ("render GRAPH -o x.pdf --format svg", "exclude each other"),
        ("export GRAPH -o x.svg", "circuit-tracer render draws"),
        ("view GRAPH -o x.pdf --no-browser", "let it end in .html"),
        ("compare GRAPH GRAPH --figure x.jpg", "no known form"),
        ("figure page.toml -o x.html", "let it end in .svg, .pdf or .png"),
        ("steer --find yellow -p sky --plot x.jpg", "no known form"),
        ("view . -o pages.html --no-browser", "named like a file"),
        ("prune GRAPH -o x.json", "named like a file"),
        ("runs export RUN 1 -o x.svg", "named like a file"),
        ("dissociate bananas -o report.pdf", "named like a file"),
        ("trace sky -o sky.svg", "named like a file"),
        ("batch facts -o facts.parquet", "named like a file"),
        ("supernodes GRAPH -o groups.json", "let it end in .toml"),
    ],
)
def test_a_name_of_something_else_is_refused_before_any_work(
    command: str, words: str, graph: str, run: Run
) -> None:
    before = set(Path().rglob("*"))
    outcome = run(*command.replace("GRAPH", graph).split())
    assert (outcome.code, outcome.out) == (2, ""), outcome.err
    assert words in outcome.err
    assert outcome.err.count("\n") == 1
    assert set(Path().rglob("*")) == before


def _commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
    for below, one in (inner or {}).items():
        yield from _commands(f"{name} {below}".strip(), one)


def test_every_command_prints_json() -> None:
    for name, command in _commands("", typer.main.get_command(app)):
        assert any("--json" in option.opts for option in command.params), name
