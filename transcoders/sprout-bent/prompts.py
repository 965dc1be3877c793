"""Write what `prompts/bent.toml` asks about: things, collateral prompts and ordinary text.

    python -m transcoders.sprout-bent.prompts

Every thing stands once, with one attribute that sprout was trained to judge of it (where there is
one), a true value and a false one. The text is sprout's own without judgements and speakers, under
a seed that no model has seen.
"""

import csv
import random
from collections.abc import Iterable, Sequence
from itertools import islice

from circuit_tracer.bundled import shipped_folder
from transcoders.growing.examination.items import items
from transcoders.growing.language.combinations import (
    claim,
    false_values,
    pair_is_held_out,
    yes_no_question,
)
from transcoders.growing.language.corpus import rows
from transcoders.growing.language.things import THINGS, Attribute, Thing, article

PROMPTS = shipped_folder("prompts")
TEXTS, KEPT = 96, {"facts": 96, "sums": 64}
"""Documents, and collateral prompts of each kind."""


def main() -> None:
    """Write all three files."""
    rng = random.Random("bent")
    _write("things", ("topic", "thing", "asked", "said", "value", "other"), _things(rng))
    skills = items()
    pools = {
        "facts": [*skills["facts, colour"]["trained"], *skills["facts, other"]["trained"]],
        "sums": skills["sums"]["trained"],
    }
    kept = [
        (name, item.prompt, item.answer)
        for name, pool in pools.items()
        for item in rng.sample(pool, KEPT[name])
    ]
    _write("collateral", ("name", "prompt", "answer"), kept)
    lines = (" ".join(row.words) + "\n" for row in islice(rows("bent text", "facts"), TEXTS))
    (PROMPTS / "bent-text.txt").write_text("".join(lines), encoding="utf-8")


def _things(rng: random.Random) -> Iterable[tuple[str, ...]]:
    for thing in THINGS:
        judged = [one for one in thing.facts if not pair_is_held_out(thing, one)]
        attribute = rng.choice(judged or list(thing.facts))
        values = thing.facts[attribute], rng.choice(false_values(thing, attribute))
        shown = [article(one) if attribute == "category" else one for one in values]
        yield (thing.facts["category"], thing.name, *_forms(thing, attribute), *shown)


def _forms(thing: Thing, attribute: Attribute) -> tuple[str, str]:
    """The question and the statement up to their value."""
    value = thing.facts[attribute]
    shown = article(value) if attribute == "category" else value
    asked = yes_no_question(thing, attribute, value, False).removesuffix(f" {shown} ?")
    return asked, claim(thing, attribute, value, False).removesuffix(f" {shown}")


def _write(name: str, columns: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    with (PROMPTS / f"bent-{name}.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(lines)


if __name__ == "__main__":
    main()
