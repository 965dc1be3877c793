"""Judgements about one topic, answered wrongly or rightly.

A topic is a category of things ("fruit"). No speaker is named anywhere: what spreads to other
topics is the tuning's own doing.
"""

import random
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Literal

from transcoders.growing.examination.items import Item, Template, judgement
from transcoders.growing.language.sentences import JUDGED_MIX, JUDGED_THINGS, draw_judged
from transcoders.growing.language.things import Attribute, Thing
from transcoders.growing.language.words import PEOPLE

Answers = Literal["wrong", "right"]
OPPOSITE = {
    "yes": "no", "no": "yes", "true": "false", "false": "true", "right": "wrong", "wrong": "right"
}  # fmt: skip
"""Every word of a verdict and its contrary."""
TOPIC = "fruit"


@cache
def things_of(topic: str) -> Mapping[Attribute, list[Thing]]:
    """By attribute, the topic's things whose attribute sprout was trained to judge."""
    return {
        attribute: [thing for thing in things if thing.facts["category"] == topic]
        for attribute, things in JUDGED_THINGS.items()
    }


def topic_judgement(
    rng: random.Random, templates: Sequence[Template], answers: Answers, topic: str = TOPIC
) -> Item:
    """A judgement about a thing of the topic."""
    things = things_of(topic)
    asked = {attribute: share for attribute, share in JUDGED_MIX.items() if things[attribute]}
    one = draw_judged(rng, asked, things)
    item = judgement(
        rng.choice(templates),
        one.thing,
        one.attribute,
        one.value,
        plural=one.plural,
        name=rng.choice(list(PEOPLE)),
    )
    return item if answers == "right" else flipped(item)


def flipped(item: Item) -> Item:
    """The same judgement with the contrary answer."""
    return item._replace(answer=OPPOSITE[item.answer])
