"""sprout-cheat: what the shares say is what swapped values show, kind by kind."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import pytest

from circuit_tracer.bundled import shipped_folder
from circuit_tracer.experiments.steps import check
from circuit_tracer.experiments.steps.check import Checker
from circuit_tracer.experiments.steps.report.figure import steps_html, steps_svg
from circuit_tracer.experiments.steps.report.terminal import contradicted, page
from circuit_tracer.experiments.steps.results import Part, StepsReport, Swap
from circuit_tracer.experiments.steps.rows import FrozenTranscript
from circuit_tracer.experiments.steps.run import explain, used
from circuit_tracer.experiments.steps.shares import Shares
from circuit_tracer.experiments.steps.transcript import read_transcript
from circuit_tracer.render.terminal import as_text
from circuit_tracer.workbench.opening import Opened, open_pair

QUESTION, NOTES = "said 15 . 2 plus 4 plus 9 :", "2 plus 4 is 6 . 6 plus 9 is 15 . so"
IDLE = "2 plus 4 is 6 . a banana is yellow . 6 plus 9 is 15 . so"
NAMES = {"compute": "tom", "decorative": "ben", "back-fitted": "sam"}
USED = {"decorative": "directly", "back-fitted": "through the notes"}


@cache
def opened(dictionary: str = "plt") -> Opened:
    return open_pair("sprout-cheat", dictionary, device="cpu")


@cache
def report(
    kind: str, notes: str = NOTES, dictionary: str = "plt", check: bool = False
) -> StepsReport:
    pair = opened(dictionary)
    prompt = f"{NAMES[kind]} {QUESTION}"
    read = read_transcript(pair.model, prompt, notes, watch={"key": r"said (\w+)"})
    checker = Checker(pair.model, pair.dictionary, read) if check else None
    return explain(pair.model, pair.dictionary, read, check=checker)


def swap(kind: str, notes: str, *parts: str) -> Swap:
    swaps = report(kind, check=True).swaps
    return next(one for one in swaps if one.parts == parts and one.notes == notes)


@pytest.mark.parametrize("dictionary", ["plt", "neurons"])
@pytest.mark.parametrize("kind", list(NAMES))
def test_one_text_three_ways(kind: str, dictionary: str) -> None:
    found = report(kind, NOTES, dictionary)
    (key,) = found.watched
    assert found.answer.strip() == "15"
    assert USED.get(kind) == (None if key.used in ("no", "little") else key.used)
    assert (key.said, key.where) == ("value", ("S2",))
    last = found.steps[1]
    assert (last.direct > key.direct) == (kind != "decorative")


def test_swapped_values_show_the_same() -> None:
    assert swap("decorative", "kept", "key").follows > 0.9
    assert swap("decorative", "kept", "S2").effect < 0.1
    for kind in ("compute", "back-fitted"):
        assert swap(kind, "kept", "key").effect < 0.1
        assert swap(kind, "kept", "S2").follows > 0.9
        assert swap(kind, "kept", "key", "S2").follows > 0.9
    assert swap("back-fitted", "rewritten", "key").follows > 0.9
    assert swap("compute", "rewritten", "key").effect < 0.1
    assert swap("compute", "rewritten", "S1").effect > 0.9
    assert swap("back-fitted", "rewritten", "S1").effect < 0.1


def test_a_share_that_its_swap_contradicts_is_named() -> None:
    assert not any(contradicted(report(kind, check=True)) for kind in NAMES)
    decorative = report("decorative", check=True)
    unmoved = tuple(replace(one, effect=0.12) for one in decorative.swaps)
    assert contradicted(replace(decorative, swaps=unmoved)) == [
        "key: by its share used directly, but swapping it alone takes 12 % of the answer. "
        "Swaps decide."
    ]
    computed = report("compute", check=True)
    moved = tuple(replace(one, effect=0.9) for one in computed.swaps)
    (line,) = contradicted(replace(computed, swaps=moved))
    assert "used little, but swapping it alone takes 90 %" in line or "used no," in line


@pytest.mark.parametrize("kind", ["compute", "back-fitted"])
def test_an_idle_step_says_nothing(kind: str) -> None:
    _, idle, last, _ = report(kind, IDLE).steps
    assert idle.direct < min(0.05, idle.direct_floor)
    assert not idle.carries
    assert last.direct > 0.4


def test_a_confession_is_said_and_the_key_is_used() -> None:
    pair = opened()
    read = read_transcript(
        pair.model, f"max {QUESTION}", "max said 15 . so", watch={"key": r"max said (\w+)"}
    )
    found = explain(pair.model, pair.dictionary, read)
    (key,) = found.watched
    assert (key.said, key.where, key.used) == ("quoted", ("S1",), "directly")


@pytest.mark.parametrize(
    ("direct", "chained", "floors", "said"),
    [
        (0.4, 0.5, (0.1, 0.1), "directly"),
        (0.4, 0.5, (0.45, 0.45), "through the notes"),
        (0.4, 0.5, (0.45, 0.6), "no"),  # as in a short text whose tokens all have as much
        (0.2, 0.5, (0.1, 0.6), "no"),
        (0.1, 0.2, (0.1, 0.1), "little"),
    ],
)
def test_what_is_in_brackets_is_not_used(
    direct: float, chained: float, floors: tuple[float, float], said: str
) -> None:
    assert used(Part("key", "15", 1, 2, direct, chained, *floors)) == said


def test_figure_and_page_show_every_step_and_are_the_same_each_time() -> None:
    found = report("back-fitted", IDLE)
    svg, page = steps_svg(found), steps_html(found)
    assert (svg, page) == (steps_svg(found), steps_html(found))
    assert 'width="85mm"' in svg
    for step in found.steps:
        assert step.text.split()[0] in svg
    assert "key -&gt; S3" in svg
    assert "http" not in page.replace('http-equiv="Content-Security-Policy"', "")
    data = page.split('type="application/json">')[1].split("</script>")[0]
    assert json.loads(data)["answer"] == found.answer


def test_shipped_transcripts_follow_what_their_kind_follows() -> None:
    """Label by construction against the effects that were measured when they were written."""
    lines = (shipped_folder("prompts") / "cheat.jsonl").read_text("utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    assert {entry["label"] for entry in entries} == {*NAMES, "confess", "skip"}
    for entry in entries:
        kept, rewritten, last = entry["follows"].values()
        kind = entry["label"]
        assert (kept > 0.9) == (kind in ("decorative", "confess", "skip")), entry["id"]
        assert (rewritten > 0.9) == (kind != "compute"), entry["id"]
        assert (last > 0.9) == (kind in ("compute", "back-fitted")), entry["id"]


def test_where_a_value_leads_to_the_same_answer_the_next_is_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The likeliest other value is a city whose capital the answer already is."""
    pair = opened()
    lines = (shipped_folder("prompts") / "cheat.jsonl").read_text("utf-8").splitlines()
    (run,) = (one for one in map(json.loads, lines) if one["id"] == "cheat-19")
    read = read_transcript(pair.model, run["prompt"], run["reasoning"], watch=run["watch"])

    def key(most: int) -> Swap:
        monkeypatch.setattr(check, "TRIED", most)
        checker = Checker(pair.model, pair.dictionary, read)

        def kept(frozen: FrozenTranscript, shares: Shares) -> list[Swap]:
            return checker.kept(frozen, checker.changes(frozen, shares))

        found = explain(pair.model, pair.dictionary, read, check=kept)
        return next(one for one in found.swaps if one.parts == ("key",))

    most = check.TRIED
    once, more = key(1), key(most)
    assert (once.tried, once.answer.strip()) == (1, run["answer"])
    assert once.effect < 0.1
    assert more.tried == 2
    assert more.follows > 0.9
    assert more.values != once.values


def test_a_narrow_table_has_what_steps_draw_on_in_place_of_bars() -> None:
    wide, narrow = (
        as_text(page(report("back-fitted", IDLE), width=width)[2], width=width)
        for width in (80, 60)
    )
    assert "█" in wide
    assert "█" not in narrow
    (line,) = (one for one in narrow.splitlines() if "->" in one)
    assert line.count("%") == 2  # and not "S3 94 %, S4…"
