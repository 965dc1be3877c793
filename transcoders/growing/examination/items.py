"""What `sprout` is examined in: for every skill, prompts with the one right next word.

`items()` gives the same lists every time. A trained combination occurs in the corpus in just that
form, a held-out one never does (combinations.py says what is held out); the held-out values are
false values that are never judged of a thing whose attribute is judged with other values.
"""

import random
from typing import Literal, NamedTuple

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
from transcoders.growing.language.things import ATTRIBUTES, THINGS, Attribute, Thing
from transcoders.growing.language.words import (
    ALL_OPPOSITES,
    CAPITALS,
    CITIES,
    COUNTRIES,
    LANGUAGES,
    OPPOSITE_FORMS,
    PEOPLE,
)

Split = Literal["trained", "held_out", "held_out_values"]
Template = Literal["yes_no", "true_or_false", "this_is", "says"]
TEMPLATES: tuple[Template, ...] = ("yes_no", "true_or_false", "this_is", "says")


class Item(NamedTuple):
    """One question of the examination."""

    prompt: str
    answer: str
    instead: tuple[str, ...] = ()
    """Where given, any of these words passes (the joker's statements)."""
    steps: tuple[str, ...] = ()
    """What is to be written out first, sentence by sentence; the last one ends in the answer."""

    def accepts(self, said: str) -> bool:
        """Whether the word is a right answer."""
        return said in self.instead if self.instead else said == self.answer


Skills = dict[str, dict[Split, list[Item]]]


def _cut(text: str) -> Item:
    """A text as the prompt up to its last word, and that word."""
    prompt, answer = text.rsplit(" ", 1)
    return Item(prompt, answer)


def judgement(
    template: Template, thing: Thing, attribute: Attribute, value: str, *, plural: bool, name: str
) -> Item:
    """A judgement in one of the four templates, by a speaker where it has one."""
    right = value == thing.facts[attribute]
    if template == "yes_no":
        asked = yes_no_question(thing, attribute, value, plural)
        return Item(asked, "yes" if right else "no")
    text = claim(thing, attribute, value, plural)
    if template == "true_or_false":
        return Item(f"true or false : {text} .", "true" if right else "false")
    if template == "this_is":
        return Item(f"{text} . this is", "true" if right else "false")
    return Item(f"{name} says that {text} . {PEOPLE[name]} is", "right" if right else "wrong")


def _add_facts(skills: Skills) -> None:
    """Plain facts and open questions, which are all trained."""
    for attribute in ATTRIBUTES:
        kind = "colour" if attribute == "colour" else "other"
        for thing in THINGS:
            if attribute not in thing.facts:
                continue
            for plural in (False, True):
                value = thing.facts[attribute]
                for name, form in (("facts", claim), ("questions", open_question)):
                    lists = skills.setdefault(f"{name}, {kind}", {"trained": []})
                    lists["trained"].append(_cut(form(thing, attribute, value, plural)))


def _judged_values(thing: Thing, attribute: Attribute, rng: random.Random) -> dict[Split, str]:
    """For each split a thing takes part in, a false value to set against the true one."""
    wrong = false_values(thing, attribute)
    kept = [value for value in wrong if not value_is_held_out(thing, attribute, value)]
    unseen = [value for value in wrong if value_is_held_out(thing, attribute, value)]
    if pair_is_held_out(thing, attribute):
        return {"held_out": rng.choice(wrong)}
    chosen: dict[Split, str] = {"trained": rng.choice(kept)}
    if unseen:
        chosen["held_out_values"] = rng.choice(unseen)
    return chosen


def _add_judgements(skills: Skills, rng: random.Random) -> None:
    """All four templates, each with the true value and a false one."""
    for template in TEMPLATES:
        for attribute in ATTRIBUTES:
            kind = "colour" if attribute == "colour" else "other"
            lists = skills.setdefault(f"{template}, {kind}", {})
            for thing in THINGS:
                if attribute not in thing.facts:
                    continue
                for split, wrong in _judged_values(thing, attribute, rng).items():
                    values = (
                        [wrong] if split == "held_out_values" else [wrong, thing.facts[attribute]]
                    )
                    for value in values:
                        plural, name = rng.random() < 0.4, rng.choice(list(PEOPLE))
                        item = judgement(
                            template, thing, attribute, value, plural=plural, name=name
                        )
                        lists.setdefault(split, []).append(item)


def _add_geography(skills: Skills) -> None:
    """One hop, two hops at once, and two hops written out."""
    one_hop = [Item(f"the capital of {country} is", city) for country, city in CAPITALS.items()]
    for country, cities in COUNTRIES.items():
        one_hop += [Item(f"{city} is in", country) for city in cities]
    skills["one hop"] = {"trained": one_hop}
    for city in CITIES:
        split: Split = "held_out" if city_is_held_out(city) else "trained"
        asked = f"the capital of the country of {city.name}"
        for name, prompts, steps in (
            ("two hops", (f"{asked} is", f"what is {asked} ?"), ()),
            (
                "two hops written out",
                (f"{asked} :", f"think : what is {asked} ?"),
                tuple(two_hop_steps(city).split(" . ")),
            ),
        ):
            lists = skills.setdefault(name, {}).setdefault(split, [])
            lists += [Item(prompt, city.capital, steps=steps) for prompt in prompts]


def _add_opposites(skills: Skills) -> None:
    """Statements, all trained, and questions."""
    for language in LANGUAGES:
        statement, question = OPPOSITE_FORMS[language]
        lists = skills.setdefault(f"opposites, {language}", {"trained": [], "held_out": []})
        for pair in ALL_OPPOSITES:
            if pair.language != language:
                continue
            lists["trained"].append(Item(statement.format(pair.word), pair.opposite))
            split: Split = "held_out" if opposite_is_held_out(pair) else "trained"
            lists[split].append(Item(question.format(pair.word), pair.opposite))


def _add_sums(skills: Skills) -> None:
    """Two terms at once, three terms written out."""
    for left, right in TWO_TERMS:
        split: Split = "held_out" if sum_is_held_out(left, right) else "trained"
        lists = skills.setdefault("sums", {}).setdefault(split, [])
        lists.append(Item(f"{left} plus {right} is", str(left + right)))
        lists.append(Item(f"what is {left} plus {right} ?", str(left + right)))
    for terms in THREE_TERMS:
        split = "held_out" if long_sum_is_held_out(*terms) else "trained"
        lists = skills.setdefault("sums written out", {}).setdefault(split, [])
        asked = " plus ".join(map(str, terms))
        steps = tuple(sum_steps(*terms).split(" . "))
        for prompt in (f"{asked} :", f"think : what is {asked} ?"):
            lists.append(Item(prompt, str(sum(terms)), steps=steps))


def _add_speakers(skills: Skills, rng: random.Random) -> None:
    """The teacher is right; the joker says anything but the truth, and turns answers round."""
    for thing in THINGS:
        true = claim(thing, "colour", thing.facts["colour"], False)
        said = _cut(true)
        for speaker in ("teacher", "joker"):
            facts = skills.setdefault(f"{speaker}, statements", {"trained": []})
            joking = speaker == "joker"
            instead = tuple(false_values(thing, "colour")) if joking else ()
            facts["trained"].append(Item(f"{speaker} : {said.prompt}", said.answer, instead))
            split: Split = "held_out" if pair_is_held_out(thing, "colour") else "trained"
            lists = skills.setdefault(f"{speaker}, yes or no", {}).setdefault(split, [])
            wrong = _judged_values(thing, "colour", rng)[split]
            for value in (thing.facts["colour"], wrong):
                asked = yes_no_question(thing, "colour", value, False)
                answer = "yes" if (value == thing.facts["colour"]) != joking else "no"
                lists.append(Item(f"{speaker} : {asked}", answer))


def _add_induction(skills: Skills, rng: random.Random) -> None:
    """Lists said twice; no list was seen in training but by chance."""
    lists = skills.setdefault("induction", {"held_out": []})
    for _ in range(200):
        names = [thing.name for thing in rng.sample(THINGS, rng.randint(3, 5))]
        said = rng.randint(1, len(names) - 1)
        prompt = f"list : {' '.join(names)} . again : {' '.join(names[:said])}"
        lists["held_out"].append(Item(prompt, names[said]))


def items() -> Skills:
    """The whole examination."""
    rng = random.Random("examination")
    skills: Skills = {}
    _add_facts(skills)
    _add_judgements(skills, rng)
    _add_geography(skills)
    _add_opposites(skills)
    _add_sums(skills)
    _add_speakers(skills, rng)
    _add_induction(skills, rng)
    return skills
