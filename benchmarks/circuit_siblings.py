"""Are circuits of a weight-sparse model smaller? Several models on the same prompts, paired.

    python -m benchmarks.circuit_siblings sprout sparse=FOLDER,FOLDER control=FOLDER \\
        [--every 3] [--rows FILE] [--write]

A group is a bundled model, or folders of the same kind under one name (its seeds). Of each model
and prompt: components (neurons and attention channels) that keep KL to the whole model at most .15
nats, and 80 % of the logit difference, everything else mean-ablated; the weights other than zero
those read and write with; what random sets of the size keep; and the hidden weights needed for KL
at most .3 (circuit_weights.py). What was measured is kept in `--rows`, one line of JSON each, and
not measured again. Ratios are of each prompt to itself, seeds averaged first; medians with 95 %
bootstrap intervals over prompts. `--write` puts the tables into docs/circuit.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import torch

from benchmarks import pages
from benchmarks.circuit import median_of
from benchmarks.circuit_weights import WeightMask
from benchmarks.pages import put, there
from benchmarks.prompts import prompts
from circuit_tracer.bundled import shipped_folder
from circuit_tracer.experiments.circuit.components import Components
from circuit_tracer.experiments.circuit.judging import Judge, Level, asked
from circuit_tracer.experiments.circuit.reference import BUNDLED_TEXT, reference_of
from circuit_tracer.experiments.circuit.run import CircuitSettings, checked, component_weights
from circuit_tracer.experiments.circuit.search import search
from circuit_tracer.workbench.opening import open_pair

TEXT = shipped_folder("prompts") / BUNDLED_TEXT
LEVELS = {"KL .15": Level(0.8, 0.15), "80 %": Level(0.8, None)}
WEIGHTS_KL = 0.3
FIGURES = {
    "components, KL at most .15": ("KL .15", "components"),
    "components, 80 % of the difference": ("80 %", "components"),
    "weights of these, KL at most .15": ("KL .15", "weights"),
    "weights of these, 80 % of the difference": ("80 %", "weights"),
    "weights needed, KL at most .3": ("weights", "weights"),
}
"""Rows of the table: which measurement, which of its numbers."""
Row = dict[str, Any]


class Measured:
    """One model, with what every prompt shares."""

    def __init__(self, folder: str) -> None:
        """A bundled name or a folder."""
        pair = open_pair(folder, "neurons", device="cpu")
        self.model = pair.model
        self.components = Components(pair.model, pair.dictionary, True, 1)
        self.reference = reference_of(self.components, "mean", TEXT, None)
        self.weights = component_weights(self.components)
        lines = TEXT.read_text(encoding="utf-8").splitlines()
        rows = [self.model.tokenize(line) for line in lines]
        longest = max(map(len, rows))
        self.mask = WeightMask(self.model.module, [one for one in rows if len(one) == longest])

    def circuit(self, prompt: str, level: Level) -> Row:
        """The components of one circuit."""
        judge = Judge(
            self.components, [asked(self.model, prompt, None, None)], self.reference, level
        )
        found = search(judge, None, lambda *_: None)
        (kept,) = checked(judge, found, [], CircuitSettings(random=10))
        random = sum(kept.random_share) / len(kept.random_share)
        return {
            "components": len(found.numbers),
            "weights": int(self.weights[found.numbers].sum()),
            "random": random / kept.share,
        }

    def needed(self, prompt: str) -> Row:
        """The weights of one answer."""
        one = asked(self.model, prompt, None, None)
        return {"weights": self.mask.needed(one, WEIGHTS_KL)}


def measure(folder: str, texts: Iterable[str], cases: Iterable[str], file: Path) -> list[Row]:
    """Every row of a model, those that are in the file read from it."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    known = {(row["model"], row["prompt"], row["case"]): row for row in map(json.loads, lines)}
    measured: Measured | None = None
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    for case in cases:
        for prompt in texts:
            row = known.get((folder, prompt, case))
            if row is None:
                measured = measured or Measured(folder)
                begun = process_time()
                of_weights = case == "weights"
                row = (
                    measured.needed(prompt)
                    if of_weights
                    else measured.circuit(prompt, LEVELS[case])
                )
                row |= {"model": folder, "prompt": prompt, "case": case}
                row["seconds"] = round(process_time() - begun, 2)
                with file.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(row) + "\n")
            rows.append(row)
    return rows


def by_prompt(groups: list[list[Row]], case: str, number: str) -> list[float]:
    """One number a prompt, the mean over a group's models."""
    columns = [[row[number] for row in rows if row["case"] == case] for rows in groups]
    return [sum(same) / len(same) for same in zip(*columns, strict=True)]


def table(found: dict[str, list[list[Row]]]) -> list[str]:
    """The figures of every group, and the ratios of the others to the one named `sparse`."""
    others = [name for name in found if name != "sparse"]
    heads = ["", *found, *(f"{name} : sparse" for name in others)]
    lines = []
    for title, (case, number) in FIGURES.items():
        values = {name: by_prompt(groups, case, number) for name, groups in found.items()}
        cells = [median_of(column, ",.0f") for column in values.values()]
        for name in others:
            pairs = zip(values[name], values["sparse"], strict=True)
            cells.append(median_of([one / other for one, other in pairs], ".2f"))
        lines.append((title, *cells))
    for case in LEVELS:
        cells = []
        for groups in found.values():
            shares = [row["random"] for rows in groups for row in rows if row["case"] == case]
            cells.append(f"{sum(one <= 0.5 for one in shares)} of {len(shares)}")
        lines.append((f"random at most half, {case}", *cells, *[""] * len(others)))
    times = [
        f"{median(row['seconds'] for rows in groups for row in rows):.1f}"
        for groups in found.values()
    ]
    lines.append(("CPU s a measurement", *times, *[""] * len(others)))
    return pages.table(heads, lines)


def written_table() -> str:
    """The tables as docs/circuit.md has them."""
    return there("circuit.md", "circuit_siblings")


def main() -> None:
    """Measure and print the table."""
    parser = pages.parser(__doc__)
    parser.add_argument("groups", nargs="+", help="NAME or NAME=FOLDER,FOLDER")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--rows", type=Path, default=Path("outputs/circuit-siblings.jsonl"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    texts = [record["prompt"] for _, record in prompts()][:: arguments.every]
    found: dict[str, list[list[Row]]] = {}
    for group in arguments.groups:
        name, _, folders = group.partition("=")
        found[name] = [
            measure(folder, texts, (*LEVELS, "weights"), arguments.rows)
            for folder in (folders or name).split(",")
        ]
    sizes = ", ".join(f"{name} {len(groups)}" for name, groups in found.items())
    lines = [
        f"{len(texts)} shipped prompts; models: {sizes}.",
        "",
        *(table(found) if "sparse" in found else []),
    ]
    print("\n".join(lines))
    if arguments.write:
        put("circuit.md", "circuit_siblings", [*lines, ""])


if __name__ == "__main__":
    main()
