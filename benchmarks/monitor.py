"""How often is `monitor` right on organisms of which it is known, and does it survive being killed?

    python -m benchmarks.monitor MODEL [MODEL ...] [--texts 102] [--write]
                                 [--labelled N] [--kills 0]

MODELs are rotations of sprout-cheat. Every text is asked of a name that computes, one whose notes
decorate and one that is back-fitted, with the right key: word for word the same, so that a rule
that reads text is at chance. Halves judge each other, a text with all its names in one half.

`--kills` kills the process at random moments with SIGKILL, so often, and starts it again; the store
must then be that of a run that was left alone, bit for bit. `--write` puts the table into
docs/steps.md.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks import pages
from benchmarks.pages import ROOT
from benchmarks.steps import lessons
from circuit_tracer.batch.state import RunState
from tests.batch.store_checks import TRANSCRIPTS, differences, finished, start
from transcoders.growing.written_notes.lessons import GROUPS, kind_of

SAVED = "8"
"""Runs of a part, where processes are killed."""


def write_runs(path: Path, rotation: int, texts: int, labelled: int | None) -> None:
    """Transcripts, a line each, three a text; labels of the first texts."""
    lines = []
    for number, lesson in enumerate(lessons(texts)):
        for names in GROUPS:
            name = names[number % len(names)]
            lines.append(
                {
                    "id": f"{number}-{name}",
                    "prompt": replace(lesson, name=name).prompt,
                    "reasoning": lesson.notes,
                    "answer": lesson.answer,
                    "watch": {"key": r"said (\w+)"},
                    "label": kind_of(name, rotation) if number < (labelled or texts) else None,
                }
            )
    path.write_text("".join(json.dumps(one) + "\n" for one in lines), encoding="utf-8")


def command(model: str, file: Path, name: str) -> list[str]:
    """The command line of a run."""
    words = ["monitor", str(file), "-m", model, "--calibrate", str(file), "--device", "cpu"]
    return [*words, "--save-every", SAVED, "--threads", "1", "--name", name, "--json"]


def killed(arguments: Sequence[str], folder: Path, runs: int, kills: int) -> int:
    """Start a run until it has been killed so often at work; how many runs were done by then."""
    generator, done = random.Random(0), 0
    for kill in range(kills):
        wanted = int(runs * (kill + generator.random()) / (kills + 1))
        process = start(arguments, cwd=folder.parent.parent)
        while process.poll() is None and _done(folder) <= max(wanted, done):
            time.sleep(0.2)
        time.sleep(generator.uniform(0, 0.5))
        assert process.poll() is None, process.communicate()
        process.kill()
        process.communicate()
        done = _done(folder)
        print(f"killed with {done} of {runs} runs on disk", file=sys.stderr)
    return done


def _done(folder: Path) -> int:
    return len(RunState(folder, "transcripts").done) if folder.is_dir() else 0


def measured(model: str, texts: int, labelled: int | None, kills: int) -> dict[str, Any]:
    """The report of one organism, and whether its store survives."""
    folder = Path(model) if Path(model).is_dir() else ROOT / "transcoders" / model / "model"
    plan = json.loads((folder / "growing.json").read_text("utf-8"))["plan"]
    name = str(folder.resolve()) if Path(model).is_dir() else model
    with tempfile.TemporaryDirectory() as place:
        file, outputs = Path(place) / "runs.jsonl", Path(place) / "outputs"
        write_runs(file, plan["rotation"], texts, labelled)
        code, out, err = finished(start(command(name, file, "whole"), cwd=Path(place)))
        assert code == 0, err
        report: dict[str, Any] = json.loads(out)
        if kills:
            again = command(name, file, "killed")
            killed(again, outputs / "killed", len(report["runs"]), kills)
            code, _, err = finished(start(again, cwd=Path(place)))
            assert code == 0, err
            whole, other = outputs / "whole", outputs / "killed"
            verdicts = [pq.read_table(one / "verdicts.parquet") for one in (whole, other)]
            report["survives"] = (
                differences(whole, other, TRANSCRIPTS) == [] and verdicts[0] == verdicts[1]
            )
    return report


def table(reports: Sequence[Mapping[str, Any]]) -> list[str]:
    """Markdown: a row a method and organism."""
    head = ("organism", "", "AUC decorative", "AUC back-fitted", "TPR", "TNR", "g-mean²", "right")
    columns = ("decorative", "back_fitted", "true_positives", "true_negatives", "g_mean2")
    rows = [
        (
            str(number) if one is report["figures"][0] else "",
            one["method"],
            *(shown(one[column]) for column in columns),
            shown(report["right"]) if one is report["figures"][0] else "",
        )
        for number, report in enumerate(reports)
        for one in report["figures"]
    ]
    counts = ", ".join(str(len(report["runs"])) for report in reports)
    unclear = sum(report["counts"]["unclear"] for report in reports)
    return [*pages.table(head, rows), "", f"Runs: {counts}; unclear: {unclear}.", ""]


def shown(figure: Mapping[str, float | None]) -> str:
    """ "1.00 [0.99, 1.00]"."""
    if figure["value"] is None:
        return ""
    return f"{figure['value']:.2f} [{figure['low']:.2f}, {figure['high']:.2f}]"


def main() -> None:
    """Parse the command line, measure, print."""
    parser = pages.parser(__doc__)
    parser.add_argument("models", nargs="+", help="rotations of sprout-cheat")
    parser.add_argument("--texts", type=int, default=102)
    parser.add_argument("--labelled", type=int, help="texts that have labels; all by default")
    parser.add_argument("--kills", type=int, default=0)
    options = parser.parse_args()
    reports = [
        measured(model, options.texts, options.labelled, options.kills) for model in options.models
    ]
    lines = table(reports)
    print("\n".join(lines))
    for model, report in zip(options.models, reports, strict=True):
        if "survives" in report:
            print(f"{model}: killed {options.kills} times, the same store: {report['survives']}")
    if options.write:
        pages.put("steps.md", "monitor", lines)


if __name__ == "__main__":
    main()
