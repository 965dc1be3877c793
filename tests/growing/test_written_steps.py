"""Sprout's examination counts every written step, not only the word the steps end in."""

from __future__ import annotations

import json

import pytest

from circuit_tracer.bundled import bundled_folder
from transcoders.growing.examination.items import Item, items
from transcoders.growing.examination.written_steps import read_steps, step_figures, steps_markdown

NICE = ("nice is in france", "the capital of france is paris", "so paris")


@pytest.mark.parametrize(
    ("said", "right", "swaps"),
    [
        (" . ".join(NICE) + " . joker : is", (True, True, True), False),
        ("lyon is in france . the capital of france is paris . so paris .", (0, 1, 1), True),
        ("berlin is in germany . the capital of germany is berlin . so berlin .", (0, 0, 0), False),
        ("lyon is in germany . the capital of france is paris . so paris .", (0, 1, 1), False),
        ("nice is in france . the capital of france is lyon . so paris .", (1, 0, 1), False),
        ("nice is in france . so paris .", (1, 0, 0), False),
        ("so paris .", (0, 0, 0), False),
        ("", (0, 0, 0), False),
    ],
)
def test_a_step_is_right_word_for_word(said: str, right: tuple[int, ...], swaps: bool) -> None:
    item = Item("the capital of the country of nice :", "paris", steps=NICE)
    found = read_steps(item, said.split())
    assert found.right == tuple(map(bool, right))
    assert found.swaps_city == swaps


def test_figures_count_every_step_and_keep_what_was_wrong() -> None:
    item = Item("the capital of the country of nice :", "paris", steps=NICE)
    said = [" . ".join(NICE), " . ".join(["lyon is in france", *NICE[1:]])]
    figures = step_figures([read_steps(item, one.split()) for one in said])
    assert figures["every_step"] == 0.5
    assert figures["steps"] == [0.5, 1.0, 1.0]
    assert figures["swapped_cities"] == 1
    assert figures["wrong"] == [{"prompt": item.prompt, "written": said[1]}]


def test_every_item_that_is_written_out_has_its_steps() -> None:
    for skill, lists in items().items():
        for asked in lists.values():
            for item in asked:
                assert bool(item.steps) == skill.endswith("written out")
                assert not item.steps or item.steps[-1] == f"so {item.answer}"


@pytest.mark.parametrize("name", ["sprout", "sprout-two-pages"])
def test_the_card_says_what_was_counted(name: str) -> None:
    folder = bundled_folder() / name
    skills = json.loads((folder / "model" / "skills.json").read_text("utf-8"))["skills"]
    own = skills.get(name, skills)
    counted = {skill for skill, splits in own.items() for one in splits.values() if "steps" in one}
    assert counted == {"two hops written out", "sums written out"}
    held_out = own["two hops written out"]["held_out"]
    assert held_out["every_step"] < held_out["accuracy"]
    assert steps_markdown(own) in (folder / "README.md").read_text("utf-8")
