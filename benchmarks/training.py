"""How fast dictionaries are trained: the model's pass, the step and both, old and new in one run.

    python -m benchmarks.training [--before FOLDER] [--threads 1,2] [--device cpu] [--write]

All 30 layers of SmolLM2-135M-Instruct, at 2,048 features with k 32 and at 4,096 with k 64, steps of
1,024 tokens, on the pages of Python's manual. Every line is a process of its own, and the ways take
turns, so that what else the machine does meets all of them. FOLDER is a checkout of an earlier
version: it is measured in the same run. `precision` is the setting of `transcoders train`; bfloat16
is left out where the device has no such products. `--write` puts the table into training.md
(training-cuda.md with `--device cuda`).

    python -m benchmarks.training --fit 80000 [--seeds 3] [--write]

trains sprout's transcoders on so many tokens in each precision and compares their FVU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from unittest.mock import patch

import torch

from circuit_tracer.models import open_model
from circuit_tracer.models.devices import parse_device, synchronize
from circuit_tracer.transcoders.training import TrainingConfig, train, train_in_memory
from circuit_tracer.transcoders.training.stream import ActivityBuffer
from circuit_tracer.transcoders.training.trainer import Trainer

HERE = Path(__file__).resolve().parent
SIZES = ((2048, 32), (4096, 64))
BATCH, WINDOWS = 1024, 4
"""Tokens a step, and how often the buffer of two steps is filled; the first time does not count."""
HELD_OUT = 8000
"""Tokens on which FVU is measured."""


SPEED = (
    "Tokens a second in training all layers of SmolLM2; medians of runs in turn. See training.py."
)
FIT = "FVU of sprout's transcoders after the same tokens in each precision. See training.py."


class Rates(NamedTuple):
    """Tokens a second."""

    forward: float
    step: float
    both: float


@contextmanager
def timed(where: type, name: str, device: torch.device, kept: list[float]) -> Iterator[None]:
    """Keep the seconds of every call of a method."""
    own: Callable[..., Any] = getattr(where, name)

    def method(self: Any, *args: Any, **more: Any) -> Any:
        start = time.perf_counter()
        found = own(self, *args, **more)
        synchronize(device)
        kept.append(time.perf_counter() - start)
        return found

    with patch.object(where, name, method):
        yield


def measure(n_features: int, k: int, precision: str, device: str) -> Rates:
    """One way of training, in this process; versions that have no `precision` ignore it."""
    from transcoders.smollm2.offline_text import documents

    settings: dict[str, Any] = {
        "n_features": n_features,
        "k": k,
        "batch_size": BATCH,
        "buffer_tokens": 2 * BATCH,
    }
    if "precision" in TrainingConfig.__dataclass_fields__:
        settings |= {"precision": precision}
    config = TrainingConfig(max_tokens=2 * BATCH * WINDOWS, **settings)
    model = open_model("smollm2", device=device)
    where, passes, steps = parse_device(device), [0.0][:0], [0.0][:0]
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text.txt"
        text.write_text("\n".join(documents(2 * BATCH * WINDOWS)), encoding="utf-8")
        with (
            timed(ActivityBuffer, "fill", where, passes),
            timed(Trainer, "step", where, steps),
        ):
            train_in_memory(model, text, config)
    forward = 2 * BATCH / median(passes[1:])
    step = BATCH / median(steps[2:])
    return Rates(forward, step, 1 / (1 / forward + 1 / step))


def in_its_own_process(folder: Path, threads: int, *arguments: str) -> Rates:
    """`measure` with the code of a checkout."""
    with tempfile.TemporaryDirectory() as scratch:
        # This file beside the other version's packages: it has no such benchmark, or another one.
        copied = Path(scratch) / "one.py"
        copied.write_text(Path(__file__).read_text(encoding="utf-8"), encoding="utf-8")
        settings = {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": str(threads)}
        done = subprocess.run(
            [sys.executable, str(copied), "--one", *arguments],
            cwd=folder,
            env={**os.environ, **settings},
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
    return Rates(*json.loads(done.stdout.splitlines()[-1]))


def speed(options: argparse.Namespace) -> list[str]:
    """The table of rates."""
    from circuit_tracer.models.devices import multiplies_bfloat16  # versions before lack it

    ways: list[tuple[str, Path, str]] = [("float32", HERE.parent, "float32")]
    if options.before is not None:
        ways.insert(0, ("before", options.before.resolve(), "float32"))
    ways.append(("fused", HERE.parent, "fused"))
    if multiplies_bfloat16(parse_device(options.device)):
        ways.append(("bfloat16", HERE.parent, "bfloat16"))
    lines = [
        "| features, k | threads | way | forward | step | both | of the first |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for n_features, k in SIZES:
        for threads in options.threads:
            found: dict[str, list[Rates]] = defaultdict(list)
            for _ in range(options.repeat):
                for name, folder, precision in ways:
                    arguments = (str(n_features), str(k), precision, options.device)
                    found[name].append(in_its_own_process(folder, threads, *arguments))
            first = None
            for name, _, _ in ways:
                rates = Rates(*(median(one) for one in zip(*found[name], strict=True)))
                first = first or rates
                cells = [f"{rate:,.0f}" for rate in rates] + [f"{rates.both / first.both:.2f}"]
                row = [f"{n_features:,}, {k}", str(threads), name, *cells]
                lines.append(f"| {' | '.join(row)} |")
                print(lines[-1], flush=True)
    return lines


def fit(tokens: int, seeds: int) -> list[str]:
    """The table of FVU by precision, on sprout."""
    from transcoders.growing.language.corpus import rows, write_rows

    lines = ["| precision | seed | mean FVU | largest difference of a layer from float32 |"]
    lines.append("| --- | --- | --- | --- |")
    model = open_model("sprout")
    with tempfile.TemporaryDirectory() as folder:
        text, held_out = Path(folder) / "text.txt", Path(folder) / "held-out.txt"
        write_rows(rows("dictionaries"), 2 * tokens, text)
        write_rows(rows("dictionaries-held-out"), 2 * HELD_OUT, held_out)
        for seed in range(seeds):
            known: tuple[float, ...] = ()
            for precision in ("float32", "fused", "bfloat16"):
                config = TrainingConfig(
                    max_tokens=tokens, batch_size=512, seed=seed, precision=precision,
                    evaluation_tokens=HELD_OUT,
                )  # fmt: skip
                out = Path(folder) / f"{precision}-{seed}"
                found = train(model, text, config, out, held_out=held_out).evaluation
                fvu = tuple(layer.fvu for layer in found.layers)
                known = known or fvu
                furthest = max((abs(a - b) for a, b in zip(fvu, known, strict=True)))
                cells = [precision, str(seed), f"{sum(fvu) / len(fvu):.4f}", f"{furthest:.4f}"]
                lines.append(f"| {' | '.join(cells)} |")
                print(lines[-1], flush=True)
    return lines


def main() -> None:
    """Parse, measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--before", type=Path, help="checkout of an earlier version")
    parser.add_argument(
        "--threads", type=lambda text: [int(n) for n in text.split(",")], default=[1]
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--fit", type=int, metavar="TOKENS")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        n_features, k, precision, device = options.one
        print(json.dumps(measure(int(n_features), int(k), precision, device)))
        return
    lines = fit(options.fit, options.seeds) if options.fit else speed(options)
    if options.write:
        name = "training-fit" if options.fit else "training"
        name += "-cuda" if options.device == "cuda" else ""
        said = FIT if options.fit else SPEED
        (HERE / f"{name}.md").write_text("\n".join([said, "", *lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
