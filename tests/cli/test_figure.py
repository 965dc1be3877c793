"""`render` for papers, and `figure`: pages of several panels."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest

from circuit_tracer.render.page_size import smallest_letters
from tests.cli.conftest import Outcome, Run

Banana = tuple[Path, Outcome]
SVG = "{http://www.w3.org/2000/svg}"


def _texts(path: str) -> list[str]:
    root = ElementTree.fromstring(Path(path).read_text())
    return ["".join(one.itertext()) for one in root.iter(f"{SVG}text")]


def _circles(path: str) -> int:
    """Marks of features, those of the legend among them."""
    return len(list(ElementTree.fromstring(Path(path).read_text()).iter(f"{SVG}circle")))


def test_width_theme_and_routes_make_other_figures(banana: Banana, run: Run) -> None:
    place = str(banana[0])
    assert run("render", place, "-o", "all.svg").code == 0
    narrow = run("render", place, "-o", "narrow.svg", "--width", "60")
    assert narrow.code == 0, narrow.err
    assert 'width="60mm"' in Path("narrow.svg").read_text()
    assert narrow.err == ""  # laid out for that width, with letters large enough to read
    assert smallest_letters(Path("narrow.svg").read_text(), 60) >= 6
    assert run("render", place, "-o", "dark.svg", "--theme", "dark").code == 0
    assert Path("dark.svg").read_text() != Path("all.svg").read_text()
    outcome = run("render", place, "-o", "routes.svg", "--routes", "2")
    assert outcome.code == 0, outcome.err
    assert _circles("routes.svg") < _circles("all.svg")
    assert any("2 strongest routes" in words for words in _texts("routes.svg"))
    assert run("render", place, "-o", "few.svg", "--top-n", "3").code == 0
    assert _circles("few.svg") < _circles("all.svg")


def test_legend_trust_and_caption_are_asked_for(banana: Banana, run: Run) -> None:
    place = str(banana[0])
    assert run("render", place, "-o", "bare.svg", "--width", "85").code == 0
    for file, arguments, there, missing in (
        ("full.svg", ("--width", "85", "--legend", "full"), "Settings", "Trust, tested briefly"),
        ("short.svg", ("--width", "85", "--legend", "short"), "feature", "Settings"),
        ("trust.svg", ("--width", "85", "--trust"), "Trust, tested briefly", "Settings"),
        ("own.svg", ("--no-trust",), "Settings", "Trust, tested briefly"),
    ):
        outcome = run("render", place, "-o", file, *arguments)
        assert outcome.code == 0, outcome.err
        words = " ".join(_texts(file))
        assert there in words
        assert missing not in words
        assert there not in " ".join(_texts("bare.svg"))
    caption = run("render", place, "--caption", "--routes", "2")
    assert caption.code == 0, caption.err
    assert 'for the prompt "a banana is" and the target' in caption.out
    assert "(2) " in caption.out
    assert run("render", place, "--caption", "-o", "bare.svg").code != 0  # there already
    record = json.loads(run("render", place, "--caption", "-o", "new.svg", "--json").out)
    assert record["file"] == "new.svg"
    assert record["caption"].startswith("Attribution graph of sprout")


def test_a_trust_panel_without_a_report_is_refused(banana: Banana, run: Run) -> None:
    own = shutil.copytree(banana[0], "untested")
    (Path(own) / "trust.json").unlink()
    outcome = run("render", str(own), "-o", "x.svg", "--trust")
    assert outcome.code != 0
    assert "no trust report" in outcome.err
    assert not Path("x.svg").exists()


def test_supernodes_are_drawn_as_single_nodes(banana: Banana, run: Run) -> None:
    folder = Path(shutil.copytree(banana[0], "own"))
    outcome = run("render", "own", "-o", "found.svg", "--level", "supernodes")
    assert outcome.code == 0, outcome.err
    assert "found by their edges" in outcome.err
    assert run("supernodes", "own", "-o", str(folder / "supernodes.toml")).code == 0
    names = list(tomllib.loads((folder / "supernodes.toml").read_text(encoding="utf-8")))
    outcome = run("render", "own", "-o", "level.svg", "--level", "supernodes")
    assert (outcome.code, outcome.err) == (0, "")
    assert any(names[0].split(" @")[0][:8] in words for words in _texts("level.svg"))
    assert any("supernodes stand for their members" in words for words in _texts("level.svg"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--width", "1"], "1 mm is none"),
        (["--theme", "sepia"], 'theme "sepia"'),
        (["--level", "atoms"], 'level "atoms"'),
        (["--format", "html", "--routes", "2"], "leave them out"),
        (["--format", "dot", "--width", "90"], "leave them out"),
        (["--routes", "0"], "--routes"),
    ],
)
def test_what_cannot_be_drawn_is_said(
    arguments: list[str], said: str, banana: Banana, run: Run
) -> None:
    outcome = run("render", str(banana[0]), "-o", "x", *arguments)
    assert outcome.code == 2
    assert said in outcome.err
    assert not Path("x.svg").exists()


SPEC = """
width = 170
title = "two graphs"
theme = "{theme}"
[[panel]]
graph = "{place}"
routes = 3
title = "routes"
[[panel]]
merged = ["{place}", "{place}"]
top-n = 10
[[panel]]
svg = "curve.svg"
span = 2
"""


def test_a_page_of_panels_is_the_same_each_time(banana: Banana, run: Run) -> None:
    place = str(banana[0])
    assert run("render", place, "-o", "curve.svg").code == 0
    Path("spec.toml").write_text(SPEC.format(place=place, theme="print"))
    assert run("figure", "spec.toml").out.strip() == "spec.svg"
    first = Path("spec.svg").read_bytes()
    assert run("figure", "spec.toml").code == 1  # it is there already
    assert run("figure", "spec.toml", "--overwrite").code == 0
    assert Path("spec.svg").read_bytes() == first
    root = ElementTree.fromstring(first)
    assert root.get("width") == "170mm"
    assert len(root.findall(f"{SVG}svg")) == 3
    for form, head in (("pdf", b"%PDF"), ("png", b"\x89PNG")):
        outcome = run("figure", "spec.toml", "-o", f"page.{form}")
        assert outcome.code == 0, outcome.err
        assert Path(f"page.{form}").read_bytes().startswith(head)
    made = Path("page.pdf").read_bytes()
    assert run("figure", "spec.toml", "-o", "page.pdf", "--overwrite").code == 0
    assert Path("page.pdf").read_bytes() == made


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("width = ", "cannot be read as TOML"),
        ("a = 1\na = 2", "cannot be read as TOML"),
        ("[panel]\nsvg = 'a.svg'", "write [[panel]], once for each"),
        ("width = '9'\n[[panel]]\nsvg = 'a.svg'", '"9" where it needs a number'),
        ("colums = 2", 'did you mean "columns"?'),
        ('[[panel]]\ngraph = ""', '"graph" in panel 1 of spec.toml is empty'),
        ('[[panel]]\ngraph = "none"', "panel 1: There is no none"),
        ('[[panel]]\nmerged = ["none", "none"]', "panel 1: There is no none"),
        ('[[panel]]\nsvg = "."', "panel 1: . cannot be read (Is a directory); draw it first"),
        ('[[panel]]\nsvg = "a.svg"\nlevel = "x"', '"level" in panel 1 of spec.toml'),
        ("width = 100", "[[panel]]"),
        ("panel = 3", '"panel"'),
        ("[[panel]]\n", "needs one of"),
        ('[[panel]]\ngraph = "a"\nsvg = "b"', "needs one of"),
        ('[[panel]]\ngraph = "a"\ncolour = "red"', '"colour"'),
        ('[[panel]]\ngraph = "a"\nroutes = true', "true where it needs a whole number"),
        ('[[panel]]\ngraph = "a"\nroutes = 0', "at least 1"),
        ('[[panel]]\nmerged = ["a"]', "needs a list of 2"),
        ('[[panel]]\nsvg = "a.svg"\nroutes = 2', "does not go with"),
        ('[[panel]]\nsvg = "none.svg"', "none.svg"),
        ('[[panel]]\nsvg = "bad.svg"', "more than shapes"),
        ('theme = "x"\n[[panel]]\nsvg = "a.svg"', '"x" where it needs print'),
        ('columns = 9\n[[panel]]\nsvg = "a.svg"', "9 columns"),
    ],
)
def test_a_spec_that_is_wrong_is_refused_in_words(spec: str, said: str, run: Run) -> None:
    Path("spec.toml").write_text(spec)
    Path("bad.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"><script/></svg>'
    )
    outcome = run("figure", "spec.toml")
    assert outcome.code == 2, outcome.err
    assert said in outcome.err
    assert not Path("spec.svg").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "spec.toml is missing; fix it, or give a file"),
        (b"", "needs 1 to 26 tables [[panel]]"),
        (b"\xff\xfe\x00", "no text in UTF-8"),
        (b"a = \x00", "cannot be read as TOML"),
        (b"a = " + b"[" * 5000, "nested too deep"),
    ],
)
def test_a_spec_that_cannot_be_read_is_told_without_numbers(
    content: bytes | None, said: str, run: Run
) -> None:
    if content is not None:
        Path("spec.toml").write_bytes(content)
    outcome = run("figure", "spec.toml")
    assert outcome.code == 2
    assert said in outcome.err
    assert "Errno" not in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_page_never_replaces_its_own_spec(banana: Banana, run: Run) -> None:
    spec = f'[[panel]]\ngraph = "{banana[0]}"\n'
    Path("page.svg").write_text(spec)
    outcome = run("figure", "page.svg", "--overwrite")
    assert outcome.code == 2
    assert "the spec itself" in outcome.err
    assert Path("page.svg").read_text() == spec
