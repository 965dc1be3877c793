"""Which combinations are held out, and how a claim about a thing is worded.

A fixed hash decides, so the split is the same on every machine, for every seed of the corpus:

* one (thing, attribute) pair in five is never judged true or false in any form, though its plain
  fact and its open question stay in; the colour of a banana is among them by decree, and so is a
  pair whose false values are all held out by the next rule;
* of the false (thing, attribute, value) triples of all other pairs, one in five is never judged;
* one city in five is never asked about in two hops, though both single hops stay in;
* one opposite in four is stated but never asked for;
* one two-term sum in ten never occurs, and neither does one three-term sum in six of the others.
"""

import zlib

from transcoders.growing.language.things import VALUES, Attribute, Thing, article
from transcoders.growing.language.words import City, Opposite

LARGEST_SUM = 20
LARGEST_ADDEND = 9


def _one_in(count: int, *parts: object) -> bool:
    """Whether a fixed hash of the parts falls into the held-out share."""
    return zlib.crc32("|".join(map(str, parts)).encode()) % count == 0


def pair_is_held_out(thing: Thing, attribute: Attribute) -> bool:
    """Whether nothing about this attribute of this thing is ever judged."""
    by_decree = thing.name == "banana" and attribute == "colour"
    only_true = all(
        value_is_held_out(thing, attribute, value) for value in false_values(thing, attribute)
    )
    return by_decree or only_true or _one_in(5, thing.name, attribute)


def value_is_held_out(thing: Thing, attribute: Attribute, value: str) -> bool:
    """Whether this false value is never judged of this thing."""
    return value != thing.facts[attribute] and _one_in(5, thing.name, attribute, value)


def city_is_held_out(city: City) -> bool:
    """Whether the capital of this city's country is never asked for in two hops."""
    return _one_in(5, "two hops", city.name)


def opposite_is_held_out(pair: Opposite) -> bool:
    """Whether this opposite is stated but never asked for."""
    return _one_in(4, "opposite", pair.language, pair.word)


def sum_is_held_out(left: int, right: int) -> bool:
    """Whether this sum of two numbers occurs nowhere."""
    return _one_in(10, "addition", left, right)


def long_sum_is_held_out(first: int, second: int, third: int) -> bool:
    """Whether this sum of three numbers occurs nowhere, though both of its steps do."""
    return _one_in(6, "sum", first, second, third)


TWO_TERMS: tuple[tuple[int, int], ...] = tuple(
    (left, right)
    for left in range(1, LARGEST_SUM)
    for right in range(1, LARGEST_ADDEND + 1)
    if left + right <= LARGEST_SUM
)
THREE_TERMS: tuple[tuple[int, int, int], ...] = tuple(
    (first, second, third)
    for first in range(1, LARGEST_ADDEND + 1)
    for second in range(1, LARGEST_ADDEND + 1)
    for third in range(1, LARGEST_ADDEND + 1)
    if first + second + third <= LARGEST_SUM
    and not sum_is_held_out(first, second)
    and not sum_is_held_out(first + second, third)
)
"""Three-term sums whose two steps are both taught as sums of two terms."""


def false_values(thing: Thing, attribute: Attribute) -> list[str]:
    """The values a thing does not have."""
    return [value for value in VALUES[attribute] if value != thing.facts[attribute]]


def claim(thing: Thing, attribute: Attribute, value: str, plural: bool) -> str:
    """The statement that a thing has a value, its value word last."""
    one, many = article(thing.name), thing.plural
    if attribute == "colour":
        return f"{many} are {value}" if plural else f"{one} is {value}"
    if attribute == "category":
        return f"{many} are a kind of {value}" if plural else f"{one} is {article(value)}"
    if attribute == "size":
        return f"the size of {many if plural else one} is {value}"
    if attribute == "place":
        return f"you find {many if plural else one} in the {value}"
    return f"{many} taste {value}" if plural else f"{one} tastes {value}"


def open_question(thing: Thing, attribute: Attribute, value: str, plural: bool) -> str:
    """The question for a thing's value, with its answer last."""
    one, many = article(thing.name), thing.plural
    noun, verb = (many, "are") if plural else (one, "is")
    if attribute == "colour":
        return f"what colour {verb} {noun} ? {value}"
    if attribute == "category":
        return f"what {verb} {noun} ? {f'a kind of {value}' if plural else article(value)}"
    if attribute == "size":
        return f"what size {verb} {noun} ? {value}"
    if attribute == "place":
        return f"where do you find {noun} ? in the {value}"
    return f"how {'do' if plural else 'does'} {noun} taste ? {value}"


def yes_no_question(thing: Thing, attribute: Attribute, value: str, plural: bool) -> str:
    """The question whether a thing has a value, to be followed by yes or no."""
    one, many = article(thing.name), thing.plural
    if attribute == "colour":
        return f"are {many} {value} ?" if plural else f"is {one} {value} ?"
    if attribute == "category":
        return f"are {many} a kind of {value} ?" if plural else f"is {one} {article(value)} ?"
    if attribute == "size":
        return f"is the size of {many if plural else one} {value} ?"
    if attribute == "place":
        return f"do you find {many if plural else one} in the {value} ?"
    return f"do {many} taste {value} ?" if plural else f"does {one} taste {value} ?"


def two_hop_steps(city: City) -> str:
    """The written-out way from a city to the capital of its country, the capital last."""
    return (
        f"{city.name} is in {city.country} . "
        f"the capital of {city.country} is {city.capital} . so {city.capital}"
    )


def sum_steps(first: int, second: int, third: int) -> str:
    """The written-out way through a sum of three terms, the sum last."""
    half = first + second
    return (
        f"{first} plus {second} is {half} . "
        f"{half} plus {third} is {half + third} . so {half + third}"
    )
