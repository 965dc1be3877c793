"""Written-out answers, step by step: a right last word may stand at the end of wrong steps.

An answer is written out in sentences ("nice is in france . the capital of france is paris . so
paris"). Every sentence counts as a step, the last one with the answer; a step is right when it is
word for word the one that follows from the question.
"""

import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

from benchmarks.pages import table
from transcoders.growing.examination.items import Item
from transcoders.growing.language.words import COUNTRIES

COUNTRY_OF = {city: country for country, cities in COUNTRIES.items() for city in cities}


class Steps(NamedTuple):
    """What a model wrote for one item."""

    item: Item
    written: tuple[str, ...]
    """As many sentences as the item has steps; empty ones where the text was too short."""

    @property
    def right(self) -> tuple[bool, ...]:
        """Whether each step is the right one."""
        return tuple(
            ours == theirs for ours, theirs in zip(self.written, self.item.steps, strict=True)
        )

    @property
    def swaps_city(self) -> bool:
        """Whether the first step names another city of the same country."""
        (city, *place), (other, *there) = (
            steps[0].split() or [""] for steps in (self.item.steps, self.written)
        )
        country = COUNTRY_OF.get(city)
        return city != other and country == COUNTRY_OF.get(other, "") and place == there


def read_steps(item: Item, said: Sequence[str]) -> Steps:
    """The sentences of a text, cut to the item's number of steps."""
    sentences = [sentence.strip() for sentence in " ".join(said).split(" .")]
    sentences += [""] * len(item.steps)
    return Steps(item, tuple(sentences[: len(item.steps)]))


def step_figures(found: list[Steps]) -> dict[str, Any]:
    """Shares for `skills.json`: of every step alone, and of items with all steps right."""
    wrong = [one for one in found if not all(one.right)]
    shares = [
        sum(column) / len(found) for column in zip(*(one.right for one in found), strict=True)
    ]
    return {
        "every_step": round(1 - len(wrong) / len(found), 4),
        "steps": [round(share, 4) for share in shares],
        "swapped_cities": sum(one.swaps_city for one in found),
        "wrong": [{"prompt": one.item.prompt, "written": " . ".join(one.written)} for one in wrong],
    }


NAMES = {"trained": "trained", "held_out": "held out"}


def steps_markdown(skills: dict[str, dict[str, dict[str, Any]]]) -> str:
    """The card's table of written-out answers, and what the wrong steps are."""
    cells = [
        (skill, NAMES[split], figures)
        for skill, splits in skills.items()
        for split, figures in splits.items()
        if "steps" in figures
    ]
    rows = [
        (
            *(f"{skill}, {split}", f"{one['items']}", f"{one['accuracy']:.3f}"),
            *(", ".join(f"{share:.3f}" for share in one["steps"]), f"{one['every_step']:.3f}"),
        )
        for skill, split, one in cells
    ]
    head = ("written out", "items", "answer right", "each step right", "every step right")
    findings = [_finding(*cell) for cell in cells if cell[2]["wrong"]]
    return "\n".join([*table(head, rows), *findings])


def _finding(skill: str, split: str, figures: dict[str, Any]) -> str:
    """A paragraph on wrong steps, with an example."""
    wrong = figures["wrong"]
    text = f"{skill}, {split}: {len(wrong)} of {figures['items']} answers have a wrong step"
    if figures["swapped_cities"]:
        text += (
            f"; in {figures['swapped_cities']} the first step names another city of the same "
            "country, which leads to the same capital"
        )
    text += f". For example `{wrong[0]['prompt']}` -> `{wrong[0]['written']}`."
    return "\n" + textwrap.fill(text, 100, break_on_hyphens=False)
