"""The package as it is installed: a wheel, away from the checkout, with what ships."""

from __future__ import annotations

import importlib
import os
import runpy
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.forked import Forked

ROOT = Path(__file__).resolve().parent.parent
MOST_MEGABYTES = 60


def run(*command: str, cwd: Path, **environment: str) -> str:
    """What a process prints; its error fails the test."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def installed_command() -> None:
    """`python -m circuit_tracer` from there, in a process that has only what it needs imported."""
    sys.path.insert(0, os.environ["SITE"])
    for name in [one for one in sys.modules if one.partition(".")[0] == "circuit_tracer"]:
        del sys.modules[name]
    package = importlib.import_module("circuit_tracer")
    print(package.__file__, file=sys.stderr)
    runpy.run_module("circuit_tracer", run_name="__main__")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = "import zlib; zlib.Z_DEFAULT_COMPRESSION = 0\n"  # packing takes seconds
    build += "import hatchling.cli; hatchling.cli.hatchling()"
    run("-c", build, "build", "-t", "wheel", "-d", str(folder), cwd=ROOT)
    (path,) = folder.glob("*.whl")
    return path


def test_it_holds_the_package_and_what_ships_once(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        size = sum(one.file_size for one in archive.infolist())
    roots = {name.partition("/")[0] for name in names}
    assert {name for name in roots if not name.endswith(".dist-info")} == {"circuit_tracer"}
    assert len([name for name in names if name.endswith("sprout/model/model.safetensors")]) == 1
    assert size < MOST_MEGABYTES * 1e6
    assert not any("__pycache__" in name or "/outputs/" in name for name in names)


def test_an_installed_command_traces_a_prompt(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    site = {"PYTHONPATH": str(tmp_path / "site")}
    place = run(
        "-c", "import circuit_tracer; print(circuit_tracer.__file__)", cwd=elsewhere, **site
    )
    assert Path(place.strip()).is_relative_to(tmp_path)
    words = ("trace", "a banana is", "--device", "cpu", "--format", "svg,html", "--no-trust")
    process = Forked(words, elsewhere, installed_command, SITE=str(tmp_path / "site"))
    code, printed, err = process.finished()
    assert code == 0, err
    assert "yellow" in printed
    assert str(tmp_path / "site") in err
    folder = elsewhere / "outputs" / "a-banana-is"
    assert {"graph.svg", "graph.html", "trace.json"} <= {path.name for path in folder.iterdir()}
