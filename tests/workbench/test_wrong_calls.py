"""Python calls with what they do not take: one sentence that names the argument."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import circuit_tracer as ct
from circuit_tracer.errors import CircuitTracerError, UsageError

PROMPT = "a banana is"
CT: Any = ct
"""Without types, to be called wrongly."""


@pytest.fixture(scope="module")
def g() -> ct.TracedGraph:
    return ct.trace(PROMPT, model="sprout", transcoders="plt", targets=["yellow"], device="cpu")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: CT.trace(g, "plt", PROMPT), "positional"),
        (lambda g: CT.trace(g), "`prompt` is a TracedGraph; the call is trace"),
        (lambda g: CT.trace(PROMPT, model=7), "`model` is a int; give a name, a folder"),
        (lambda g: CT.trace(PROMPT, transcoders=7), "`transcoders` is a int; give a name"),
        (lambda g: CT.trace(PROMPT, model="nowhere"), "nowhere"),
        (lambda g: CT.trace(PROMPT, model=g.opened, dtype="float64"), "`device` and `dtype`"),
        (lambda g: CT.trace(PROMPT, target=["yellow"]), "`target` is no parameter; did you mean"),
        (lambda g: CT.trace(PROMPT, targets=[343]), "`targets` is 343 where it needs text"),
        (lambda g: CT.trace(PROMPT, contrast=["a", "b"]), "where it needs text"),
        (lambda g: CT.trace(PROMPT, max_feature_nodes=9.5), "9.5 where it needs a whole number"),
        (lambda g: CT.circuit(PROMPT, based="neurons"), "`based` is no parameter; did you mean"),
        (lambda g: CT.circuit(PROMPT, reference=3), "`reference` is 3 where it needs a path"),
        (lambda g: CT.trace(PROMPT, node_threshold=2), "`node_threshold` 2 is no share"),
        (lambda g: CT.trace(PROMPT, targets=["a"], contrast="a,b"), "`targets` and `contrast`"),
        (lambda g: g.paths(to="red"), '`to` "red" is no target of this graph; choose from yellow'),
        (lambda g: g.paths(to="@3"), '`to` "@3" is no target of this graph'),
        (lambda g: g.svg(level="all"), '`level` "all" is none; choose one of nodes, supernodes'),
        (lambda g: g.svg(width_mm="85"), "a width of '85' mm is none"),
        (lambda g: g.heads(edge="is"), "`edge` must be two names"),
        (lambda g: g.heads(top=0), "`top` 0 must be a whole number of at least 1"),
        (lambda g: g.qk("3.2", "is", 2, top=-1), "`top` -1 must be a whole number"),
        (lambda g: CT.compare(g, g, shuffles=-1), "`shuffles` -1 must be at least 0"),
        (lambda g: CT.steer(g.opened, PROMPT, {"L4/288": "x"}), "`features` must be names with"),
        (lambda g: CT.steer(g.opened, PROMPT, {5: 1}), "`features` must be names with"),
        (lambda g: CT.steps(PROMPT, "a", model=g.opened, watch="k"), "`watch` is"),
        (lambda g: CT.open_model(7), "the model is a int; give a name or a folder"),
        (lambda g: g.ablate(["L5/717"], times="2"), '`times` is "2" where it needs a number'),
        (lambda g: g.ablate(["L5/717"], times=True), "`times` is True where it needs a number"),
        (lambda g: g.ablate([5]), "`features` is 5 where it needs text"),
        (lambda g: g.ablate(top=-2), "`top` -2 must be a whole number of at least 1"),
        (lambda g: g.ablate(["L5/717"], mode=5), '`mode` "5" is none'),
        (lambda g: g.paths(to=3), "`to` is 3 where it needs text"),
        (lambda g: g.prune(node_threshold="1"), '`node_threshold` is "1" where it needs a number'),
        (lambda g: g.svg(routes="3"), '`routes` is "3" where it needs a whole number'),
        (lambda g: g.svg(trust="no"), '`trust` is "no" where it needs True or False'),
        (lambda g: g.html(None), "`path` is None where it needs text or a path"),
        (lambda g: g.save("x", formats=[1]), "`formats` is 1 where it needs text"),
        (lambda g: g.trust(quick="yes"), '`quick` is "yes" where it needs True or False'),
        (lambda g: g.heads(route="1"), '`route` is "1" where it needs a whole number'),
        (lambda g: g.heads(edge=(5, 6)), "`edge` must be two names"),
        (lambda g: g.qk("3.2", 2.5, 2), "`query` is 2.5 where it needs text or a whole number"),
        (lambda g: CT.reopen("folder"), "a str is no pruned graph; give what `prune`"),
        (lambda g: CT.best_paths(g), "a TracedGraph is no pruned graph"),
        (lambda g: CT.save_graph(g, "x"), "its `.pruned`"),
        (lambda g: CT.prune(g), "a TracedGraph is no whole graph"),
        (lambda g: CT.load(5), "`path` is 5 where it needs text or a path"),
        (lambda g: CT.load_graph(5), "a int is no folder of a graph; give its path"),
        (lambda g: CT.save_graph(g.pruned, None), "a NoneType is no folder of a graph"),
        (lambda g: CT.write_page(g), "`graph` is a TracedGraph where it needs a path or text"),
        (lambda g: CT.graph_svg(5, CT.View()), "`path` is 5 where it needs a path or text"),
        (lambda g: CT.read_steps(5), "`folder` is 5 where it needs a path or text"),
        (lambda g: g.paths().save(5), "`path` is 5 where it needs text or a path"),
        (lambda g: g.features().save(5), "`path` is 5 where it needs text or a path"),
        (lambda g: g.svg().save(5), "`path` is 5 where it needs text or a path"),
        (lambda g: CT.compare(g, g, ceiling=g), "`ceiling` is a TracedGraph where it needs a list"),
        (lambda g: CT.compare(g, g, nodes=-1), "`nodes` -1 must be at least 0"),
        (lambda g: CT.compare(g, g, roles={"a": {"b": []}}), "needs text or a whole number"),
        (lambda g: CT.trace(PROMPT, target_prompts=("ab",)), '["ab"] where it needs 2 values'),
        (lambda g: CT.trace(PROMPT, on_progress=1), "`on_progress` is 1 where it needs a function"),
        (lambda g: CT.totals(PROMPT, targets=3), "`targets` is 3 where it needs text or a list"),
        (lambda g: CT.steer(g.opened, PROMPT, {"L4/288": 1}, doses="1"), "needs a list"),
        (
            lambda g: CT.steer(g.opened, PROMPT, {"L4/288": 1}, doses=["1"]),
            '"1" where it needs a n',
        ),
        (lambda g: CT.steer(g.opened, [], {"L4/288": 1}), "there is no text to go on from"),
        (lambda g: CT.steer(g.opened, PROMPT, {"L4/288": 1}, of_max=10), "needs True or False"),
        (lambda g: CT.steps(PROMPT, "a", decided=[5]), "`decided` is 5 where it needs text"),
        (lambda g: CT.monitor("cheat", watch="x"), '`watch` is "x" where it needs names with'),
        (lambda g: CT.circuit(5), "a int is no prompt; give text, or a traced graph"),
        (lambda g: CT.circuit(PROMPT, chat="yes"), "where it needs True or False"),
        (lambda g: CT.edits(PROMPT, replacements="2"), '`replacements` is "2" where it needs'),
        (lambda g: CT.diff(5, 6, "bent"), "a int is no model; give a name, a folder"),
        (lambda g: CT.dissociate(5), "`spec` is 5 where it needs text or a path"),
        (
            lambda g: CT.trace_into("x", "sprout", PROMPT),
            "a str is no Opened; give what `open_pair`",
        ),
        (lambda g: g.paths(k=1.5), "The number of paths is 1.5: ask for a whole number"),
        (lambda g: g.paths().save("paths.csv"), "paths.csv is no JSON file"),
        (lambda g: g.html("page.txt"), "page.txt ends in .txt, which is no known form"),
        (lambda g: g.save("new", formats=("jpg",)), 'unknown format "jpg"; choose from json'),
        (lambda g: g.ablate(["yellow"]), "names no node; write L3/117@4"),
        (lambda g: g.ablate(["L5/717"], mode="fast"), '`mode` "fast" is none'),
        (lambda g: g.trust(feature=3), "`feature` is no parameter; did you mean `features`?"),
        (lambda g: g.heads(edge=("is", "yellow"), route=1), "`edge` and `route` exclude"),
        (lambda g: g.reopen(7), "`model` is a int; give a name, a folder"),
        (lambda g: g.qk("first", "is", "banana"), '`head` "first" is no head'),
        (lambda g: g.qk(3, "is", "banana"), '`head` "3" is no head'),
        (lambda g: g.qk("3.2", "is", "lemon"), '`key` "lemon" is no token of the prompt'),
        (lambda g: CT.compare(g), "compare needs two graphs or more"),
        (lambda g: CT.compare(g, 7), "a int is no graph"),
        (lambda g: CT.load("nowhere"), "nowhere"),
        (lambda g: CT.steer(g.opened, PROMPT, ["L4/288"]), "`features` must be names with"),
        (lambda g: CT.steer(g.opened, PROMPT, {"L4/288": 1}, max_new_tokens=0), "at least 1"),
        (lambda g: CT.dissociate("banana"), "did you mean bananas, which ships"),
    ],
)
def test_wrong_calls_get_one_sentence(g: ct.TracedGraph, call: Any, message: str) -> None:
    with pytest.raises((CircuitTracerError, TypeError)) as raised:
        call(g)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_steered_text_has_the_doses_that_were_asked_for(g: ct.TracedGraph) -> None:
    by_text, by_number = (
        ct.steer(g.opened, PROMPT, {"L5/717": 2}, doses=np.array([1]), at=at, max_new_tokens=1)  # type: ignore[arg-type]
        for at in ("2,3", [2, np.int64(3)])
    )
    assert by_text.record() == by_number.record()
    with pytest.raises(UsageError, match="no dose of 7 was asked for; choose one of 1, 2"):
        by_text.prompts[0][1].at(7)
