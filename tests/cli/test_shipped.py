"""Specs and prompt files that ship are found by their bare names, in a checkout or installed."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from circuit_tracer import bundled
from circuit_tracer.errors import UsageError
from circuit_tracer.experiments.diff.spec import read_spec as read_comparison
from circuit_tracer.experiments.dissociation.spec import read_spec
from circuit_tracer.experiments.edits.spec import read_spec as read_edits
from circuit_tracer.workbench.shipped import find_given
from tests.cli.conftest import Run

ROOT = Path(__file__).resolve().parents[2]
EDITS = ("edits-conflict", "edits-right", "edits-speaker")
SPECS = ("bananas", "bananas-smollm2", "bent", "capitals", *EDITS, "opposites", "two-pages",
         "wrong-capitals")  # fmt: skip
OWN = ("bananas", "bananas-smollm2", "capitals", "opposites", "two-pages")
"""Of `dissociate`."""


@pytest.mark.parametrize("name", SPECS)
def test_a_spec_by_its_bare_name(name: str) -> None:
    path = find_given(name, ".toml", "a spec")
    assert path == find_given(f"{name}.toml", ".toml", "a spec")
    assert path == ROOT / "prompts" / f"{name}.toml"
    readers = dict.fromkeys(EDITS, read_edits) | dict.fromkeys(
        ("bent", "wrong-capitals"), read_comparison
    )
    assert len(readers.get(name, read_spec)(path).items) >= 20


def test_what_lies_here_goes_first() -> None:
    Path("bananas").mkdir()
    assert find_given("bananas", ".toml", "a spec").parent.name == "prompts"
    Path("bananas.toml").write_text("mine")
    Path("capitals").write_text("mine")
    assert find_given("bananas.toml", ".toml", "a spec") == Path("bananas.toml")
    assert find_given("capitals", ".toml", "a spec") == Path("capitals")
    assert find_given("bananas", ".jsonl", "prompts").name == "bananas.jsonl"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("nothing", f"or one that ships: {', '.join(OWN)}"),
        ("bent", f"or one that ships: {', '.join(OWN)}"),  # of another command
        ("nothing.toml", "or one that ships: "),
        ("facts", "or one that ships: "),  # a prompt file, and no spec
        ("banana", "did you mean bananas, which ships?"),
        ("prompts/capitals.toml", "did you mean capitals, which ships?"),
    ],
)
def test_an_unknown_name_is_told_with_those_that_ship(given: str, said: str, run: Run) -> None:
    with pytest.raises(UsageError) as caught:
        find_given(given, ".toml", "a spec", bundled.shipped_specs("dissociate"))
    assert said in str(caught.value)
    outcome = run("dissociate", given)
    assert (outcome.code, outcome.out) == (2, "")
    assert said in outcome.err


def test_a_command_names_what_ships_for_it(run: Run) -> None:
    specs = run("diff", "sprout", "sprout-bent", "nothing").err
    assert "or one that ships: bent, wrong-capitals\n" in specs
    assert tuple(bundled.shipped_specs("edits")) == EDITS
    assert run("monitor", "nothing", "--check").err.endswith("or one that ships: cheat\n")


def test_a_shipped_prompt_file_is_traced(run: Run) -> None:
    done = run("batch", "facts", "--limit", "1", "--device", "cpu", "--threads", "1")
    assert done.code == 0, done.err
    assert "outputs/facts" in done.out
    assert "did you mean facts" in run("batch", "fcats").err


def test_an_installed_package_finds_them_inside_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    places = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    installed = tmp_path / "site-packages"
    for name in ("prompts", "transcoders"):
        (installed / places[name]).mkdir(parents=True)
    (installed / places["prompts"] / "mine.toml").write_text("mine")
    for name in ("complete", "cardless"):
        model = installed / places["transcoders"] / name / "model"
        model.mkdir(parents=True)
        (model / "config.json").write_text("{}")
    (installed / places["transcoders"] / "complete" / "README.md").write_text("# complete")
    monkeypatch.setattr(bundled, "__file__", str(installed / "circuit_tracer" / "bundled.py"))
    assert list(bundled.shipped_prompts(".toml")) == ["mine"]
    assert bundled.bundled_folder() == installed / places["transcoders"]
    assert bundled.bundled_models() == ["complete"]
