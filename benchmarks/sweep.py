"""How fast rows are: the sweep alone, the whole way of a prompt, and batched autograd, in one run.

    python -m benchmarks.sweep [--cases ABCD] [--device cpu] [--threads 1] [--repeat 5] [--write]

| case | model | dictionary | tokens | rows |
| --- | --- | --- | --- | --- |
| A | Llama, 4 x 128 | 1,024 features a layer, 16 active | 16 | all 960 |
| B | Llama, 8 x 256, 8 heads, 4 key-value heads | 4,096, 20 active | 32 | 2,000 |
| C | GPT-2, 12 x 768, vocabulary 5,000 | 8,192, 32 active | 32 | 1,000 |
| D | SmolLM2-135M-Instruct | its own neurons | 64 | 500 |
| E | SmolLM2-135M-Instruct | its own neurons, coverage 0.9 | 2,048 | as it comes |

"Sweep" is the walk of the rows with its layout, its pieces thrown away. "Whole" is everything from
tokens to the unpruned graph: forward pass, encoding, choice of rows, sweep, assembly. The baseline
is what a straightforward implementation does: the frozen network in torch, gradients of a batch of
targets by `is_grads_batched`, products with all source vectors, at the better of two batch sizes;
both are checked to agree first. The share is that of the rate of a large matrix product, measured
in turn with the sweep. Every case runs in a process of its own, so that its peak memory is its
own. E takes half an hour and has no baseline; ask for it by name, with two threads. `--write`
puts the cases' lines into sweep.md (sweep-cuda.md with `--device cuda`) and leaves those of other
cases. On another device than the CPU everything runs there, the baseline too; clocks are read when
it has done what it was asked for, and the peak is that of its own memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import pages
from circuit_tracer.attribution import TraceSettings, trace
from circuit_tracer.attribution.replacement import LocalReplacementModel, build_replacement
from circuit_tracer.attribution.sweep import Batch, Sweep, SweepTargets, at_once, batches
from circuit_tracer.models import Model, open_model
from circuit_tracer.models.devices import parse_device, side_by_side, synchronize
from circuit_tracer.processes import reuse_memory
from circuit_tracer.transcoders.neurons import AnyDictionary, open_neurons
from tests.attribution.frozen import dense_rows, feature_targets, off
from tests.oracle import FrozenNetwork
from tests.tiny import random_dictionary, tiny_llama, tiny_model

HERE = Path(__file__).resolve().parent
BATCH = 64
AUTOGRAD_BATCHES = (8, 32)
BURST = 8
"""Matrix products between two looks at the clock."""


@dataclass(frozen=True)
class Case:
    """A model, a dictionary, a prompt, and how many rows are asked for."""

    model: Model
    dictionary: AnyDictionary
    ids: list[int]
    rows: int | None
    coverage: float | None = None


@dataclass(frozen=True)
class Figures:
    """One line of the table; None where a figure was not measured."""

    case: str
    rows: int
    whole: float
    """Rows a second from tokens to the unpruned graph."""
    seconds: float
    """The whole way."""
    expected_seconds: float
    """What the estimate said of the sweep before it began."""
    expected_megabytes: float
    gigabytes: float
    """Peak of the process at the end of the whole way, before the baseline runs."""
    sweep: float | None = None
    gemm: float | None = None
    """GFLOP/s."""
    share: float | None = None
    autograd: float | None = None
    difference: float | None = None
    """Largest difference from autograd, relative to the largest edge."""


def build(case: str, device: torch.device) -> Case:
    """One of the cases."""
    if case in "DE":
        model = open_model("smollm2", device=str(device))
        ids = model.tokenize((HERE.parent / "LICENSE").read_text(encoding="utf-8"))
        neurons = open_neurons(model)
        if case == "D":
            return Case(model, neurons, ids[:64], 500)
        return Case(model, neurons, ids[:2048], None, coverage=0.9)
    n_tokens, rows = {"A": (16, 960), "B": (32, 2000), "C": (32, 1000)}[case]
    if case == "A":
        model = tiny_llama(n_layers=4, d_model=128, n_words=200, device=device)
        dictionary = random_dictionary(model, n_features=1024, k=16)
    elif case == "B":
        model = tiny_llama(
            n_layers=8, d_model=256, n_heads=8, n_kv_heads=4, n_words=200, device=device
        )
        dictionary = random_dictionary(model, n_features=4096, k=20)
    else:
        model = tiny_model(
            "gpt2", n_layers=12, d_model=768, n_heads=12, n_words=5000, device=device
        )
        dictionary = random_dictionary(model, n_features=8192, k=32)
    generator = torch.Generator().manual_seed(0)
    words = torch.randint(2, model.wiring.n_vocabulary, (n_tokens - 1,), generator=generator)
    return Case(model, dictionary, [0, *words.tolist()], rows)


def whole_way(case: Case) -> tuple[int, float, str]:
    """Rows, seconds and the estimate of one trace."""
    said = []
    settings = TraceSettings(
        max_feature_nodes=case.rows, coverage=case.coverage, batch_size=BATCH, zeroed_positions=1
    )
    # Random models have no text for their tokens; the tokenizer is not what is measured.
    with patch.object(Model, "tokenize", lambda *_, **__: case.ids):
        start = time.perf_counter()
        done = trace(
            case.model,
            case.dictionary,
            "a prompt",
            settings,
            on_progress=lambda now: said.append(now.note) if now.note else None,
        )
        synchronize(case.model.device)
        return done.n_expanded, time.perf_counter() - start, said[-1]


def some_targets(model: LocalReplacementModel, n_rows: int) -> SweepTargets:
    """A random choice of active features, seeded."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randperm(len(model.features), generator=generator)[:n_rows].sort().values
    return feature_targets(model, rows)


def sweep(model: LocalReplacementModel, targets: SweepTargets) -> None:
    """All rows, their pieces thrown away."""
    walk = Sweep(model)

    def thrown_away(batch: Batch) -> None:
        walk.walk(targets, batch, lambda piece: None)

    device, most = model.embeddings.device, at_once(model, len(targets), BATCH)
    list(side_by_side(thrown_away, batches(targets, BATCH), device, most=most))


def autograd_batches(targets: SweepTargets, size: int) -> list[Tensor]:
    """Four batches spread evenly over the layers."""
    order = torch.argsort(targets.level, stable=True)  # its best order: one layer per batch
    groups = [order[i : i + size] for i in range(0, len(order), size)]
    return groups[:: max(1, len(groups) // 4)][:4]


def autograd(network: FrozenNetwork, targets: SweepTargets, spread: list[Tensor]) -> None:
    """Rows by gradients of the frozen network."""
    for batch in spread:
        network.rows(targets, batch)


def flops_of(work: Callable[[], None]) -> int:
    """Multiplications and additions of matrix products."""

    def addmm_(_: Any, a: Any, b: Any, **__: Any) -> int:
        return 2 * int(a[0]) * int(a[1]) * int(b[1])

    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: addmm_})
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # what other threads do is not counted
    with counter:
        work()
    torch.set_num_threads(threads)
    return int(counter.get_total_flops())


def seconds_of(work: Callable[[], Any], device: torch.device) -> float:
    """Wall time of one call."""
    synchronize(device)
    start = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - start


def gemm_rate(device: torch.device, seconds: float = 0.5) -> float:
    """GFLOP/s of a large float32 matrix product."""
    a, b = torch.randn(2, 1024, 1024, device=device)
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        for _ in range(BURST):
            a @ b
        synchronize(device)
        count += BURST
    return count * 2 * 1024**3 / (time.perf_counter() - start) / 1e9


def peak_gigabytes(device: torch.device) -> float:
    """Of the process, or of the GPU's memory where it runs there."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def disagreement(
    model: LocalReplacementModel, network: FrozenNetwork, targets: SweepTargets
) -> float:
    """Largest difference between the two on 16 rows, relative to the largest edge."""
    every = torch.arange(len(targets), device=targets.vector.device)
    sample = targets.take(every[:: max(1, len(targets) // 16)])
    return off(dense_rows(model, sample), network.rows(sample, torch.arange(len(sample))))


def measure(name: str, repeat: int, device: torch.device) -> Figures:
    """One case in this process, its memory handled as on the command line."""
    reuse_memory()
    case = build(name, device)
    again = 1 if name == "E" else max(1, repeat // 2)
    runs = [whole_way(case) for _ in range(again)]
    rows, seconds = runs[0][0], median(run[1] for run in runs)
    expected_seconds, megabytes = _expected(runs[0][2])
    figures = Figures(
        case=name,
        rows=rows,
        whole=rows / seconds,
        seconds=seconds,
        expected_seconds=expected_seconds,
        expected_megabytes=megabytes,
        gigabytes=peak_gigabytes(device),
    )
    if name in "DE":
        return figures
    capture = case.model.capture(case.ids)
    model = build_replacement(capture, case.model.wiring, case.dictionary)
    network = FrozenNetwork(
        case.model.module, capture.token_ids, case.dictionary, device=case.model.device
    )
    targets = some_targets(model, rows)
    difference = disagreement(model, network, targets)
    flops = flops_of(lambda: sweep(model, targets))
    sweeps, gemms = [], []
    baselines: dict[int, list[float]] = {size: [] for size in AUTOGRAD_BATCHES}
    for _ in range(repeat):  # in turn, so that a drifting machine hits all alike
        sweeps.append(rows / seconds_of(lambda: sweep(model, targets), device))
        gemms.append(gemm_rate(device))
        for size, rates in baselines.items():
            spread = autograd_batches(targets, size)
            seconds = seconds_of(partial(autograd, network, targets, spread), device)
            rates.append(sum(map(len, spread)) / seconds)
    rate = median(sweeps)
    return Figures(
        **{
            **asdict(figures),
            "sweep": rate,
            "gemm": median(gemms),
            "share": rate / rows * flops / 1e9 / median(gemms),
            "autograd": max(median(rates) for rates in baselines.values()),
            "difference": difference,
        }
    )


def _expected(note: str) -> tuple[float, float]:
    """Seconds and megabytes out of what a trace says before its sweep."""
    time_words, memory = note.split("about ")[1].split(" and ")
    amount, unit = time_words.split()
    return float(amount) * (60 if unit == "min" else 1), float(memory.split()[0].replace(",", ""))


HEAD = (
    "Rows a second, float32. Medians of runs in turn; see sweep.py.",
    "",
    "| case | threads | rows | sweep | share of GEMM rate | autograd | ratio | difference | "
    "whole way | seconds (estimate) | peak GB (estimate) |",
    "| --- " * 11 + "|",
)


def row(f: Figures, threads: int) -> str:
    """A line of the Markdown table."""
    sweeps = ["", "", "", "", ""]
    if f.sweep and f.gemm and f.share and f.autograd and f.difference is not None:
        sweeps = [
            f"{f.sweep:,.0f}",
            f"{f.share:.0%} of {f.gemm:.0f} GFLOP/s",
            f"{f.autograd:,.0f}",
            f"{f.sweep / f.autograd:.1f}",
            f"{f.difference:.0e}",
        ]
    cells = [
        f.case,
        str(threads),
        f"{f.rows:,}",
        *sweeps,
        f"{f.whole:,.1f}",
        f"{f.seconds:,.1f} ({f.expected_seconds:,.0f})",
        f"{f.gigabytes:.2f} ({f.expected_megabytes / 1024:.2f})",
    ]
    return f"| {' | '.join(cells)} |"


def write_rows(rows: dict[str, str], device: torch.device) -> None:
    """Put lines into the device's table, by case; what stands below it stays."""
    path = HERE / ("sweep.md" if device.type == "cpu" else f"sweep-{device.type}.md")
    old = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    end = next((at for at in range(len(HEAD), len(old)) if not old[at].startswith("|")), len(old))
    kept = {line[2]: line for line in old[:end] if line[3:5] == " |"}
    lines = [*HEAD, *(line for _, line in sorted((kept | rows).items())), *old[end:]]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Measure the cases, each in a process of its own, and print the table."""
    parser = pages.parser(__doc__)
    parser.add_argument("--cases", default="ABCD")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--here", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = parse_device(arguments.device)
    if arguments.here:
        print(json.dumps(asdict(measure(arguments.here, arguments.repeat, device))))
        return
    rows = {}
    for case in arguments.cases:
        options = [
            f"--{name}={getattr(arguments, name)}" for name in ("threads", "repeat", "device")
        ]
        command = [sys.executable, "-m", "benchmarks.sweep", "--here", case, *options]
        done = subprocess.run(command, cwd=HERE.parent, stdout=subprocess.PIPE, check=True)
        figures = Figures(**json.loads(done.stdout.splitlines()[-1]))
        rows[case] = row(figures, arguments.threads)
        print(rows[case], flush=True)
    if arguments.write:
        write_rows(rows, device)


if __name__ == "__main__":
    main()
