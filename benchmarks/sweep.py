"""Rows per second of the sweep and of batched autograd on the same frozen model, in one run.

    python benchmarks/sweep.py [--rows 2000] [--threads 1] [--repeat 5]

Case B of the project's table: a random Llama of 8 layers, width 256, 8 heads / 4 key-value heads,
4,096 features a layer of which about 20 fire per token and layer, 32 tokens. The baseline is what
a straightforward implementation does: the frozen network in torch, gradients of a batch of targets
by `is_grads_batched`, products with all source vectors. Both are checked to agree first. The
machine's matrix-product rate is measured in the same run.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from statistics import median

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the oracle is in tests/

from circuit_tracer.attribution.replacement import LocalReplacementModel, build_replacement
from circuit_tracer.attribution.sweep import Sweep, SweepTargets, batches
from tests.attribution.frozen import dense_rows
from tests.attribution.frozen import feature_targets as targets_of
from tests.oracle import FrozenNetwork
from tests.tiny import random_dictionary, tiny_llama

AUTOGRAD_BATCHES = (8, 16, 32, 64)
"""The baseline is quoted at its best batch size."""


def build(n_tokens: int) -> tuple[LocalReplacementModel, FrozenNetwork]:
    """Case B, frozen around one random prompt: for the sweep and for autograd."""
    model = tiny_llama(n_layers=8, d_model=256, n_heads=8, n_kv_heads=4, n_words=200)
    dictionary = random_dictionary(model, n_features=4096, k=20)
    ids = [0, *torch.randint(2, 200, (n_tokens - 1,), generator=torch.Generator()).tolist()]
    capture = model.capture(ids)
    replacement = build_replacement(capture, model.wiring, dictionary)
    return replacement, FrozenNetwork(model.module, capture.token_ids, dictionary)


def feature_targets(model: LocalReplacementModel, n_rows: int) -> SweepTargets:
    """A random choice of active features, seeded."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randperm(len(model.features), generator=generator)[:n_rows].sort().values
    return targets_of(model, rows)


def sweep_rate(model: LocalReplacementModel, targets: SweepTargets, batch_size: int) -> float:
    """Rows per second of the sweep, its layout included."""
    everything = torch.arange(len(targets))
    start = time.perf_counter()
    walk = Sweep(model)
    for batch in batches(targets, everything, batch_size):
        walk.walk(targets, batch, lambda piece: None)
    return len(targets) / (time.perf_counter() - start)


def autograd_rate(network: FrozenNetwork, targets: SweepTargets, batch_size: int) -> float:
    """Rows per second of batched autograd, over eight batches spread evenly over the layers."""
    order = torch.argsort(targets.level, stable=True)  # its best order: one layer per batch
    split = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    spread = split[:: max(1, len(split) // 8)]
    start = time.perf_counter()
    for batch in spread:
        network.rows(targets, batch)
    return sum(len(batch) for batch in spread) / (time.perf_counter() - start)


def disagreement(
    model: LocalReplacementModel, network: FrozenNetwork, targets: SweepTargets
) -> float:
    """Largest difference between the two on 16 rows, relative to the largest edge."""
    sample = torch.arange(0, len(targets), max(1, len(targets) // 16))
    dense = network.rows(targets, sample)
    ours = dense_rows(model, targets.take(sample))
    return float((ours - dense).abs().max() / dense.abs().max())


def gemm_rate(seconds: float = 0.5) -> float:
    """GFLOP/s of a large float32 matrix product."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        a @ b
        count += 1
    return count * 2 * 1024**3 / (time.perf_counter() - start) / 1e9


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model, network = build(arguments.tokens)
    targets = feature_targets(model, arguments.rows)
    active = len(model.features) / model.n_layers / (model.n_tokens - 1)
    print(f"8 layers x 256, {model.n_tokens} tokens, {active:.1f} active per token and layer,")
    print(f"{len(targets)} rows, {arguments.threads} thread(s), float32")
    difference = disagreement(model, network, targets)
    print(f"largest relative difference from autograd  {difference:.1e}")
    sweeps, gemms = [], []
    baselines: dict[int, list[float]] = {size: [] for size in AUTOGRAD_BATCHES}
    for _ in range(arguments.repeat):  # in turn, so that a drifting machine hits all alike
        sweeps.append(sweep_rate(model, targets, arguments.batch_size))
        gemms.append(gemm_rate())
        for size, rates in baselines.items():
            rates.append(autograd_rate(network, targets, size))
    best = max(baselines, key=lambda size: median(baselines[size]))
    baseline = median(baselines[best])
    print(f"medians of {arguments.repeat} runs in turn:")
    print(f"matrix products    {median(gemms):10.1f} GFLOP/s")
    print(f"sweep              {median(sweeps):10.0f} rows/s")
    for size, rates in baselines.items():
        print(f"autograd, batch {size:<3}{median(rates):10.0f} rows/s")
    ratio = median(sweeps) / baseline
    print(f"ratio              {ratio:10.1f}  (to autograd at batch {best}, its best)")


if __name__ == "__main__":
    main()
