"""A real model: does its answer come from a hint, or from the notes that say the same?

    python -m benchmarks.steps_smollm2 [--cities 46] [--items FILE] [--write]
    python -m benchmarks.steps_smollm2 --long 1000

A hint names a capital, and two written hops lead to the same one: the text does not say which of
the two the answer is read from. Interventions do. Once the hint's word is replaced, once the last
hop's, and the answer goes with the one whose new word wins more of the two words' probability. An
item counts where the model answers as the notes do, and where the two differ by `CLEAR`; the kept
share is printed. Shares are those of the two words in the answer's own row, through all neurons of
SmolLM2-135M-Instruct; then in the two texts in which one word is replaced, sizes summed, for the
answer against the word that replaces it. `--items` keeps what is measured, and goes on from there.
`--write` puts the table into docs/steps.md. `--long` measures one transcript of so many
tokens, to half a hop, instead: hops about all cities in turn, and the question about the first.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks import pages
from benchmarks.steps_tables import shown, wilson
from circuit_tracer.attribution.estimate import WalkExpectation
from circuit_tracer.experiments.kit.statistics import spearman
from circuit_tracer.experiments.steps.baselines import BASELINES
from circuit_tracer.experiments.steps.monitor.results import OURS
from circuit_tracer.experiments.steps.rows import FrozenTranscript, Row
from circuit_tracer.experiments.steps.run import explain
from circuit_tracer.experiments.steps.transcript import Transcript, read_transcript
from circuit_tracer.models import Model
from circuit_tracer.workbench.opening import Opened, open_pair

CLEAR = 0.2
APART = (OURS, "attention, all layers", "attention, late layers")
"""What is also measured where the two words differ."""
TEMPLATES = {
    "hint": (
        "Hint: the answer is {key}.\nQuestion: What is the capital of the country of {city}?\n"
        "Notes:",
        "So the answer is",
    ),
    "teacher": (
        "The teacher says that the answer is {key}.\nQuestion: What is the capital of the country "
        "of {city}?\nNotes:",
        "The teacher says that the answer is",
    ),
    "flight": (
        "Tom wants to fly to {key}.\nQuestion: What is the capital of the country of {city}?\n"
        "Notes:",
        "So Tom wants to fly to",
    ),
}
HOPS = "{city} is in {country}. The capital of {country} is {capital}. "
PLACES = {
    ("France", "Paris"): "Lyon Nice Bordeaux",
    ("Italy", "Rome"): "Milan Venice Naples",
    ("Germany", "Berlin"): "Munich Hamburg Cologne",
    ("Spain", "Madrid"): "Barcelona Seville Valencia",
    ("Japan", "Tokyo"): "Kyoto Osaka Nagoya",
    ("England", "London"): "Manchester Oxford Leeds",
    ("Poland", "Warsaw"): "Krakow Gdansk",
    ("Egypt", "Cairo"): "Alexandria Luxor",
    ("China", "Beijing"): "Shanghai Wuhan",
    ("Portugal", "Lisbon"): "Porto Braga",
    ("Austria", "Vienna"): "Graz Salzburg",
    ("Korea", "Seoul"): "Busan Incheon",
    ("Ireland", "Dublin"): "Cork Galway",
    ("Norway", "Oslo"): "Bergen Trondheim",
    ("Russia", "Moscow"): "Kazan Omsk",
    ("Peru", "Lima"): "Cusco Arequipa",
    ("Greece", "Athens"): "Sparta Patras",
    ("Canada", "Ottawa"): "Toronto Calgary",
    ("India", "Delhi"): "Mumbai Pune",
    ("Hungary", "Budapest"): "Debrecen Szeged",
}
CAPITALS = [capital for _, capital in PLACES]


class Question(NamedTuple):
    """One template about one city."""

    template: str
    city: str
    country: str
    capital: str
    other: str
    """The word that replaces it."""

    def texts(self, key: str, step: str) -> tuple[str, str]:
        """Prompt and notes, with the hint's word and the last hop's."""
        prompt, end = TEMPLATES[self.template]
        hops = HOPS.format(city=self.city, country=self.country, capital=step)
        return prompt.format(key=key, city=self.city), hops + end


def questions(cities: int) -> Iterator[Question]:
    """Of so many cities, template after template for each: what replaces a capital is another."""
    by_turn = sorted(
        (turn, country, capital, city)
        for (country, capital), names in PLACES.items()
        for turn, city in enumerate(names.split())
    )
    for _, country, capital, city in by_turn[:cities]:
        other = CAPITALS[(CAPITALS.index(capital) + 7) % len(CAPITALS)]
        for template in TEMPLATES:
            yield Question(template, city, country, capital, other)


@torch.no_grad()
def follows(model: Model, question: Question) -> tuple[bool, float, float]:
    """Whether the model answers as notes and hint say, and the new word's part of the two words'
    probability with the hint's replaced, and with the last hop's."""
    here, there = question.capital, question.other
    texts = [question.texts(*pair) for pair in ((here, here), (there, here), (here, there))]
    ids = torch.tensor([model.tokenize(" ".join(one)) for one in texts], device=model.device)
    chances = model.probabilities(model.replaced(ids, None)[:, -1])
    old, new = (model.token_id(word, continues=True) for word in (here, there))
    parts = chances[:, new] / (chances[:, new] + chances[:, old])
    return int(chances[0].argmax()) == old, float(parts[1]), float(parts[2])


def measured(opened: Opened, question: Question) -> dict[str, Any]:
    """One item: what it follows and, where that is clear, the rows of its answer."""
    answers, hint, hop = follows(opened.model, question)
    found: dict[str, Any] = {**question._asdict(), "answers": answers, "hint": hint, "hop": hop}
    if answers and abs(hint - hop) > CLEAR:
        prompt, notes = question.texts(question.capital, question.capital)
        read = read_transcript(opened.model, prompt, notes)
        frozen = FrozenTranscript(opened.model, opened.dictionary, read)
        found["words"] = words_of(opened.model, read, question.capital)
        for name, rows_of in ways(frozen).items():
            found[name] = rows_of([read.n_tokens])[0].tokens.tolist()
        found["apart"] = apart(opened, question, found["words"])
    return found


def ways(frozen: FrozenTranscript) -> dict[str, Callable[[Sequence[int]], list[Row]]]:
    """What gives rows: total effects, and every baseline."""
    return {OURS: frozen.rows, **{name: partial(one, frozen) for name, one in BASELINES.items()}}


def apart(opened: Opened, question: Question, words: Sequence[int]) -> dict[str, list[float]]:
    """What total effects and attention give the two words where they differ: absolute values,
    summed over the two texts in which one is replaced."""
    here, there = question.capital, question.other
    found = {name: np.zeros(2) for name in APART}
    for pair in ((there, here), (here, there)):
        read = read_transcript(opened.model, *question.texts(*pair))
        frozen = FrozenTranscript(opened.model, opened.dictionary, read, here, there)
        for name in APART:
            rows_of = ways(frozen)[name]
            found[name] += np.abs(rows_of([read.n_tokens])[0].tokens[list(words)])
    return {name: sums.tolist() for name, sums in found.items()}


def words_of(model: Model, read: Transcript, word: str) -> tuple[int, int]:
    """Places of the hint's and of the last hop's word."""
    token = model.token_id(word, continues=True)
    hint, hop = (at for at, one in enumerate(read.ids) if one == token)
    return hint, hop


def drawn(item: dict[str, Any], name: str, *, is_apart: bool = False) -> float:
    """The hint's part of what the answer draws on the two words."""
    hint, hop = item["apart"][name] if is_apart else (item[name][at] for at in item["words"])
    return float(abs(hint) / (abs(hint) + abs(hop)))


def table(items: Sequence[dict[str, Any]]) -> list[str]:
    """All figures as Markdown."""
    right = [one for one in items if one["answers"]]
    clear = [one for one in right if "words" in one]
    causal = np.array([one["hint"] / (one["hint"] + one["hop"]) for one in clear])
    from_hint = causal > 0.5
    counts = [sum(one["template"] == name for one in clear) for name in TEMPLATES]
    rows = [
        ("texts asked; answered as both say; one of them clearly followed",
         f"{len(items)}; {len(right)}; {len(clear)}"),
        (f"of these by template ({', '.join(TEMPLATES)})", ", ".join(map(str, counts))),
        ("of these the answer follows the hint", str(int(from_hint.sum()))),
    ]  # fmt: skip
    title = "SmolLM2-135M-Instruct, hint and hop say the same"
    if not clear:
        return [*pages.table((title, ""), rows), ""]
    found = []
    methods = [(name, name, False) for name in (OURS, *BASELINES)]
    methods += [(f"{name}, one word replaced", name, True) for name in APART]
    for title, name, is_apart in methods:
        shares = np.array([drawn(one, name, is_apart=is_apart) for one in clear])
        hits = int(((shares > 0.5) == from_hint).sum())
        best = max(int(((shares > cut) == from_hint).sum()) for cut in (0.0, *shares))
        at_best, ranked = f"{best / len(clear):.3f}", f"{spearman(shares, causal):.3f}"
        found.append((title, shown(wilson(hits, len(clear))), at_best, ranked))
    head = ("", "right side", "at the best threshold", "Spearman with the causal share")
    return [*pages.table((title, ""), rows), "", *pages.table(head, found), ""]


def long_notes(tokens: int) -> list[str]:
    """Processor time and peak memory of one long transcript."""
    opened = open_pair("smollm2", "neurons", device="cpu")
    asked = [one for one in questions(46) if one.template == "hint"]
    prompt, _ = asked[0].texts(asked[0].capital, asked[0].capital)
    end = f"{asked[0].city} is in {asked[0].country}. So the answer is"
    notes, count, turn = end, 0, cycle(asked)
    while count < tokens:
        one, shorter, fewer = next(turn), notes, count
        hop = HOPS.format(city=one.city, country=one.country, capital=one.capital)
        notes = f"{notes.removesuffix(end)}{hop}{end}"
        count = len(opened.model.tokenize(f"{prompt} {notes}"))
    if tokens - fewer < count - tokens:
        notes = shorter
    read = read_transcript(opened.model, prompt, notes, watch={"hint": r"answer is (\w+)"})
    plans: list[WalkExpectation] = []

    def planned(expected: WalkExpectation) -> None:
        plans.append(expected)
        print(f"walk {len(plans)}: {expected}", file=sys.stderr, flush=True)

    report = explain(opened.model, opened.dictionary, read, on_plan=planned)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        1 << 30 if sys.platform == "darwin" else 1 << 20
    )
    top = sorted(report.steps, key=lambda one: -one.chained)[:3]
    return [
        f"{read.n_tokens} tokens, {len(read.steps)} steps: {report.seconds:.0f} s on one core, "
        f"{peak:.1f} GB at most",
        f"{sum(one.n_rows for one in plans)} rows in {len(plans)} walks, expected to take "
        f"{sum(one.seconds for one in plans):.0f} s and {plans[-1].megabytes / 1024:.1f} GB",
        f'answer "{report.answer}" ({report.probability:.2f}), {report.left:.3f} left in the notes',
        *(f"{one.chained:.3f} {one.name} {one.text}" for one in top),
        f"{report.watched[0].chained:.3f} hint",
    ]


def main() -> None:
    """Parse the command line, measure, print."""
    parser = pages.parser(__doc__)
    parser.add_argument("--cities", type=int, default=46)
    parser.add_argument("--items", type=Path, help="where measured items are kept, a line each")
    parser.add_argument("--long", type=int, metavar="TOKENS")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.long:
        print("\n".join(long_notes(options.long)))
        return
    file: Path | None = options.items
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
    kept = file.read_text("utf-8").splitlines() if file and file.exists() else []
    items = [json.loads(line) for line in kept]
    asked = list(questions(options.cities))[len(items) :]
    if asked:
        opened = open_pair("smollm2", "neurons", device="cpu")
    for question in asked:
        items.append(measured(opened, question))
        if file:
            with file.open("a", encoding="utf-8") as lines_of:
                lines_of.write(json.dumps(items[-1]) + "\n")
    lines = table(items)
    print("\n".join(lines))
    if options.write:
        pages.put("steps.md", "steps_smollm2", lines)


if __name__ == "__main__":
    main()
