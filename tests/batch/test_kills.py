"""kill -9 at random moments, with the bundled model and real processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.batch.store_checks import differences, prompt_file

ROOT = Path(__file__).resolve().parents[2]
PROMPTS, KILLS = 12, 2


def test_a_run_killed_again_and_again_ends_like_one_that_was_left_alone(tmp_path: Path) -> None:
    file = prompt_file(tmp_path / "prompts.jsonl", PROMPTS)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    outcome = subprocess.run(
        [sys.executable, "-m", "tests.batch.forking", file, killed, str(KILLS), "1", "2", whole],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    found: dict[str, Any] = json.loads(outcome.stdout)
    assert found["killed"] == KILLS
    assert 0 < found["done"][-1] < PROMPTS  # they were killed at work
    assert differences(whole, killed) == []
