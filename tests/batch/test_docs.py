"""What docs/batch.md says runs as it stands: commands, SQL, polars, Python, the SLURM script."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from circuit_tracer.batch.stored_run import open_run
from tests.cli.conftest import run_command

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "batch.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture(scope="module", autouse=True)
def _bananas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("docs")
    (folder / "prompts").symlink_to(ROOT / "prompts")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        for line in _blocks("sh")[0].splitlines():
            program, *arguments = shlex.split(line)
            assert program == "circuit-tracer"
            outcome = run_command(*arguments)
            assert outcome.code == 0, f"{line}\n{outcome.err}"
        yield


def _influence() -> dict[tuple[int, int], float]:
    """By (layer, feature), added up row by row."""
    found: dict[tuple[int, int], float] = {}
    for row in open_run("outputs/bananas").rows("nodes").to_pylist():
        if row["kind"] == 1:
            key = row["layer"], row["feature"]
            found[key] = found.get(key, 0.0) + row["influence"]
    return found


def test_duckdb() -> None:
    duckdb = pytest.importorskip("duckdb")
    answers, features = (duckdb.sql(query).fetchall() for query in _blocks("sql")[0].split(";")[:2])
    assert sum(row[1] for row in answers) == open_run("outputs/bananas").graphs.num_rows
    strongest = max(_influence().items(), key=lambda item: item[1])
    assert (features[0][:2], features[0][4]) == (strongest[0], pytest.approx(strongest[1]))


def test_polars() -> None:
    pl = pytest.importorskip("polars")
    table: Any = eval(_blocks("polars")[0], {"pl": pl})
    prompts: dict[str, set[str]] = {}
    for row in open_run("outputs/bananas").rows("paths").to_pylist():
        prompts.setdefault(row["route"], set()).add(row["id"])
    assert table["prompts"][0] == max(map(len, prompts.values()))
    assert table["prompts"][0] == len(prompts[table["route"][0]])


def test_python(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(_blocks("python")[0], "batch.md", "exec"), {})
    assert "yellow" in capsys.readouterr().out


def test_the_slurm_script_is_a_shell_script() -> None:
    script = ROOT / "docs" / "slurm-array.sh"
    subprocess.run(["sh", "-n", str(script)], check=True)
    assert "circuit-tracer batch" in script.read_text()
