"""The package as it is installed: a wheel, away from the checkout, with what ships."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

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


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run("-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), cwd=ROOT)
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
    command = ("-m", "circuit_tracer", "trace", "a banana is", "--device", "cpu", "--threads", "1")
    printed = run(*command, "--format", "svg,html", "--no-trust", cwd=elsewhere, **site)
    assert "yellow" in printed
    folder = elsewhere / "outputs" / "a-banana-is"
    assert {"graph.svg", "graph.html", "trace.json"} <= {path.name for path in folder.iterdir()}
