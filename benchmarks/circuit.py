"""How small are sufficient circuits? Over the shipped prompts, by basis, level and ablation.

    python -m benchmarks.circuit [MODEL] [--every 3] [--write]

Of each prompt that the model answers: components, weights, what random sets of the size keep, and
the seconds of one thread. Medians with bootstrap intervals over prompts. `--write` puts the table
into docs/circuit.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import numpy as np
import torch

from benchmarks import pages
from benchmarks.pages import put, table
from benchmarks.prompts import prompts
from circuit_tracer.experiments.circuit.judging import asked
from circuit_tracer.experiments.circuit.results import CircuitReport
from circuit_tracer.experiments.circuit.run import CircuitSettings, find_circuit
from circuit_tracer.graphs.bootstrap import Bootstrap
from circuit_tracer.workbench.opening import Opened, open_pair

CASES: tuple[tuple[str, dict[str, object]], ...] = (
    ("neurons+attention", {}),
    ("neurons+attention", {"kl": 0.15}),
    ("neurons+attention", {"ablation": "zero"}),
    ("neurons", {}),
    ("features", {}),
)


def found(opened: Opened, prompt: str, basis: str, options: dict[str, object]) -> CircuitReport:
    """One circuit."""
    settings = CircuitSettings(basis=basis, random=10, **options)  # type: ignore[arg-type]
    one = asked(opened.model, prompt, None, None)
    report, *_ = find_circuit(opened.model, opened.dictionary, [one], [], settings)
    return report


def median_of(values: Sequence[float], form: str) -> str:
    """With its bootstrap interval."""
    column = np.array(values)
    draws = [
        median(np.repeat(column, counts.astype(int)).tolist())
        for counts in Bootstrap(len(column), resamples=1000, seed=0).draws()
    ]
    low, high = np.quantile(draws, [0.025, 0.975])
    return f"{median(values):{form}} [{low:{form}}, {high:{form}}]"


def row(reports: Sequence[CircuitReport]) -> tuple[str, ...]:
    """A line of the table."""
    first = reports[0]
    sizes = [float(len(one.components)) for one in reports]
    random = [one.random_share / one.prompts[0].share for one in reports]
    return (
        first.basis,
        first.level.removesuffix(", and the likeliest token"),
        first.ablation,
        f"{first.n_components:,}",
        median_of(sizes, ",.0f"),
        median_of([float(one.weights) for one in reports], ",.0f"),
        f"{sum(share <= 0.5 for share in random)} of {len(random)}",
        f"{median(one.seconds for one in reports):.1f}",
    )


HEAD = (
    *("basis", "kept", "rest", "components there", "needed", "weights"),
    *("random at most half", "CPU s"),
)


def main() -> None:
    """Measure and print the table."""
    parser = pages.parser(__doc__)
    parser.add_argument("model", nargs="?", default="sprout")
    parser.add_argument("--every", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    texts = [record["prompt"] for _, record in prompts()][:: arguments.every]
    rows = []
    for basis, options in CASES:
        opened = open_pair(arguments.model, None if basis == "features" else "neurons")
        rows.append(row([found(opened, text, basis, options) for text in texts]))
        print(" | ".join(rows[-1]), flush=True)
    if arguments.write:
        words = f"{len(texts)} shipped prompts of {arguments.model}."
        put("circuit.md", "circuit", [words, "", *table(HEAD, rows), ""])


if __name__ == "__main__":
    main()
