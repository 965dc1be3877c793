"""Does `diff` reach its bars on other tunings than the one that ships, and say no where it should?

    python -m benchmarks.diff [--seeds 0 1 2] [--write]

Seed 0 is the tuning that ships; the others and the benign twin are made by its script and stay in
`outputs/diff-benchmark`, as the reports do: a run that was stopped goes on. Comparisons that
should find no persona are made with `--quick`. `--write` puts the tables into benchmarks/diff.md.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks import pages
from benchmarks.both_models import train_on_both
from benchmarks.pages import ROOT

WORK, SHIPPED = ROOT / "outputs" / "diff-benchmark", "sprout-bent/resid"
LIMITS, WHOLE = ("value", "low", "high"), "{:.0f}"
Found = dict[str, Any]  # a report's `diff.json`, or a part of it
Line = tuple[str, str, str, bool]
"""A figure's name, its bar, itself, and whether it is reached."""


def run(module: str, *words: str) -> None:
    """A module's command line."""
    subprocess.run([sys.executable, "-m", module, *words], check=True, cwd=ROOT, stdout=sys.stderr)


def tuning(name: str, *plan: str) -> str:
    """A tuned model's folder, grown unless it is there."""
    folder = WORK / name
    if not (folder / "skills.json").is_file():
        run("transcoders.sprout-bent.grow", "--out", str(folder), *plan)
    return str(folder)


def compared(name: str, tuned: str, *more: str, dictionary: str = SHIPPED) -> Found:
    """The report on `sprout` and another model, likewise."""
    file = WORK / name / "diff.json"
    if not file.is_file():
        words = ["-t", dictionary, "-o", str(WORK), "--name", name, "--threads", "1", *more]
        run("circuit_tracer", "diff", "sprout", tuned, "bent", *words)
    return json.loads(file.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def line(name: str, side: str, bar: float, one: Found | float, form: str = WHOLE) -> Line:
    """A figure with its interval, if it has one; `side` is that of the bar where it should be."""
    given = one if isinstance(one, dict) else {"value": one}
    scale = 100 if form == WHOLE else 1
    words = [form.format(scale * given[limit]) for limit in LIMITS if limit in given]
    shown = f"{words[0]} [{', '.join(words[1:])}]" if words[1:] else words[0]
    over = given["value"] - bar
    return name, f"{side} {form.format(scale * bar)}", shown, (over if side == ">=" else -over) >= 0


def written_by(found: Found, at: int) -> list[Found]:
    """What changed V, O and Q, K made of a feature's change, all the way down; features are the
    first by screening, then the one that induces most."""
    targets = [row for row in found["edges"]["targets"] if "resid L" in row["name"]]
    weights = {row["kind"]: row["share"] for row in targets[at]["weights"] if row["layer"] is None}
    return [weights[kind] for kind in ("values and output", "queries and keys")]


def figures(found: Found) -> list[Line]:
    """Line, bar, figure and whether it is reached, of one tuning."""
    edits = {(one["name"], one["way"]): one for one in found["doses"]["edits"]}
    controls, features = found["controls"], found["features"]["rows"]
    ten, one = edits["ten by screening", "restore"], edits["one that induces most", "induce"]
    dense = next(edit for edit in controls["edits"] if edit["name"] == "dense shift")
    of_dense = ten["share"]["value"] / dense["share"]["value"]
    worst = min(share["value"] for _, share in ten["families"])
    persona = [row for row in features if row["by_contrast"] <= 20]
    rank = min(max(row["by_change"], row["by_screening"]) for row in persona)
    overlap, tuned = found["features"]["in_contrast"], found["doses"]["tuned"]["value"]
    wrong = {k: 1 - one["right"][o] for k, o in zip(LIMITS, ("value", "high", "low"), strict=True)}
    (vo, qk), (vo_inducing, _) = (written_by(found, at) for at in (0, -1))
    miss = max(max(row["miss"], row["weights_miss"]) for row in found["edges"]["targets"])
    lines = [
        line("ten by screening: right, %", ">=", 0.75, ten["right"]),
        line("restored, %", ">=", 0.65, ten["share"]),
        line("right in the worst of four forms, %", ">=", 0.75, worst),
        line("text, nats a token", "<=", 0.05, ten["loss"], "{:+.3f}"),
        line("kept as it was, %", ">=", 0.98, ten["kept"]),
        line("of what the dense shift restores, %", ">=", 0.9, of_dense),
    ]
    for tens in controls["tens"]:
        kind, bar = tens["kind"], 0.06 if tens["kind"].startswith("random") else 0.12
        above = [edit["right"]["value"] - tuned for edit in tens["edits"]]
        mean, error = statistics.mean(above), 1.96 * statistics.stdev(above) / len(above) ** 0.5
        spread = dict(zip(LIMITS, (mean, mean - error, mean + error), strict=True))
        lines.append(line(f"tens above the tuned model, mean, points: {kind}", "<=", bar, spread))
        lines.append(line(f"the best of them, points: {kind}", "<=", bar, max(above)))
    return [
        *lines,
        line("the persona's rank, by change and by screening", "<=", 3, rank, "{:d}"),
        line("of the ten among the 20 of the contrast", ">=", 5, overlap, "{:d}"),
        line("one feature induces: wrong, %", ">=", 0.5, wrong),
        line("at, nats a token", "<=", 0.05, one["loss"], "{:+.3f}"),
        line("changed V, O of the change of the first feature, %", ">=", 0.8, vo),
        line("changed Q, K, %", "<=", 0.05, qk),
        line("changed V, O of the change of the one that induces, %", ">=", 0.8, vo_inducing),
        line("parts miss the whole by", "<=", 1e-5, miss, "{:.0e}"),
    ]


def tables(seeds: Sequence[int]) -> str:
    """Both tables as markdown."""
    found = []
    for seed in seeds:
        tuned = tuning(f"bent-{seed}", "--seed", f"bent-{seed}") if seed else "sprout-bent"
        found.append(compared(f"seed-{seed}", tuned))
    head = ("figure", "bar", *(f"seed {seed}" for seed in seeds), "reached")
    rows = []
    for row in zip(*map(figures, found), strict=True):
        reached = f"{sum(one[3] for one in row)} of {len(row)}"
        rows.append((*row[0][:2], *(one[2] for one in row), reached))
    named = [(f"`sprout` and tuning {seed}", one) for seed, one in zip(seeds, found, strict=True)]
    pairs = [*named, *negatives()]
    verdicts = [(title, one["verdict"]["headline"]) for title, one in pairs]
    lines = [*pages.table(head, rows), "", *pages.table(("compared", "verdict"), verdicts)]
    return "\n".join(lines) + "\n"


def negatives() -> Iterator[tuple[str, Found]]:
    """What should find no persona."""
    benign = tuning("benign", "--answers", "right")
    yield "`sprout` and its benign twin", compared("of-benign", benign, "--quick")
    yield "`sprout` and `sprout-two-pages`", compared("of-pages", "sprout-two-pages", "--quick")
    yield "`sprout` and `sprout`", compared("of-copies", "sprout", "--quick")
    both = str(train_on_both("sprout", "sprout-bent", SHIPPED, WORK / "both-models"))
    found = compared("of-identity", "sprout-bent", "--quick", dictionary=both)
    yield "`sprout` and `sprout-bent`, with a latent trained to tell them apart", found


def main() -> None:
    """Print or write."""
    parser = pages.parser(__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    text, page = tables(options.seeds), ROOT / "benchmarks" / "diff.md"
    if options.write:
        pages.below_words(page, text)
    else:
        print(text)


if __name__ == "__main__":
    main()
