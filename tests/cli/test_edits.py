"""`edits`: a prompt and a spec from the command line to their files, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from circuit_tracer.bundled import shipped_prompts
from circuit_tracer.graphs.bootstrap import Interval
from circuit_tracer.render.numbers import with_interval
from tests.cli.conftest import Run
from transcoders.growing.language.things import COLOURS

FILES = {"edits.html", "edits.json", "edits.parquet", "edits.svg"}
PROMPT = "joker : is a tomato red ?"
HERE = ("--device", "cpu", "-o", "o")
SPEC = """
name = "mine"
question = "Who?"
items = [
    { object = "tomato", value = "red" },
    { object = "frog", value = "green" },
    { object = "wolf", value = "grey" },
    { object = "crow", value = "black" },
    { object = "cherry", value = "red" },
    { object = "beetroot", value = "purple" },
]
[[families]]
name = "speaker"
template = "joker : is a {object} {value} ?"
words = ["no", "yes"]
edit = "joker=>teacher"
"""


def test_a_coloured_prompt_is_printed_and_files_and_graphs_are_written(
    run: Run, tmp_path: Path
) -> None:
    found = run("edits", PROMPT, "--edit", "joker=>teacher", "--graphs", "1", *HERE)
    assert found.code == 0, found.err
    assert "joker! : is a tomato! red! ?" in found.out
    assert "decided by" in found.out
    assert max(map(len, found.out.splitlines()[:-1])) <= 100
    (folder,) = (tmp_path / "o").iterdir()
    names = {*FILES, "original", "E1"}
    assert {file.name for file in folder.iterdir()} == names
    again = run("edits", PROMPT, "--edit", "joker=>teacher", "--graphs", "1", "--json", *HERE)
    first, second = json.loads((folder / "edits.json").read_text()), json.loads(again.out)
    for record in (first, second):
        del record["seconds"]
    assert first == second
    assert str(tmp_path) not in (folder / "edits.html").read_text()
    assert run("edits", PROMPT, "--graphs", "1", *HERE).code == 0  # E1 is another edit now
    assert {file.name for file in folder.iterdir()} == names - {"E1"} | {"E2"}
    assert run("edits", PROMPT, "--edit", "joker=>teacher", "--graphs", "1", *HERE).code == 0
    compared = run("compare", str(folder / "original"), str(folder / "E1"), "--shuffles", "0")
    assert compared.code == 0, compared.err


def test_a_report_of_another_model_has_a_folder_of_its_own(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(SPEC)
    for more in ((), ("-m", "sprout-cheat")):
        for asked in ((PROMPT, "--edit", "joker=>teacher"), ("mine.toml",)):
            assert run("edits", *asked, *HERE, "--graphs", "0", *more).code == 0
    for asked in ((PROMPT, "--edit", "joker=>teacher"), ("mine.toml",)):
        assert run("edits", *asked, *HERE, "--graphs", "0", "-t", "neurons").code == 0
    names = sorted(one.name for one in (tmp_path / "o").iterdir())
    assert [one.rpartition("-")[0] for one in names[:3]] == ["edits-joker-is-a-tomato-red"] * 3
    assert names[3:] == ["mine", "mine-neurons", "mine-sprout-cheat"]


def test_a_spec_and_word_classes_are_read_from_files(run: Run, tmp_path: Path) -> None:
    Path("mine.toml").write_text(SPEC)
    found = run("edits", "mine.toml", "--graphs", "0", *HERE)
    assert found.code == 0, found.err
    assert "decides" in found.out
    folder = tmp_path / "o" / "mine"
    assert {file.name for file in folder.iterdir()} == FILES
    (row,) = pq.read_table(folder / "edits.parquet").to_pylist()
    (family,) = json.loads((folder / "edits.json").read_text())["families"]
    change = [row[f"change{end}"] for end in ("", "_low", "_high")]
    assert change == [family["change"][end] for end in ("value", "low", "high")]
    assert change[1] < change[0] < change[2] < 0
    figure = (folder / "edits.svg").read_text()
    assert f"{with_interval(Interval(*change), sign=True)}" in figure
    page = (folder / "edits.html").read_text()
    assert "data:image/svg+xml" in page
    assert run("view", str(folder), "--no-browser").out.strip() == str(folder / "edits.html")
    assert (folder / "edits.html").read_text() == page
    Path("words.toml").write_text('speakers = ["teacher", "joker"]')
    Path("words.txt").write_text("\ufeff# who\nteacher, joker  # and nobody else\n\n")
    for words in ("words.toml", "words.txt", "words-sprout"):
        asked = ("--vocabulary", words, "--graphs", "0", "--json")
        record = json.loads(run("edits", PROMPT, *asked, *HERE).out)
        assert [one["new"] for one in record["edits"] if one["old"] == "joker"] == ["", "teacher"]
    colours = {one["new"] for one in record["edits"] if one["old"] == "red"} - {""}
    assert len(colours) == 3
    assert colours < set(COLOURS)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--edit", "joker"), '--edit "joker" must be OLD=>NEW'),
        (("--edit", "ben=>tom"), '"ben" is nowhere in the prompt'),
        (("--edit", "joker=>nosuch"), 'does not know "nosuch"'),
        (("--add", " "), "--add is empty"),
        (("--against", "no"), "is the answer; name another token"),
        (("--against", "a b"), "not one token"),
        (("--split", "("), "no regular expression"),
        (("--split", ""), "--split is empty"),
        (("--vocabulary", "none.toml"), "none.toml"),
        (("--vocabulary", "bad.toml"), "must be a list of words"),
        (("--vocabulary", "other.txt"), "no word of the prompt is in a class of --vocabulary"),
        (("--vocabulary", "empty.txt"), "has no class of two words"),
        (("--vocabulary", "words"), "words is missing; give word classes"),
    ],
)
def test_what_is_refused(run: Run, tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    Path("bad.toml").write_text("speakers = 3")
    Path("empty.txt").write_text("# nothing\n")
    Path("other.txt").write_text("paris rome\n")
    found = run("edits", PROMPT, *options, *HERE)
    assert (found.code, "Traceback" in found.err) == (2, False)
    assert said in found.err
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("given", "options", "said"),
    [
        ("none.toml", (), "there is no file none.toml"),
        ("mine.toml", ("--edit", "a=>b"), "leave out --answer, --against, --edit"),
        ("mine.toml", ("--split", "line"), "--split has no effect with a spec"),
        ("other.toml", (), "means nothing"),
        ("seeded.toml", (), '"seed" in seeded.toml is -1; it has to be at least 0'),
        ("edits-speakers", (), "did you mean edits-speaker?"),
        ("nosuchword", (), 'does not know "nosuchword"'),
    ],
)
def test_what_is_refused_of_specs(
    run: Run, tmp_path: Path, given: str, options: tuple[str, ...], said: str
) -> None:
    Path("mine.toml").write_text(SPEC)
    Path("seeded.toml").write_text(f"seed = -1\n{SPEC}")
    Path("other.toml").write_bytes(shipped_prompts(".toml")["bananas"].read_bytes())
    found = run("edits", given, *options, *HERE)
    assert (found.code, "Traceback" in found.err) == (2, False)
    assert said in found.err
    assert not (tmp_path / "o").exists()
