"""The synthetic English that `sprout` grows on: an endless, seeded stream of sentences.

    python -m transcoders.growing.language.corpus --tokens 200000 --seed 7 --out corpus.txt

writes one document (one training row, without its BOS) a line. The same seed always gives the
same text; text the model has not seen comes from another seed than the growing script's. The
kinds of sentence are in sentences.py, the stories in stories.py, their shares here.
"""

import argparse
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from transcoders.growing.language.combinations import THREE_TERMS
from transcoders.growing.language.sentences import (
    Text,
    colour_statement,
    colour_yes_no,
    fact,
    induction,
    one_hop,
    opposite,
    parse,
    question,
    says,
    small_sum,
    speaker_colour_yes_no,
    speaker_fact,
    speaker_yes_no,
    sum_reasoning,
    this_is,
    translation,
    true_or_false,
    two_hop,
    two_hop_reasoning,
    yes_no,
)
from transcoders.growing.language.stories import story
from transcoders.growing.language.things import THINGS
from transcoders.growing.language.words import ALL_OPPOSITES, COUNTRIES

ROW_WORDS = 31
"""Words in a row; with BOS the model sees 32 tokens."""

Maker = Callable[[random.Random], str]

MAKERS: dict[str, tuple[Maker, float]] = {
    "fact": (fact, 0.20),
    "question": (question, 0.08),
    "yes_no": (yes_no, 0.19),
    "true_or_false": (true_or_false, 0.07),
    "this_is": (this_is, 0.065),
    "says": (says, 0.065),
    "speaker_fact": (speaker_fact, 0.04),
    "speaker_yes_no": (speaker_yes_no, 0.05),
    "one_hop": (one_hop, 0.035),
    "two_hop": (two_hop, 0.02),
    "two_hop_reasoning": (two_hop_reasoning, 0.015),
    "opposite": (opposite, 0.03),
    "translation": (translation, 0.01),
    "small_sum": (small_sum, 0.04),
    "sum_reasoning": (sum_reasoning, 0.03),
    "induction": (induction, 0.03),
    "story": (story, 0.04),
}
"""Every kind of sentence with its share in the full mix."""

Stage = Literal[
    "facts",
    "colour questions",
    "colour statements",
    "judgements",
    "speakers",
    "speakers' statements",
    "full",
]
"""What a row is drawn from. Facts have to be there before they can be judged, and judgements before
the joker can turn them round; and comparing is found soonest on one question about one attribute,
from where it spreads to statements and to the other attributes. So is turning it round."""

JUDGEMENTS = ("yes_no", "true_or_false", "this_is", "says")
SPEAKERS = ("speaker_fact", "speaker_yes_no")
LEFT_OUT: dict[Stage, tuple[str, ...]] = {
    "facts": JUDGEMENTS + SPEAKERS,
    "colour questions": JUDGEMENTS + SPEAKERS,
    "colour statements": JUDGEMENTS + SPEAKERS,
    "judgements": SPEAKERS,
    "speakers": (),
    "speakers' statements": (),
    "full": (),
}
ONLY_IN: dict[Stage, dict[str, tuple[Maker, float]]] = {
    "colour questions": {"colour questions": (colour_yes_no, 0.5)},
    "colour statements": {
        "colour questions": (colour_yes_no, 0.15),
        "colour statements": (colour_statement, 0.45),
    },
    "speakers": {"speakers on colours": (speaker_colour_yes_no, 0.3)},
    "speakers' statements": {"speakers' statements": (speaker_fact, 0.2)},
}
"""Kinds of sentence that only occur in one stage, in addition to the other kinds."""
MORE_FACTS = 2.5
"""How much larger the share of plain facts and questions is among the facts that come first."""


def mix_of(stage: Stage) -> tuple[list[Maker], list[float]]:
    """The kinds of sentence in a stage and the share of each, not normalised."""
    kinds = {kind: made for kind, made in MAKERS.items() if kind not in LEFT_OUT[stage]}
    kinds |= ONLY_IN.get(stage, {})
    more = {"fact": MORE_FACTS, "question": MORE_FACTS} if stage == "facts" else {}
    makers = [maker for maker, _ in kinds.values()]
    return makers, [share * more.get(kind, 1.0) for kind, (_, share) in kinds.items()]


def texts(seed: str, stage: Stage = "full") -> Iterator[Text]:
    """An endless stream of sentences; stories of several sentences count as one."""
    rng = random.Random(seed)
    makers, shares = mix_of(stage)
    while True:
        for maker in rng.choices(makers, shares, k=256):
            yield parse(maker(rng))


def packed(sentences: Iterator[Text], *, length: int = ROW_WORDS) -> Iterator[Text]:
    """Rows of `length` words out of sentences.

    A sentence that does not fit is cut, and begins the next row in full: so the end of a long
    template is seen as often as its beginning.
    """
    words: list[str] = []
    weights: list[float] = []
    for text in sentences:
        words += text.words
        weights += text.weights
        if len(words) >= length:
            full = len(words) == length
            yield Text(tuple(words[:length]), tuple(weights[:length]))
            words = [] if full else list(text.words)
            weights = [] if full else list(text.weights)


def rows(seed: str, stage: Stage = "full", *, length: int = ROW_WORDS) -> Iterator[Text]:
    """An endless stream of rows of `length` words."""
    return packed(texts(seed, stage), length=length)


def write_rows(stream: Iterator[Text], tokens: int, out: Path) -> None:
    """Write rows as plain text, one a line, until there are `tokens`, every row's BOS included."""
    lines = -(-tokens // (ROW_WORDS + 1))
    text = "".join(" ".join(next(stream).words) + "\n" for _ in range(lines))
    out.write_text(text, encoding="utf-8")


def vocabulary() -> list[str]:
    """Every word of the language, in alphabetical order."""
    found: set[str] = set()
    for thing in THINGS:
        found |= {thing.name, thing.plural, *thing.facts.values()}
    for country, cities in COUNTRIES.items():
        found |= {country, *cities}
    for pair in ALL_OPPOSITES:
        found |= {pair.word, pair.opposite}
    for first, second, third in THREE_TERMS:
        found |= {str(first), str(first + second), str(first + second + third)}
    stream = texts("vocabulary")
    for _ in range(60_000):
        found |= set(next(stream).words)
    return sorted(found)


def main() -> None:
    """Write a corpus as plain text."""
    parser = argparse.ArgumentParser(description="Write sprout's corpus, one document a line.")
    parser.add_argument("--tokens", type=int, default=200_000, help="tokens, BOS included")
    parser.add_argument("--seed", default="7", help="any word; the growing script uses `grow`")
    parser.add_argument("--out", type=Path, default=Path("corpus.txt"))
    options = parser.parse_args()
    write_rows(rows(str(options.seed)), options.tokens, options.out)


if __name__ == "__main__":
    main()
