"""kill -9 at random moments, with the bundled model and real processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.batch.store_checks import differences, prompt_file

ROOT = Path(__file__).resolve().parents[2]
PROMPTS, KILLS = 18, 3


def _run(file: Path, folder: Path, kills: int) -> dict[str, list[int]]:
    outcome = subprocess.run(
        [sys.executable, "-m", "tests.batch.forking", file, folder, str(kills), "1", "2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    found: dict[str, list[int]] = json.loads(outcome.stdout)
    return found


def test_a_run_killed_again_and_again_ends_like_one_that_was_left_alone(tmp_path: Path) -> None:
    file = prompt_file(tmp_path / "prompts.jsonl", PROMPTS)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert _run(file, whole, 0)["killed"] == 0
    found = _run(file, killed, KILLS)
    assert found["killed"] == KILLS
    assert 0 < found["done"][-1] < PROMPTS  # they were killed at work
    assert differences(whole, killed) == []
