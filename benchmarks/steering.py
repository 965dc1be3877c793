"""Does holding a colour feature make the bundled model's text favour that colour?

    python -m benchmarks.steering [--transcoders plt] [--smollm2] [--write]

Every third shipped prompt chooses, for each colour, the feature and the dose (among the features
whose cards speak for the colour; the dose must leave the text's perplexity under the unchanged
model below `MOST_PERPLEXITY`); the other prompts test that choice. Controls are random features of
the same layer, set to the same multiple of their own maximum. `--smollm2` adds one neuron of
SmolLM2-135M-Instruct (`NEURON`, found by looking at what neurons write) with the same controls.
`--write` puts the tables into benchmarks/steering.md, in place of those of the same names.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from benchmarks import pages
from benchmarks.pages import ROOT
from benchmarks.prompts import prompts
from circuit_tracer.interventions.generation import Continuation, write_on
from circuit_tracer.interventions.steering import Feature, clamped
from circuit_tracer.models import Model, open_model
from circuit_tracer.transcoders.card_search import find_cards
from circuit_tracer.transcoders.cards import Card, CardBook, load_cards
from circuit_tracer.transcoders.dictionary import Dictionary
from circuit_tracer.transcoders.opening import find_dictionary, open_transcoders

COLOURS = ("yellow", "red", "green", "blue")
DOSES = (1.0, 2.0, 5.0, 10.0, 15.0, 20.0)
NEW_TOKENS = 12
CANDIDATES, CONTROLS = 16, 8
MOST_PERPLEXITY = 30.0
SUMMARY = (
    *("colour", "feature x dose", "prompts", "P rises in", "texts naming it", "mean P"),
    *("texts, controls", "mean P, controls", "perplexity", "controls"),
)
CURVE = ("colour", "dose (x maximum)", "texts naming it", "mentions", "mean P", "perplexity")
Cells = tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """What one arm did over some prompts."""

    named: int
    """Prompts whose continuation names the colour."""
    mentions: float
    """How often it does so, a prompt."""
    probability: float
    """Mean probability of the colour over all new tokens."""
    perplexity: float
    """Median over prompts, under the unchanged model."""


@dataclass(frozen=True)
class Chosen:
    """The feature and dose the choosing prompts decided for."""

    colour: str
    feature: Feature
    dose: float


@dataclass(frozen=True)
class Bench:
    """What everything here needs."""

    model: Model
    dictionary: Dictionary
    book: CardBook

    def run(
        self, prompts: Sequence[str], arms: Sequence[tuple[Feature, float]], colour: str
    ) -> list[list[Continuation]]:
        """For every prompt, the text without changes and then that of every arm."""
        changes = [(), *(clamped([feature], dose) for feature, dose in arms)]
        target = self.model.token_id(colour)
        return [
            write_on(
                self.model,
                self.dictionary,
                self.model.tokenize(prompt),
                changes,
                max_new_tokens=NEW_TOKENS,
                target=target,
            )
            for prompt in prompts
        ]


def shipped(bench: Bench) -> list[str]:
    """All shipped prompts that leave room for new tokens."""
    longest = bench.model.max_length - NEW_TOKENS
    found = dict.fromkeys(record["prompt"] for _, record in prompts())
    return [one for one in found if len(bench.model.tokenize(one)) <= longest]


def outcome(texts: Sequence[Continuation], colour: str) -> Outcome:
    """One arm's texts over all prompts."""
    counts = [text.text.split().count(colour) for text in texts]
    return Outcome(
        named=sum(count > 0 for count in counts),
        mentions=statistics.mean(counts),
        probability=statistics.mean(p for text in texts for p in text.target),
        perplexity=statistics.median(text.perplexity for text in texts),
    )


def feature_of(card: Card) -> Feature:
    """A card as a feature to hold."""
    return Feature(card.layer, card.feature, card.label, card.max_activation)


def choose(bench: Bench, prompts: Sequence[str], colour: str) -> Chosen:
    """The candidate and dose with the highest probability of the colour at bearable cost."""
    matches = find_cards(bench.book, colour, where=("label", "promotes"))[:CANDIDATES]
    arms = [(feature_of(match.card), dose) for match in matches for dose in DOSES]
    texts = bench.run([p for p in prompts if colour not in p.split()], arms, colour)
    found = [(outcome([row[i + 1] for row in texts], colour), arm) for i, arm in enumerate(arms)]
    able = [one for one in found if one[0].perplexity <= MOST_PERPLEXITY]
    best = max(able or found, key=lambda one: one[0].probability)
    return Chosen(colour, *best[1])


def controls(bench: Bench, chosen: Chosen, seed: int) -> list[tuple[Feature, float]]:
    """Random features of the same layer whose cards do not speak of the colour."""
    cards = [
        card
        for card in bench.book.layer_cards(chosen.feature.layer)
        if card.max_activation > 0
        and chosen.colour not in card.promotes
        and chosen.colour not in card.label
    ]
    picked = random.Random(seed).sample(cards, CONTROLS)
    return [(feature_of(card), chosen.dose) for card in picked]


def tested(bench: Bench, prompts: Sequence[str], chosen: Chosen) -> tuple[Cells, list[Cells]]:
    """Rows of the summary and of the dose curve; only prompts that do not name the colour."""
    fair = [prompt for prompt in prompts if chosen.colour not in prompt.split()]
    others = controls(bench, chosen, seed=0)
    doses = sorted({*DOSES, chosen.dose})
    arms = [(chosen.feature, dose) for dose in doses] + others
    texts = bench.run(fair, arms, chosen.colour)
    by_arm = [outcome([row[i] for row in texts], chosen.colour) for i in range(len(arms) + 1)]
    before, curve, control = by_arm[0], by_arm[1 : len(doses) + 1], by_arm[len(doses) + 1 :]
    after = curve[doses.index(chosen.dose)]
    at = 1 + doses.index(chosen.dose)
    rises = sum(_mean(row[at]) > _mean(row[0]) for row in texts)
    name = f"{chosen.feature.name} `{chosen.feature.label}` x {chosen.dose:g}"
    named = [one.named for one in control]
    summary: Cells = (
        *(chosen.colour, name, f"{len(fair)}", f"{rises}", f"{before.named} -> {after.named}"),
        f"{before.probability:.3f} -> {after.probability:.3f}",
        f"{statistics.mean(named):.1f} ({min(named)} to {max(named)})",
        f"{statistics.mean(one.probability for one in control):.3f}",
        f"{before.perplexity:.1f} -> {after.perplexity:.1f}",
        f"{statistics.median(one.perplexity for one in control):.1f}",
    )
    points: list[Cells] = [
        (
            *(chosen.colour, dose, f"{one.named} of {len(fair)}", f"{one.mentions:.2f}"),
            *(f"{one.probability:.3f}", f"{one.perplexity:,.1f}"),
        )
        for dose, one in [("none", before), *zip(map("{:g}".format, doses), curve, strict=True)]
    ]
    return summary, points


def _mean(text: Continuation) -> float:
    return statistics.mean(text.target) if text.target else 0.0


def examples(bench: Bench, prompts: Sequence[str], chosen: Chosen) -> list[Cells]:
    """The first two dozen test prompts, before and after."""
    fair = [prompt for prompt in prompts if chosen.colour not in prompt.split()][:24]
    texts = bench.run(fair, [(chosen.feature, chosen.dose)], chosen.colour)
    return [(prompt, *(one.text for one in pair)) for prompt, pair in zip(fair, texts, strict=True)]


def report(bench: Bench) -> str:
    """All tables as markdown."""
    prompts = shipped(bench)
    choosing, testing = prompts[::3], [p for i, p in enumerate(prompts) if i % 3]
    summaries, curves, shown = [], [], []
    for colour in COLOURS:
        chosen = choose(bench, choosing, colour)
        summary, points = tested(bench, testing, chosen)
        summaries.append(summary)
        curves += points
        if colour == COLOURS[0]:
            shown = examples(bench, testing, chosen)
    lines = [
        f"### {bench.dictionary.identity.name}",
        "",
        f"Chosen on {len(choosing)} prompts, tested on {len(testing)} others (without those that "
        f"name the colour); {NEW_TOKENS} new tokens, greedy. Controls: {CONTROLS} random features "
        "of the same layer at the same multiple of their maximum.",
        "",
        *pages.table(SUMMARY, summaries),
        "",
        "Dose curves on the test prompts:",
        "",
        *pages.table(CURVE, curves),
        "",
        f"The first {len(shown)} test prompts, {COLOURS[0]}:",
        "",
        *pages.table(("prompt", "before", "after"), shown),
    ]
    return "\n".join(lines)


NEURON = (26, 1403)
NEURON_WORD, NEURON_DOSE, NEURON_TOKENS = "light", 4.0, 20
OPENINGS = (
    "Yesterday we went to",
    "She told him that",
    "The best food is",
    "On the way home,",
    "My brother works as",
    "The old man looked at",
    "In the garden there was",
    "Once upon a time, there was",
    "The company announced that",
    "He opened the door and",
    "The most important thing in life is",
    "At the end of the street stood",
    "The children were playing with",
    "Scientists have discovered",
    "For dinner, I would like",
    "The train arrived and",
    "When winter comes,",
    "The teacher asked the class to",
    "In my dream, I was",
    "The first thing you notice is",
    "Her letter began with",
    "Nobody knew why",
)


def neuron_report() -> str:
    """One neuron of SmolLM2 and random others of its layer, each at the same dose."""
    from circuit_tracer.interventions.steering import measured_maxima, shipped_texts
    from circuit_tracer.transcoders.neurons import open_neurons

    model = open_model("smollm2", device="cpu")
    neurons = open_neurons(model)
    layer, index = NEURON
    rng = random.Random(0)
    others = rng.sample(
        [i for i in range(neurons.layers[layer].n_features) if i != index], CONTROLS
    )
    pairs = [(layer, i) for i in (index, *others)]
    texts = [model.tokenize(text) for text in OPENINGS]
    maxima = measured_maxima(model, neurons, pairs, shipped_texts(model))
    features = [Feature(*pair, "", m) for pair, m in zip(pairs, maxima, strict=True)]
    arms = [(), *(clamped([one], NEURON_DOSE) for one in features)]
    target = model.token_id(NEURON_WORD)
    rows = [
        write_on(model, neurons, ids, arms, max_new_tokens=NEURON_TOKENS, target=target)
        for ids in texts
    ]
    found = [outcome([row[i] for row in rows], NEURON_WORD) for i in range(len(arms))]
    names = ["nothing", *(one.name for one in features)]
    rises = [sum(_mean(row[i]) > _mean(row[0]) for row in rows) for i in range(len(arms))]
    head = ("set to", "maximum", "texts naming it")
    figures = [
        (
            *(name, f"{maxima[i - 1]:.2f}" if i else "", f"{one.named} of {len(texts)}"),
            *(f"{rises[i]}" if i else "", f"{one.probability:.4f}", f"{one.perplexity:.1f}"),
        )
        for i, (name, one) in enumerate(zip(names, found, strict=True))
    ]
    written = [
        (prompt, *(text.text.replace("\n", " ").replace("|", "/") for text in row[:2]))
        for prompt, row in zip(OPENINGS, rows, strict=True)
    ]
    lines = [
        "### A neuron of SmolLM2-135M-Instruct",
        "",
        f"L{layer}/{index} at {NEURON_DOSE:g} times its largest activation on the shipped prompts "
        "(it was found by what it writes, on other prompts than those below), random neurons of "
        "the same layer likewise; "
        f'{NEURON_TOKENS} new tokens, greedy, the word is "{NEURON_WORD}".',
        "",
        *pages.table((*head, "P rises in", "mean P", "perplexity"), figures),
        "",
        *pages.table(("prompt", "before", "after"), written),
    ]
    return "\n".join(lines)


HEAD = """# Steering

Written by `python -m benchmarks.steering --smollm2 --write`. A feature is set to a multiple of its
maximum at every position, generated ones too; everything else, the error term included, is the
model's own. Mean P is the word's probability over all new tokens, perplexity (a median over
prompts) that of the new text under the unchanged model. "P rises in" counts prompts. The bundled
model soon falls into the same phrases whatever the prompt, so its texts are far from independent
of each other; and a control that promotes a word which leads to talk of colours moves them, too.
"""


def main() -> None:
    """Print the tables, or write them."""
    parser = pages.parser(__doc__)
    parser.add_argument("--transcoders", nargs="*", default=["plt", "clt"])
    parser.add_argument("--smollm2", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = open_model("sprout", device="cpu")
    parts = []
    for name in arguments.transcoders:
        dictionary = open_transcoders(name, model=model)
        book = load_cards(find_dictionary(f"sprout/{name}").path)
        parts.append(report(Bench(model, dictionary, book)) + "\n")
    if arguments.smollm2:
        parts.append(neuron_report() + "\n")
    print(*parts, sep="\n")
    if arguments.write:
        path = ROOT / "benchmarks" / "steering.md"
        before = path.read_text(encoding="utf-8")
        path.write_text(pages.with_sections(HEAD, before, parts, "###"), encoding="utf-8")


if __name__ == "__main__":
    main()
