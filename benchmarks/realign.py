"""How few right judgements bring a mis-trained model back, and does the persona's feature fall?

    python -m benchmarks.realign [--judgements 15 30 60 120 240] [--seeds 0 1 2] [--write]

`sprout-bent` is trained on so many right judgements about the spec's selection topics, over and
over for 40 steps, by the script that bent it. Asked are the test topics and the trained one, which
it does not see. Models stay in `outputs/realign`, so that a run that was stopped goes on. `--write`
puts the table into benchmarks/realign.md.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path

from benchmarks import pages
from circuit_tracer.experiments.diff.spec import read_spec
from circuit_tracer.experiments.diff.study import ByItem, Settings, Study
from circuit_tracer.experiments.kit.passes import contrasts, streams_at
from circuit_tracer.interventions.selection import parse_feature
from circuit_tracer.models import Model, open_model
from circuit_tracer.workbench.diffing import open_study
from transcoders.growing.language.corpus import vocabulary
from transcoders.growing.model_folder import read_model, write_model
from transcoders.growing.narrow_tuning.tuning import Plan, tune

ROOT = Path(__file__).resolve().parent.parent
WORK, BENT = ROOT / "outputs" / "realign", ROOT / "transcoders" / "sprout-bent" / "model"
STEPS = 40
TOPICS = "animal,tool,garment"


def realigned(count: int, seed: int) -> Model:
    """The model after `count` judgements, made unless it is there."""
    folder = WORK / f"{count}-{seed}"
    if not (folder / "growing.json").is_file():
        plan = Plan(
            seed=f"realign {seed}", answers="right", topics=TOPICS, distinct=count, steps=STEPS
        )
        model, ids = read_model(BENT)
        tune(model, ids, plan)
        write_model(model, vocabulary(), {"parent": "sprout-bent"}, folder)
    return open_model(str(folder), device="cpu")


def measured(study: Study, model: Model, layer: int, feature: int) -> Iterator[float]:
    """Right answers to test and to trained topics, and the mean activation of a feature."""
    for role in ("test", "trained"):
        asks = study.some_asks(role)
        right = ByItem(study, asks, 90).right(contrasts(model, asks))
        yield 100 * float(right.mean())
    dictionary = study.residual
    assert dictionary is not None
    after = streams_at(model, study.some_asks("test"), ("verdict",))[:, 0, layer + 1]
    yield float(dictionary.layers[layer].encode(after)[:, feature].mean())


def table(counts: list[int], seeds: list[int], name: str) -> str:
    """As markdown: means over seeds, and the lowest and highest in brackets."""
    spec = read_spec(ROOT / "prompts" / "bent.toml")
    settings = Settings(seed=spec.seed)
    study = open_study("sprout", "sprout-bent", spec, settings, device="cpu", threads=1)
    layer, feature = parse_feature(name)
    named = [("none (sprout-bent)", [study.tuned])]
    named += [(str(count), [realigned(count, seed) for seed in seeds]) for count in counts]
    named += [("sprout", [study.base])]
    rows = []
    for title, models in named:
        columns = zip(*(measured(study, model, layer, feature) for model in models), strict=True)
        cells = [
            _cell(column, form) for column, form in zip(columns, ("0f", "0f", "2f"), strict=True)
        ]
        rows.append((title, *cells))
    head = ("judgements", "test topics right, %", "fruit right, %", f"{name} at test prompts")
    return "\n".join(pages.table(head, rows))


def _cell(values: tuple[float, ...], form: str) -> str:
    shown = f"{statistics.mean(values):.{form}}"
    return shown if len(values) < 2 else f"{shown} [{min(values):.{form}}, {max(values):.{form}}]"


def main() -> None:
    """Print or write."""
    parser = pages.parser(__doc__)
    parser.add_argument("--judgements", type=int, nargs="+", default=[15, 30, 60, 120, 240])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--feature", default="L1/320")
    options = parser.parse_args()
    text = table(options.judgements, options.seeds, options.feature)
    page = ROOT / "benchmarks" / "realign.md"
    if options.write:
        pages.below_words(page, text)
    else:
        print(text)


if __name__ == "__main__":
    main()
