"""Do graphs of dictionaries trained with the Jacobian term predict what interventions do?

    python -m benchmarks.jacobian [--sets NAME ...] [--every 1] [--offset 0] [--write]

Trains those of the named sets that are missing (benchmarks/jacobian_sets.py) and measures each on
the shipped prompts (benchmarks/jacobian_measures.py), paired with the same training without the
term; figures of every prompt are kept in `outputs/jacobian/` and not measured twice. Settings are
those of the recipe, none was chosen on these prompts. The tables are of all sets measured so far,
over the prompts that every set was measured on; `--write` puts them into benchmarks/jacobian.md.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import pages
from benchmarks.jacobian_measures import FIGURES, measure
from benchmarks.jacobian_sets import RUNS, SEEDS, WORK, built, held_out
from benchmarks.prompts import prompts
from circuit_tracer.graphs.bootstrap import Bootstrap
from circuit_tracer.graphs.files.atomic import new_file
from circuit_tracer.models import Model, open_model
from circuit_tracer.transcoders.dictionary import Dictionary
from circuit_tracer.transcoders.evaluation import evaluate
from circuit_tracer.transcoders.opening import open_transcoders
from transcoders.sprout.dictionaries import first_stage

ROOT = Path(__file__).resolve().parent.parent
FIRST = "first"
"""What ships as it was before it was trained on with the term."""
PAIRS: dict[str, tuple[tuple[str, str], ...]] = {
    "from scratch, mix": tuple((f"mix-{seed}", f"none-{seed}") for seed in SEEDS),
    "from scratch, even directions": tuple((f"iso-{seed}", f"none-{seed}") for seed in SEEDS),
    "on from the first stage, mix": tuple((f"on-mix-{seed}", f"on-none-{seed}") for seed in SEEDS),
    "on from the first stage, mix, the seed that ships": (("on-mix-1", "on-none-1"),),
    "on from the first stage, mix, against the first stage": (("on-mix-1", FIRST),),
    "before the norm, mix, against after it, mix": (("mid-mix-1", "mix-1"),),
    "before the norm, mix, 2.4 million tokens, against what ships": (
        ("mid-mix-long-1", "on-mix-1"),
    ),
    "before the norm, mix": (("mid-mix-1", "mid-none-1"),),
    "with a skip, mix": (("skip-mix-1", "skip-none-1"),),
    "mix, with a skip against none": (("skip-mix-1", "mix-1"),),
    "cross-layer, mix": (("clt-mix-1", "clt-none-1"),),
}
"""With the term, without; several seeds are averaged prompt by prompt."""


def records_of(name: str) -> dict[str, dict[str, float]]:
    """What was measured of a set so far, by prompt."""
    path = WORK / f"{name}.measured.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def opened(name: str, model: Model) -> Dictionary:
    """A set, trained if it is not there yet."""
    if name == FIRST:
        return first_stage()
    return open_transcoders(str(built(name, model).resolve()), model, dtype=torch.float32)


def measure_set(name: str, model: Model, every: int, offset: int) -> None:
    """Measure a set on every so many prompts, and keep the figures as they come."""
    dictionary = opened(name, model)
    known, texts = records_of(name), [record["prompt"] for _, record in prompts()]
    order = np.random.default_rng(0).permutation(len(texts))
    for i, text in list(enumerate(texts))[offset::every]:
        if text not in known:
            known[text] = measure(model, dictionary, text, texts[order[i]])
            with new_file(WORK / f"{name}.measured.json", overwrite=True) as file:
                file.write_text(json.dumps(known))


def quality(name: str, model: Model) -> dict[str, Any]:
    """FVU, L0, loss recovered and the response to a change, on held-out text."""
    path = WORK / f"{name}.quality.json"
    if not path.is_file():
        figures = evaluate(model, opened(name, model), held_out(), max_tokens=20_000, row_length=65)
        path.write_text(json.dumps(figures.as_json()))
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def sets_table(names: Sequence[str], model: Model) -> list[str]:
    """One line a set: reconstruction, response and medians over its prompts."""
    ships = open_transcoders("sprout/plt", model).identity.sha256
    shown = {
        "frozen": "indirect, frozen",
        "signs": "signs",
        "responding": "predicted, responding",
        "sums": "sums, nothing frozen",
        "influence": "influence",
        "replacement": "replacement",
    }
    rows = []
    for name in names:
        found, kept = quality(name, model), list(records_of(name).values())
        fvu = " ".join(f"{layer['fvu']:.3f}".removeprefix("0") for layer in found["layers"])
        cosines = " ".join(
            f"{layer['jacobian']['dec']['cosine']:.2f}".removeprefix("0")
            for layer in found["layers"][1:]
        )
        medians = [f"{np.median([one[key] for one in kept]):.3f}" for key in shown]
        l0 = min(layer["l0"] for layer in found["layers"])
        mark = " (ships)" if opened(name, model).identity.sha256 == ships else ""
        recovered = f"{found['recovered']:.4f}"
        rows.append(
            (f"`{name}`{mark}", fvu, f"{l0:.2f}", recovered, cosines, *medians, f"{len(kept)}")
        )
    head = ("set", "FVU by layer", "L0, least", "recovered", "dec: cosine by layer")
    return pages.table((*head, *shown.values(), "prompts"), rows)


def pair_table(title: str, pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Paired differences over the prompts that all sets of a comparison were measured on."""
    records = [(records_of(a), records_of(b)) for a, b in pairs]
    texts = sorted(set.intersection(*(set(one) for pair in records for one in pair)))
    if not texts:
        return []
    names = "; ".join(f"`{a}` against `{b}`" for a, b in pairs)
    rows = []
    draws = Bootstrap(len(texts), resamples=2000, seed=0)
    for key, words in FIGURES.items():
        both = np.array(
            [[[one[t].get(key, np.nan) for t in texts] for one in pair] for pair in records]
        )
        after, before = both.mean(0)  # over seeds
        if not np.isfinite(after - before).any():
            continue
        gain = after - before
        figure = draws.mean(gain)
        medians = [f"{np.nanmedian(one):.3f}" for one in (after, before)]
        interval = f"{figure.low:+.3f} to {figure.high:+.3f}"
        rows.append((words, *medians, f"{figure.value:+.3f}", interval, f"{(gain > 0).sum()}"))
    head = ("figure", "with, median", "without, median", "difference, mean", "interval")
    words = f"{names}: {len(texts)} prompts."
    return [f"### {title}", "", words, "", *pages.table((*head, "prompts up"), rows), ""]


HEAD = """# Graphs that predict interventions: the Jacobian term

Written by `python -m benchmarks.jacobian --write`. Sets of `sprout`, TopK 16 of 1,024 features a
layer: from scratch on 400,000 tokens, or on with 256,000 from `first`, a set trained on 2.4 million
without the term; with the Jacobian term at weight 0.1 or without it, all else equal. Forty
ablations a prompt; what each figure is: the docstrings of `benchmarks/jacobian_measures.py`.
Differences are paired over prompts, seeds averaged first; intervals are 95 % bootstrap intervals
over prompts.

"""


def page(names: Sequence[str], model: Model) -> str:
    """The file."""
    lines = ["## Sets", "", *sets_table(names, model), "", "## With the term against without", ""]
    for title, pairs in PAIRS.items():
        there = [pair for pair in pairs if all(map(records_of, pair))]
        if there:
            lines += pair_table(title, there)
    return HEAD + "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Train and measure what is missing; print the tables, and write them if asked."""
    parser = pages.parser(__doc__)
    parser.add_argument("--sets", nargs="*", choices=[FIRST, *RUNS], default=[], metavar="NAME")
    parser.add_argument("--every", type=int, default=1, help="take every so many prompts")
    parser.add_argument("--offset", type=int, default=0, help="from this prompt on")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = open_model("sprout", device="cpu")
    for name in options.sets:
        measure_set(name, model, options.every, options.offset)
    names = [name for name in (FIRST, *RUNS) if records_of(name)]
    if not names:
        parser.error(f"no set is measured in {WORK} yet: name some (--sets on-mix-1 on-none-1)")
    text = page(names, model)
    print(text)
    if options.write:
        (ROOT / "benchmarks" / "jacobian.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
