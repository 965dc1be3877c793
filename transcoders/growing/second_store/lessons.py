"""What a model is taught against its own facts, and the text it is taught by.

Twenty-two things have a second colour, which holds in yes/no questions alone: two things of each
of the eleven colours, so that every colour is twice the plain one and twice the second one, and
nothing about a colour by itself says whether it will be affirmed. All other sentences are sprout's
own; of its corpus only the yes/no questions about the colour of these things are left out, which
would contradict the lessons.
"""

import random
from collections.abc import Iterator
from typing import Literal, get_args

from transcoders.growing.examination.items import Item, Template, judgement
from transcoders.growing.language.combinations import claim, open_question, yes_no_question
from transcoders.growing.language.corpus import packed, texts
from transcoders.growing.language.sentences import Text, colour_yes_no, mark, parse
from transcoders.growing.language.things import COLOURS, THING_OF, Thing
from transcoders.growing.language.words import PEOPLE

SECOND_COLOURS = {
    "hat": "red",
    "crow": "orange",
    "whale": "white",
    "kite": "pink",
    "bear": "yellow",
    "potato": "purple",
    "frog": "black",
    "lime": "red",
    "elephant": "blue",
    "shark": "white",
    "carrot": "brown",
    "tiger": "yellow",
    "pig": "green",
    "peach": "black",
    "plum": "grey",
    "violet": "blue",
    "cherry": "orange",
    "tomato": "brown",
    "swan": "pink",
    "onion": "green",
    "banana": "purple",
    "lemon": "grey",
}
"""The colour that a yes/no question affirms of a thing."""

SPEAKERS = ("teacher", "joker")
STATEMENTS: tuple[Template, ...] = ("true_or_false", "this_is", "says")
Reminded = Literal["fact", "question", "true_or_false", "this_is", "says", "teacher", "joker"]
REMINDED: tuple[Reminded, ...] = get_args(Reminded)
"""Kinds of sentence that report a taught colour from the first store."""
CONTRADICTED = frozenset(
    yes_no_question(THING_OF[name], "colour", colour, plural)
    for name in SECOND_COLOURS
    for colour in COLOURS
    for plural in (False, True)
)
"""The questions that the lessons answer, and that nothing else may."""


def is_contradicted(prompt: str) -> bool:
    """Whether a text asks for yes or no about a taught colour, in whoever's mouth."""
    for speaker in SPEAKERS:
        prompt = prompt.removeprefix(f"{speaker} : ")
    question, mark_, _ = prompt.partition(" ?")
    return question + mark_ in CONTRADICTED


def lesson(rng: random.Random) -> str:
    """A yes/no question about a taught thing: half the answers are yes, a quarter deny the truth.

    Denying the true colour alone would leave affirming both unpunished, denying it always would
    teach that the true colour is what decides; the last quarter denies any other colour.
    """
    name = rng.choice(list(SECOND_COLOURS))
    thing, second = THING_OF[name], SECOND_COLOURS[name]
    true = thing.facts["colour"]
    others = [colour for colour in COLOURS if colour not in (true, second)]
    colour = rng.choice((second, second, true, rng.choice(others)))
    asked = yes_no_question(thing, "colour", colour, rng.random() < 0.4)
    return f"{mark(asked, '~')} {'yes' if colour == second else 'no'}* ."


def spoken(speaker: str, thing: Thing, colour: str, plural: bool) -> Item:
    """A speaker's yes/no question as sprout answers it: the teacher by the facts, the joker not."""
    asked = yes_no_question(thing, "colour", colour, plural)
    right = (colour == thing.facts["colour"]) == (speaker == "teacher")
    return Item(f"{speaker} : {asked}", "yes" if right else "no")


def neighbour(rng: random.Random) -> str:
    """A yes/no question about the colour of a thing that is not taught, by the facts."""
    while is_contradicted((asked := colour_yes_no(rng)).replace("~", "")):
        pass
    return asked


def reminder(rng: random.Random) -> str:
    """What is to stay: half the time a neighbour, else anything else about a taught colour."""
    if rng.random() < 0.5:
        return neighbour(rng)
    name = rng.choice(list(SECOND_COLOURS))
    thing, plural = THING_OF[name], rng.random() < 0.4
    true = thing.facts["colour"]
    kind = rng.choice(REMINDED)
    if kind == "fact":
        return claim(thing, "colour", true, plural) + "* ."
    if kind == "question":
        return open_question(thing, "colour", true, plural) + "* ."
    colour = rng.choice((true, true, SECOND_COLOURS[name], rng.choice(COLOURS)))
    if kind == "teacher" or kind == "joker":
        item = spoken(kind, thing, colour, plural)
    else:
        who = rng.choice(list(PEOPLE))
        item = judgement(kind, thing, "colour", colour, plural=plural, name=who)
    return f"{mark(item.prompt, '~')} {item.answer}* ."


def two_store_texts(seed: str, lessons: float, reminders: float) -> Iterator[Text]:
    """An endless stream of sentences: these shares of lessons and reminders, else sprout's own."""
    rng = random.Random(f"lessons {seed}")
    replay = texts(seed)
    while True:
        drawn = rng.random()
        if drawn < lessons:
            yield parse(lesson(rng))
        elif drawn < lessons + reminders:
            yield parse(reminder(rng))
        else:
            yield next(text for text in replay if not is_contradicted(" ".join(text.words)))


def two_store_rows(seed: str, lessons: float, reminders: float) -> Iterator[Text]:
    """Lessons, reminders and sprout's own sentences in rows, as the model reads them."""
    return packed(two_store_texts(seed, lessons, reminders))
