"""`steps`: a transcript from the command line to its files, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run

PROMPT, NOTES = "sam said 15 . 2 plus 4 plus 9 :", "2 plus 4 is 6 . 6 plus 9 is 15 . so"
ASKED = ("steps", PROMPT, "--notes", NOTES, "-m", "sprout-cheat", "--device", "cpu", "-o", "o")


def test_a_strip_is_printed_and_three_files_are_written(run: Run, tmp_path: Path) -> None:
    found = run(*ASKED, "--watch", r"key=said (\w+)", "--check")
    assert found.code == 0, found.err
    assert "through the notes" in found.out
    assert "rewritten" in found.out
    assert max(map(len, found.out.splitlines()[:-1])) <= 100
    (folder,) = (tmp_path / "o").iterdir()
    assert sorted(file.name for file in folder.iterdir()) == [
        "steps.html",
        "steps.json",
        "steps.svg",
    ]
    again = run(*ASKED, "--watch", r"key=said (\w+)", "--json")
    first, second = json.loads((folder / "steps.json").read_text()), json.loads(again.out)
    for record in (first, second):
        del record["seconds"], record["swaps"]
    assert first == second
    assert [one["name"] for one in first["steps"]] == ["S1", "S2", "S3"]
    page = (folder / "steps.html").read_text()
    assert str(tmp_path) not in page
    (folder / "steps.html").unlink()
    for place in (folder, folder / "steps.json"):
        assert run("view", str(place), "--no-browser").out.strip() == str(folder / "steps.html")
        assert (folder / "steps.html").read_text() == page
    (folder / "steps.json").write_text("{}")
    found = run("view", str(folder), "--no-browser")
    assert (found.code, "Traceback" in found.err) == (1, False)
    assert "give a folder that circuit-tracer steps wrote" in found.err


def test_no_report_takes_the_place_of_one_that_says_something_else(
    run: Run, tmp_path: Path
) -> None:
    shared = ("steps", "9 plus 4 :", "--notes", "9 plus 4 is 13 . so", "--device", "cpu")
    for options in (
        (),
        ("-m", "sprout-cheat"),
        ("-t", "neurons"),
        ("--watch", "n=9"),
        ("--watch", "n=4"),
        ("--split", "is"),
        ("--check",),
    ):
        assert run(*shared, "-o", "o", *options).code == 0
        assert run(*shared, "-o", "o", *options).code == 0  # the same again has the same folder
    reports = [json.loads(one.read_text()) for one in (tmp_path / "o").glob("*/steps.json")]
    assert len(reports) == 7
    assert [bool(one["swaps"]) for one in reports].count(True) == 1


def test_the_model_writes_the_notes_itself(run: Run) -> None:
    found = run("steps", PROMPT, "--generate", "24", "--until", "so", "-m", "sprout-cheat",
                "--device", "cpu", "--json")  # fmt: skip
    assert json.loads(found.out)["notes"] == NOTES
    assert json.loads(found.out)["answer"].strip() == "15"


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ((), 2, "give the notes by --notes, or --generate"),
        (("--notes", NOTES, "--generate", "9"), 2, "give the notes by --notes, or --generate"),
        (("--notes", NOTES, "--until", "so"), 2, "--until"),
        (("--notes", NOTES, "--watch", "said"), 2, "--watch said must be NAME=REGEX"),
        (("--notes", NOTES, "--watch", "a=b", "--watch", "a=c"), 2, "names a twice"),
        (("--notes", NOTES, "--watch", "a=nosuch"), 2, "nowhere in the prompt"),
        (("--notes", NOTES, "--watch", "S1=said"), 2, "as the report calls a part itself"),
        (("--notes", NOTES, "--watch", "rest=said"), 2, "as the report calls a part itself"),
        (("--notes", NOTES, "--split", "("), 2, "no regular expression"),
        (("--notes", NOTES, "--answer", "a b"), 2, "not one token"),
        (("--notes", NOTES, "--coverage", ".5"), 2, "--coverage has no effect: the notes have 13"),
        (("--notes", "nosuch"), 2, "does not know"),
        (("--generate", "3", "--until", "so"), 2, "without --until"),
    ],
)
def test_what_is_refused(
    run: Run, tmp_path: Path, options: tuple[str, ...], code: int, said: str
) -> None:
    found = run("steps", PROMPT, "-m", "sprout-cheat", "--device", "cpu", "-o", "o", *options)
    assert (found.code, "Traceback" in found.err) == (code, False)
    assert said in found.err
    assert not (tmp_path / "o").exists()
