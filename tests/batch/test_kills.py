"""kill -9 at random moments, with the bundled model and real processes."""

from __future__ import annotations

from pathlib import Path

from circuit_tracer.batch.shards import Work
from tests.batch.forking import killed_at_work
from tests.batch.store_checks import differences, prompt_file

PROMPTS, KILLS = 12, 2


def test_a_run_killed_again_and_again_ends_like_one_that_was_left_alone(tmp_path: Path) -> None:
    file = prompt_file(tmp_path / "prompts.jsonl", PROMPTS)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    work = Work(part_prompts=2)
    found = killed_at_work(file, killed, KILLS, seed=1, work=work, undisturbed=whole)
    assert found.status == [0, 0]
    assert found.killed == KILLS
    assert 0 < found.done[-1] < PROMPTS  # they were killed at work
    assert differences(whole, killed) == []
