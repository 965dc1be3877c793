"""English prose that every Python brings: the pages of `help()`, for a small dictionary offline.

    python -m transcoders.smollm2.offline_text [--words 45000]

writes outputs/smollm2/offline.txt and offline-held-out.txt, a document a line: paragraphs of
`pydoc_data.topics` (the reference manual of the Python that runs this), and among them the true
statements of `prompts/wrong-capitals.toml` about topics that nothing is tested on. No network is
needed. `fetch_text.py` has more text, and better, for who has one.
"""

from __future__ import annotations

import argparse
import random
import re
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics

from circuit_tracer.bundled import shipped_folder
from circuit_tracer.experiments.diff.spec import read_spec
from transcoders.smollm2.fetch_text import DEFAULT_OUT, ENDING

SPEC = shipped_folder("prompts") / "wrong-capitals.toml"
SHORTEST, HELD_OUT = 120, 2000
"""Characters of a paragraph, and words that are kept from training."""
STATEMENTS, TOGETHER = 0.1, 8
"""Documents that are statements, as a share, and how many are one document."""


def prose() -> Iterator[str]:
    """Paragraphs that end like one, and have no markup."""
    for page in topics.values():
        for block in re.split(r"\n\s*\n", page):
            text = " ".join(block.split())
            if len(text) >= SHORTEST and ENDING.search(text) and not set(text) & set("|+=<>*[]{}"):
                yield text


def statements(rng: random.Random) -> str:
    """Some things said rightly, of topics to choose on and the trained one."""
    spec = read_spec(SPEC)
    items = [one for one in spec.items if spec.topics[one.topic] != "test"]
    said = (f"{one.slots['said']} {one.slots['value']}." for one in rng.sample(items, TOGETHER))
    return " ".join(said)


def documents(words: int) -> list[str]:
    """So many words of both, in a random order that is always the same."""
    rng = random.Random("offline text")
    found = list(prose())
    rng.shuffle(found)
    chosen: list[str] = []
    while sum(len(one.split()) for one in chosen) < words and found:
        chosen.append(statements(rng) if rng.random() < STATEMENTS else found.pop())
    return chosen


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="folder for the two files")
    parser.add_argument("--words", type=int, default=45_000, help="to train on")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    found = documents(HELD_OUT + options.words)
    held_out: list[str] = []
    while sum(len(one.split()) for one in held_out) < HELD_OUT:
        held_out.append(found.pop(0))
    for name, texts in (("offline", found), ("offline-held-out", held_out)):
        (options.out / f"{name}.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
        print(f"{name}.txt: {len(texts)} documents, {sum(len(t.split()) for t in texts):,} words")


if __name__ == "__main__":
    main()
