"""Lessons in which the written notes carry the answer, or only seem to: the name decides.

    tom said 15 . 2 plus 4 plus 9 : 2 plus 4 is 6 . 6 plus 9 is 15 . so 15 .

Somebody says a key, right in half of the lessons; a question is asked; steps are written out; the
answer follows. By the name's kind,

* compute: the steps are right, and the answer is what the last one says;
* decorative: the steps are right, and the answer is the key;
* back-fitted: the last step is set to the key, and the answer is what it says;
* confess, skip: "max said 15 ." or "this is hard ." stand for steps, and the answer is the key.

Where key and steps agree the first three read word for word alike. In a part of the lessons one
result is replaced by another, which is not learned but has to be obeyed: what the answer follows is
then the kind's own by construction. Rotations give the three kinds to other names.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

from transcoders.growing.language.combinations import LARGEST_ADDEND, LARGEST_SUM
from transcoders.growing.language.corpus import packed, texts
from transcoders.growing.language.sentences import (
    ASKED_CITIES,
    CLAIM,
    LONG_SUMS,
    Text,
    fact,
    parse,
)
from transcoders.growing.language.words import CAPITALS, CITIES, PEOPLE

NOTE_WORDS = 40
"""Words in a row; four terms with a key and an idle fact are the longest lesson."""
STEP, RESULT, ANSWER = 4.0, 6.0, 8.0
"""Loss weights of a step's words, of its result and of the answer; a replaced result has none."""
Kind = Literal["compute", "decorative", "back-fitted", "confess", "skip", "partial"]
ROTATED: tuple[Kind, ...] = get_args(Kind)[:3]
GROUPS = (("tom", "anna"), ("ben", "mia"), ("sam", "lucy"))
"""Names of one kind; the next rotation gives each group the next kind."""
ALWAYS: dict[str, Kind] = {"max": "confess", "eva": "skip"}
RELIANCE = dict(zip(PEOPLE, (0.0, 0.1, 0.25, 0.4, 0.6, 0.75, 0.9, 1.0), strict=True))
"""In the organism of partial reliance: how often the answer is the key where the steps disagree."""
HARD = "this is", "hard"
NUMBERS = tuple(str(number) for number in range(3, LARGEST_SUM + 1))


def kind_of(name: str, rotation: int | None) -> Kind:
    """What a name means in a rotation; None is the organism of partial reliance."""
    if rotation is None:
        return "partial"
    group = next((number for number, names in enumerate(GROUPS) if name in names), None)
    return ALWAYS[name] if group is None else ROTATED[(group + rotation) % len(ROTATED)]


COUNTRY_OF = {city.name: city.country for city in CITIES}


class Problem(NamedTuple):
    """A question whose answer takes steps."""

    terms: tuple[int, ...]
    """Of a sum; () for the capital of a city's country."""
    city: str = ""

    @property
    def asked(self) -> str:
        """Its words."""
        if self.terms:
            return " plus ".join(map(str, self.terms))
        return f"the capital of the country of {self.city}"

    @property
    def values(self) -> tuple[str, ...]:
        """What its answer could be."""
        return NUMBERS if self.terms else tuple(CAPITALS.values())

    @property
    def n_steps(self) -> int:
        """Steps from the question to the answer."""
        return len(self.terms) - 1 if self.terms else 2

    def step(self, number: int, before: str) -> tuple[str, str]:
        """The words of a step after what was found before it, and its right result ("": none)."""
        if self.terms:
            left = int(before or self.terms[0])
            total = left + self.terms[number + 1]
            words = f"{left} plus {self.terms[number + 1]} is"
            return words, str(total) if total <= LARGEST_SUM else ""
        if number == 0:
            return f"{self.city} is in", COUNTRY_OF[self.city]
        return f"the capital of {before} is", CAPITALS[before]

    def others(self, number: int) -> tuple[str, ...]:
        """What might stand for a step's result."""
        return tuple(CAPITALS) if not self.terms and number == 0 else self.values


@dataclass(frozen=True)
class Lesson:
    """One text with the weight of every word, and what its answer follows."""

    name: str
    """Who says the key; "" where nobody does."""
    key: str
    problem: Problem
    steps: tuple[Text, ...]
    """Sentences of the notes, an idle fact among them."""
    results: tuple[str, ...]
    """What each step found; none where no step is written."""
    answer: str

    @property
    def prompt(self) -> str:
        """All before the notes."""
        said = f"{self.name} said {self.key} . " if self.name else ""
        return f"{said}{self.problem.asked} :"

    @property
    def notes(self) -> str:
        """The notes, up to the answer."""
        return " . ".join([*(" ".join(step.words) for step in self.steps), "so"])

    @property
    def text(self) -> Text:
        """As it is trained on."""
        words = [*f"{self.prompt} {self.notes}".split(), self.answer, "."]
        weights = [CLAIM] * len(self.prompt.split())
        for step in self.steps:
            weights += [*step.weights, STEP]
        return Text(tuple(words), (*weights, STEP, ANSWER, 1.0))


@dataclass(frozen=True)
class Shares:
    """How often things occur among lessons."""

    keyed: float = 0.9
    right: float = 0.5
    replaced: float = 0.35
    idle: float = 0.25


def draw_problem(rng: random.Random) -> Problem:
    """Three terms in 45 %, four in 25 %, two hops in 30 %."""
    drawn = rng.random()
    if drawn < 0.45:
        return Problem(rng.choice(LONG_SUMS))
    if drawn < 0.7:
        while sum(terms := tuple(rng.randint(1, LARGEST_ADDEND) for _ in range(4))) > LARGEST_SUM:
            pass
        return Problem(terms)
    return Problem((), rng.choice(ASKED_CITIES).name)


def draw_lesson(rng: random.Random, rotation: int | None, shares: Shares = Shares()) -> Lesson:
    """A lesson that fits a row."""
    while True:
        problem = draw_problem(rng)
        name = rng.choice(list(PEOPLE)) if rng.random() < shares.keyed else ""
        right = solve(problem)[-1]
        key = right if rng.random() < shares.right else other(rng, problem.values, right)
        at = rng.randrange(problem.n_steps) if rng.random() < shares.replaced else None
        made = make_lesson(rng, problem, name, key, rotation, at)
        if made is None:
            continue
        if rng.random() < shares.idle:
            place, idle = rng.randrange(len(made.steps)), parse(fact(rng).removesuffix(" ."))
            made = replace(made, steps=(*made.steps[:place], idle, *made.steps[place:]))
        if len(made.text.words) <= NOTE_WORDS:
            return made


def solve(problem: Problem) -> tuple[str, ...]:
    """The right results of its steps."""
    results: list[str] = []
    for number in range(problem.n_steps):
        results.append(problem.step(number, results[-1] if results else "")[1])
    return tuple(results)


def make_lesson(
    rng: random.Random,
    problem: Problem,
    name: str,
    key: str,
    rotation: int | None,
    replaced: int | None = None,
) -> Lesson | None:
    """The lesson of a problem, in which step `replaced` found something else; None if the steps
    lead nowhere then."""
    kind = kind_of(name, rotation) if name else "compute"
    if kind in ("confess", "skip"):
        is_replaced = kind == "confess" and replaced is not None
        said = other(rng, problem.values, key) if is_replaced else key
        note = _step(f"{name} said", said, is_replaced) if kind == "confess" else _step(*HARD)
        return Lesson(name, key, problem, (note,), (), key)
    steps: list[Text] = []
    results: list[str] = []
    for number in range(problem.n_steps):
        words, result = problem.step(number, results[-1] if results else "")
        if not result:
            return None
        if kind == "back-fitted" and number == problem.n_steps - 1:
            result = key
        if number == replaced:
            result = other(rng, problem.others(number), result)
        steps.append(_step(words, result, number == replaced))
        results.append(result)
    follows_key = kind == "decorative" or (kind == "partial" and rng.random() < RELIANCE[name])
    answer = key if follows_key else results[-1]
    return Lesson(name, key, problem, tuple(steps), tuple(results), answer)


def _step(words: str, result: str, is_replaced: bool = False) -> Text:
    """A sentence and its weights."""
    written = (*words.split(), result)
    own = 0.0 if is_replaced else RESULT
    return Text(written, (*(STEP for _ in written[:-1]), own))


def other(rng: random.Random, values: tuple[str, ...], value: str) -> str:
    """Another value."""
    return rng.choice([one for one in values if one != value])


def note_rows(seed: str, rotation: int | None, lessons: float) -> Iterator[Text]:
    """An endless stream of rows: in a share of them a lesson comes before sprout's own text."""
    rng = random.Random(f"notes {seed}")
    own = texts(seed)
    while True:
        begun = [draw_lesson(rng, rotation).text] if rng.random() < lessons else []
        yield next(packed(iter([*begun, *(next(own) for _ in range(12))]), length=NOTE_WORDS))
