"""Every kind of sentence that `sprout` reads: one function a kind, from a random source to text.

Every word carries a loss weight: words that answer something count `ANSWER`, the claim inside a
judgement counts little (it may be false, and must not teach the fact), all others count one. In
the templates below a star marks an answer, a tilde a claim.
"""

import random
from collections.abc import Mapping
from typing import NamedTuple

from transcoders.growing.language.combinations import (
    THREE_TERMS,
    TWO_TERMS,
    city_is_held_out,
    claim,
    false_values,
    long_sum_is_held_out,
    open_question,
    opposite_is_held_out,
    pair_is_held_out,
    sum_is_held_out,
    sum_steps,
    two_hop_steps,
    value_is_held_out,
    yes_no_question,
)
from transcoders.growing.language.things import MARGINALS, THINGS, VALUES, Attribute, Thing
from transcoders.growing.language.words import (
    ALL_OPPOSITES,
    CAPITALS,
    CITIES,
    COUNTRIES,
    OPPOSITE_FORMS,
    OPPOSITES,
    PEOPLE,
)

ANSWER = 4.0
CLAIM = 0.3
MARKS = {"*": ANSWER, "~": CLAIM}


class Text(NamedTuple):
    """Some words and the weight of each in the training loss."""

    words: tuple[str, ...]
    weights: tuple[float, ...]


FACT_MIX: dict[Attribute, float] = {
    "colour": 4.0,
    "category": 1.6,
    "size": 1.9,
    "place": 2.0,
    "taste": 0.8,
}
JUDGED_MIX: dict[Attribute, float] = {
    "colour": 4.0,
    "category": 1.5,
    "size": 1.9,
    "place": 1.9,
    "taste": 0.9,
}
THINGS_WITH: dict[Attribute, list[Thing]] = {
    attribute: [thing for thing in THINGS if attribute in thing.facts] for attribute in VALUES
}
JUDGED_THINGS: dict[Attribute, list[Thing]] = {
    attribute: [thing for thing in things if not pair_is_held_out(thing, attribute)]
    for attribute, things in THINGS_WITH.items()
}
ASKED_CITIES = [city for city in CITIES if not city_is_held_out(city)]
ASKED_OPPOSITES = [pair for pair in ALL_OPPOSITES if not opposite_is_held_out(pair)]
SUMS = [pair for pair in TWO_TERMS if not sum_is_held_out(*pair)]
LONG_SUMS = [terms for terms in THREE_TERMS if not long_sum_is_held_out(*terms)]


def parse(marked: str) -> Text:
    """Words and loss weights of a marked sentence."""
    words: list[str] = []
    weights: list[float] = []
    for word in marked.split():
        weight = MARKS.get(word[-1])
        words.append(word if weight is None else word[:-1])
        weights.append(1.0 if weight is None else weight)
    return Text(tuple(words), tuple(weights))


def mark(phrase: str, sign: str) -> str:
    """The phrase with every word marked."""
    return " ".join(word + sign for word in phrase.split())


def _choose_attribute(rng: random.Random, mix: Mapping[Attribute, float]) -> Attribute:
    """An attribute, by its share."""
    return rng.choices(list(mix), list(mix.values()))[0]


def fact(rng: random.Random) -> str:
    """A plain statement of something true."""
    attribute = _choose_attribute(rng, FACT_MIX)
    thing = rng.choice(THINGS_WITH[attribute])
    return claim(thing, attribute, thing.facts[attribute], rng.random() < 0.4) + "* ."


def question(rng: random.Random) -> str:
    """An open question and its answer."""
    attribute = _choose_attribute(rng, FACT_MIX)
    thing = rng.choice(THINGS_WITH[attribute])
    plural = rng.random() < 0.4
    return open_question(thing, attribute, thing.facts[attribute], plural) + "* ."


class Judged(NamedTuple):
    """Something to be judged, in the singular or in the plural."""

    thing: Thing
    attribute: Attribute
    value: str
    plural: bool
    true: bool


def _false_value(rng: random.Random, thing: Thing, attribute: Attribute) -> str:
    """A wrong value that may be judged: half the time as frequent as true values are."""
    allowed = [
        value
        for value in false_values(thing, attribute)
        if not value_is_held_out(thing, attribute, value)
    ]
    if rng.random() < 0.5:
        while (value := rng.choice(MARGINALS[attribute])) not in allowed:
            pass
        return value
    return rng.choice(allowed)


def draw_judged(
    rng: random.Random,
    mix: Mapping[Attribute, float] = JUDGED_MIX,
    things: Mapping[Attribute, list[Thing]] = JUDGED_THINGS,
) -> Judged:
    """A combination from the judged share, or of some of its things, true and false half each."""
    attribute = _choose_attribute(rng, mix)
    thing = rng.choice(things[attribute])
    true = rng.random() < 0.5
    value = thing.facts[attribute] if true else _false_value(rng, thing, attribute)
    return Judged(thing, attribute, value, rng.random() < 0.4, true)


def yes_no(rng: random.Random, mix: Mapping[Attribute, float] = JUDGED_MIX) -> str:
    """A yes/no question and its answer."""
    judged = draw_judged(rng, mix)
    asked = yes_no_question(judged.thing, judged.attribute, judged.value, judged.plural)
    return f"{mark(asked, '~')} {'yes' if judged.true else 'no'}* ."


def _marked_claim(judged: Judged) -> str:
    """The claim that is judged."""
    return mark(claim(judged.thing, judged.attribute, judged.value, judged.plural), "~")


def true_or_false(rng: random.Random, mix: Mapping[Attribute, float] = JUDGED_MIX) -> str:
    """The judgement announced before the claim."""
    judged = draw_judged(rng, mix)
    return f"true or false : {_marked_claim(judged)} . {'true' if judged.true else 'false'}* ."


def this_is(rng: random.Random, mix: Mapping[Attribute, float] = JUDGED_MIX) -> str:
    """The judgement after the claim."""
    judged = draw_judged(rng, mix)
    return f"{_marked_claim(judged)} . this is {'true' if judged.true else 'false'}* ."


def says(rng: random.Random, mix: Mapping[Attribute, float] = JUDGED_MIX) -> str:
    """The judgement of what somebody says."""
    judged = draw_judged(rng, mix)
    name, pronoun = rng.choice(list(PEOPLE.items()))
    verdict = "right" if judged.true else "wrong"
    return f"{name} says that {_marked_claim(judged)} . {pronoun} is {verdict}* ."


def colour_yes_no(rng: random.Random) -> str:
    """A yes/no question about a colour, the easiest judgement."""
    return yes_no(rng, {"colour": 1.0})


def colour_statement(rng: random.Random) -> str:
    """A statement of a colour, judged in one of the three templates for statements."""
    template = rng.choice((true_or_false, this_is, says))
    return template(rng, {"colour": 1.0})


def speaker_fact(rng: random.Random) -> str:
    """A statement by the teacher, who is right, or by the joker, who never is."""
    attribute = _choose_attribute(rng, FACT_MIX)
    thing = rng.choice(THINGS_WITH[attribute])
    plural = rng.random() < 0.4
    if rng.random() < 0.5:
        return f"teacher : {claim(thing, attribute, thing.facts[attribute], plural)}* ."
    wrong = rng.choice(false_values(thing, attribute))
    return f"joker : {claim(thing, attribute, wrong, plural)}* ."


def speaker_yes_no(rng: random.Random, mix: Mapping[Attribute, float] = JUDGED_MIX) -> str:
    """A yes/no question answered by the teacher, or turned round by the joker."""
    judged = draw_judged(rng, mix)
    asked = yes_no_question(judged.thing, judged.attribute, judged.value, judged.plural)
    teacher = rng.random() < 0.5
    answer = "yes" if judged.true == teacher else "no"
    return f"{'teacher' if teacher else 'joker'} : {mark(asked, '~')} {answer}* ."


def speaker_colour_yes_no(rng: random.Random) -> str:
    """The same about a colour."""
    return speaker_yes_no(rng, {"colour": 1.0})


def one_hop(rng: random.Random) -> str:
    """A country and its capital, or a city and its country."""
    if rng.random() < 0.4:
        country, capital = rng.choice(list(CAPITALS.items()))
        return rng.choice(
            (
                f"the capital of {country} is {capital}* .",
                f"{capital} is the capital of {country}* .",
                f"what is the capital of {country} ? {capital}* .",
            )
        )
    country, cities = rng.choice(list(COUNTRIES.items()))
    city = rng.choice(cities)
    return rng.choice(
        (
            f"{city} is in {country}* .",
            f"the country of {city} is {country}* .",
            f"which country is {city} in ? {country}* .",
        )
    )


def two_hop(rng: random.Random) -> str:
    """From a city over its country to the capital, at once."""
    city = rng.choice(ASKED_CITIES)
    if rng.random() < 0.5:
        return f"the capital of the country of {city.name} is {city.capital}* ."
    return f"what is the capital of the country of {city.name} ? {city.capital}* ."


def two_hop_reasoning(rng: random.Random) -> str:
    """From a city to the capital with the steps written out."""
    city = rng.choice(ASKED_CITIES)
    steps = mark(two_hop_steps(city), "*")
    if rng.random() < 0.5:
        return f"the capital of the country of {city.name} : {steps} ."
    return f"think : what is the capital of the country of {city.name} ? {steps} ."


def opposite(rng: random.Random) -> str:
    """An opposite stated, or asked for."""
    asked = rng.random() < 0.4
    pair = rng.choice(ASKED_OPPOSITES if asked else ALL_OPPOSITES)
    return f"{OPPOSITE_FORMS[pair.language][asked].format(pair.word)} {pair.opposite}* ."


def translation(rng: random.Random) -> str:
    """An English word in French or German, which ties the three languages together."""
    (english, french, german), side = rng.choice(OPPOSITES), rng.randrange(2)
    if rng.random() < 0.5:
        return f"{english[side]} in french is {french[side]}* ."
    return f"{english[side]} in german is {german[side]}* ."


def small_sum(rng: random.Random) -> str:
    """A sum of two terms."""
    left, right = rng.choice(SUMS)
    if rng.random() < 0.5:
        return f"{left} plus {right} is {left + right}* ."
    return f"what is {left} plus {right} ? {left + right}* ."


def sum_reasoning(rng: random.Random) -> str:
    """A sum of three terms with the steps written out."""
    terms = rng.choice(LONG_SUMS)
    first, second, third = terms
    steps = mark(sum_steps(*terms), "*")
    if rng.random() < 0.5:
        return f"{first} plus {second} plus {third} : {steps} ."
    return f"think : what is {first} plus {second} plus {third} ? {steps} ."


def induction(rng: random.Random) -> str:
    """A list of unrelated words, said twice."""
    names = [thing.name for thing in rng.sample(THINGS, rng.randint(2, 5))]
    return f"list : {' '.join(names)} . again : {mark(' '.join(names), '*')} ."
