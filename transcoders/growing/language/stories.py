"""Stories of two to four sentences: small talk around the facts, so that not all text is forms."""

import random

from transcoders.growing.language.things import THINGS, VALUES, article
from transcoders.growing.language.words import PEOPLE

FEELINGS = ("happy", "sad", "tired", "hungry", "proud")
TIMES = ("one day", "in the morning", "in the evening", "today", "yesterday")


def story(rng: random.Random) -> str:
    """One short story; what it says of things is true, what it says of people is free."""
    thing, other = rng.sample(THINGS, 2)
    (name, pronoun), (friend, their) = rng.sample(list(PEOPLE.items()), 2)
    one, two = article(thing.name), article(other.name)
    colour = thing.facts["colour"]
    place = rng.choice(VALUES["place"])
    time, feeling = rng.choice(TIMES), rng.choice(FEELINGS)
    stories = (
        f"{time} {name} went to the {place} . {pronoun} saw {one} . it was {colour}* .",
        f"{name} has {one} . {friend} has {two} . what does {name} have ? {one}* .",
        f"{name} has {one} . {friend} has {two} . who has {two} ? {friend}* .",
        f"{time} {name} wanted {one} . {friend} gave {name}* {one}* . {name} was happy .",
        f"{name} was {feeling} . {friend} asked why . {pronoun} said : i lost my {thing.name} .",
        f"{time} {name} drew {one} . {pronoun} made it {colour}* .",
        f"{name} likes {thing.plural} but {friend} likes {other.plural} . "
        f"so {friend} bought {other.plural}* .",
        f"{name} was in the {place} . {friend} was looking for {name} . "
        f"{their} went to the {place}* .",
        f"{time} {friend} met {name} in the {place} . they talked about {thing.plural} .",
    )
    return rng.choice(stories)
