"""The README's commands and code run as they stand."""

from __future__ import annotations

import json
import re
import runpy
import shlex
from pathlib import Path
from typing import Any

import pytest

from circuit_tracer.cli.main import tree
from tests.cli.conftest import run_command

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*ROOT.glob("docs/*.md")]
COMMAND = re.compile(r"^(?: {4})?(circuit-tracer .*)", flags=re.MULTILINE)
"""In a fenced block or an indented one."""
WITH_COMMANDS = [
    page
    for place in ("*.md", "docs/*.md", "benchmarks/*.md", "transcoders/*/*.md")
    for page in sorted(ROOT.glob(place))
    if COMMAND.search(page.read_text("utf-8"))
]
UPSTREAM = "coming-from-circuit-tracer.md"
README = (ROOT / "README.md").read_text(encoding="utf-8")


LESS = """
[trace]
trust = false
[trust]
features = 10
random-sets = 2
draws = 1
"""


def blocks(language: str) -> list[str]:
    """Fenced blocks of one language, but for those marked `no-run`."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_every_command_of_the_readme_runs() -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.strip()]
    assert len(lines) > 8
    for line in lines:
        if line == lines[1]:  # one brief trust report is enough, and less than usual for the full
            Path("circuit-tracer.toml").write_text(LESS)
        program, *arguments = shlex.split(line)
        assert program == "circuit-tracer"
        outcome = run_command(*arguments)
        assert outcome.code == 0, f"{line}\n{outcome.err}"
        assert outcome.out


def test_every_command_of_the_gallery_runs_and_draws_its_figure(tmp_path: Path) -> None:
    page = next(page for page in PAGES if page.name == "gallery.md").read_text("utf-8")
    lines = "".join(re.findall(r"```sh\n(.*?)```", page, flags=re.DOTALL)).splitlines()
    (tmp_path / "docs" / "gallery").mkdir(parents=True)
    for line in lines:
        # A trust report would be half of every trace; one is made by a command of its own.
        more = ["--no-trust"] if " trace " in line else []
        outcome = run_command(*shlex.split(line)[1:], *more)
        assert outcome.code == 0, f"{line}\n{outcome.err}"
    figures = re.findall(r"!\[.*\]\((.*)\)", page)
    assert len(figures) == 6
    for figure in figures:
        assert (tmp_path / "docs" / figure).is_file()
        assert (PAGES[0].parent / figure).is_file()


def test_the_code_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = blocks("python")
    exec(compile(code, "README.md", "exec"), {})
    assert "banana -> yellow" in capsys.readouterr().out


def code_of(page_name: str) -> dict[str, Any]:
    """The names that a page's Python code leaves behind, run as it stands."""
    page = next(page for page in PAGES if page.name == page_name).read_text("utf-8")
    names: dict[str, Any] = {}
    for code in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(compile(code, page_name, "exec"), names)
    return names


def test_the_code_of_the_python_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    names = code_of("python.md")
    assert 'banana -> L5/717 "' in capsys.readouterr().out
    assert names["svg"].rstrip().endswith("</svg>")
    assert names["page"].is_file()


def test_upstreams_usage_runs_as_it_is_translated() -> None:
    names = code_of(UPSTREAM)
    assert len(names["nodes"]) == len(names["adjacency_matrix"])
    assert len(names["activation_values"]) == names["n_features"] > len(names["pruned"].features())
    assert [target.token for target in names["tensor"].targets] == ["yellow", "red"]
    assert names["strings"].scores == names["tensor"].scores
    assert names["new_logit"] < 0
    model, yellow = names["pair"].model, names["i"]
    natural, ablated = (model.probabilities(names[name])[yellow] for name in ("before", "after"))
    assert float(ablated) < 0.9 * float(natural)
    assert names["words"][0] == model.token_text(int(names["after"].argmax()))
    steered, later = (names[name].prompts[0][1].at(8.0).text.text for name in ("steered", "later"))
    assert steered != later
    assert Path("page.html").is_file()


def test_twenty_lines_of_upstream_are_translated_and_its_commands_run() -> None:
    page = next(page for page in PAGES if page.name == UPSTREAM).read_text("utf-8")
    code, commands = (
        re.findall(rf"```{of}\n(.*?)```", page, re.DOTALL)[0] for of in ("python", "sh")
    )
    assert sum(line.startswith("# ") for line in (code + commands).splitlines()) >= 20
    for line in (line for line in commands.splitlines() if not line.startswith("#")):
        outcome = run_command(*shlex.split(line)[1:])
        assert outcome.code == 0, f"{line}\n{outcome.err}"


def test_what_is_written_from_help_and_docstrings_is_current() -> None:
    check = runpy.run_path(str(ROOT / "docs" / "generate.py"))["main"]
    assert check(["--check"]) == 0  # prints which page is not: `make docs` writes it


@pytest.mark.parametrize("name", ["banana", "own-model"])
def test_a_notebook_runs_and_has_its_outputs(name: str) -> None:
    folder = PAGES[0].parent
    notebook = json.loads((folder / f"{name}.ipynb").read_text("utf-8"))
    executed = runpy.run_path(str(folder / "notebooks.py"))["executed"](notebook)

    def kinds(cells: list[Any]) -> list[list[str]]:
        return [[kind for one in cell.get("outputs", ()) for kind in one] for cell in cells]

    assert sum(map(bool, kinds(executed["cells"]))) > 5
    stored = [
        [kind for kind in cell if kind != "execution_count"] for cell in kinds(notebook["cells"])
    ]
    assert kinds(executed["cells"]) == stored


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_a_page_is_one_with_options_it_has(page: Path) -> None:
    """Also of those that are not run: a real model, a hub, minutes of work."""
    lines = COMMAND.findall(page.read_text("utf-8").replace("\\\n", ""))
    root = tree()
    for line in lines:
        words = shlex.split(line, comments=True)
        command = root
        while len(words) > 1 and words[1] in getattr(command, "commands", {}):
            command = command.commands[words.pop(1)]
        known = {name for option in command.params for name in option.opts + option.secondary_opts}
        unknown = {word for word in words[1:] if re.match(r"--?[a-z]", word)} - known
        assert not unknown, f"{page.name}: {line}"
        assert not hasattr(command, "commands"), f"{page.name}: {line}"


def test_every_file_the_readme_names_is_there() -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / link).exists(), link
