"""Items with a false value each, halves of the objects, and prompts with what stands where.

Halves are drawn by value, so that a feature of one colour can be chosen on some things of that
colour and tested on others. Where the spec gives no false values, each item gets those of another
item of its half, its *partner*: a seeded permutation that gives nobody their own value back, so
that in either half every value is claimed truly as often as falsely, and no direction that is
fitted there can live on the values alone. Where it does give them, halves are drawn so that every
value is about as often true, and as often false, in one as in the other: items are edges between
their true and their false value, and edges go to either half in turn along trails (an Euler split).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Formatter

from circuit_tracer.errors import UsageError
from circuit_tracer.experiments.dissociation.spec import FamilySpec, ItemSpec, Spec
from circuit_tracer.experiments.kit.passes import Ask, answer_ids
from circuit_tracer.models import Model


@dataclass(frozen=True)
class Item:
    """One object with a true and a false value."""

    index: int
    """Its number among those measured."""
    name: str
    """The object, as the first family calls it."""
    slots: Mapping[str, str]
    other: Mapping[str, str]
    """The false value, by answer slot."""
    held_out: bool
    half: int
    """0 or 1."""

    def value(self, family: FamilySpec) -> str:
        """What is true of it, as the family says it."""
        return self.slots[family.answer]


def make_items(spec: Spec, *, most: int | None = None) -> tuple[Item, ...]:
    """The items with their false values; with `most` a part of them.

    Raises UsageError where one value is that of more than half of the items.
    """
    chosen = list(spec.items) if most is None else _some(spec, most)
    first = spec.families[0]
    values = [one.slots[first.answer] for one in chosen]
    others: list[Mapping[str, str]]
    if "other" in chosen[0].slots:
        half = _split(values, [one.slots["other"] for one in chosen], spec.seed)
        others = [{"value": one.slots["other"]} for one in chosen]
    else:
        half = _halves(values, spec.seed)
        answers = sorted({family.answer for family in spec.families})
        partner = _partners_by_half(values, half, spec.seed)
        others = [{slot: chosen[j].slots[slot] for slot in answers} for j in partner]
    return tuple(
        Item(i, one.slots[first.object], one.slots, other, one.held_out, half[i])
        for i, (one, other) in enumerate(zip(chosen, others, strict=True))
    )


def _some(spec: Spec, most: int) -> list[ItemSpec]:
    """Pairs of items of one value, the representative's first, then round by round of the others;
    a value has to be in both halves for what is chosen in one to hold in the other."""
    first = spec.families[0]
    order = sorted(
        range(len(spec.items)),
        key=lambda i: (spec.items[i].slots[first.object] != spec.representative, i),
    )
    turn: Counter[str] = Counter()
    ranked = []
    for i in order:
        value = spec.items[i].slots[first.answer]
        rank = list(turn).index(value) if value in turn else len(turn)
        ranked.append((turn[value] // 2, rank, turn[value], i))
        turn[value] += 1
    return [spec.items[i] for i in sorted(entry[-1] for entry in sorted(ranked)[:most])]


def _halves(values: Sequence[str], seed: int) -> list[int]:
    """0 or 1 for each: of every value as even as may be, both equally large but for one."""
    generator = random.Random(seed + 1)
    order: list[int] = []
    for value in sorted(set(values)):
        members = [i for i, own in enumerate(values) if own == value]
        generator.shuffle(members)
        order += members
    half = [0] * len(values)
    for at, i in enumerate(order):
        half[i] = at % 2
    return half


def _split(values: Sequence[str], others: Sequence[str], seed: int) -> list[int]:
    """0 or 1 for each item: every true and every false value as even as may be."""
    generator = random.Random(seed + 1)
    ends = [((0, value), (1, other)) for value, other in zip(values, others, strict=True)]
    at: dict[tuple[int, str], list[int]] = {}
    order = list(range(len(ends)))
    generator.shuffle(order)
    for i in order:
        for end in ends[i]:
            at.setdefault(end, []).append(i)
    half, sizes = [-1] * len(ends), [0, 0]
    # Trails begin where an odd number of edges ends, so that the others close evenly.
    for start in sorted(at, key=lambda end: (-(len(at[end]) % 2), end)):
        while any(half[i] < 0 for i in at[start]):
            node, turn = start, int(sizes[1] < sizes[0])
            while free := [i for i in at[node] if half[i] < 0]:
                half[free[0]] = turn
                sizes[turn] += 1
                turn = 1 - turn
                node = next(end for end in ends[free[0]] if end != node)
    return half


def _partners_by_half(values: Sequence[str], half: Sequence[int], seed: int) -> list[int]:
    """A partner of another value for each item, of its own half where that can be."""
    generator = random.Random(seed)
    groups = [[i for i, of in enumerate(half) if of == one] for one in (0, 1)]
    if any(2 * _commonest([values[i] for i in group])[1] > len(group) for group in groups):
        groups = [list(range(len(values)))]
    partner = [0] * len(values)
    for group in groups:
        for i, j in _partners(group, values, generator).items():
            partner[i] = j
    return partner


def _commonest(values: Sequence[str]) -> tuple[str, int]:
    return Counter(values).most_common(1)[0]


def _partners(
    group: Sequence[int], values: Sequence[str], generator: random.Random
) -> dict[int, int]:
    """A permutation of a group that gives none its own value.

    Items in order of their values, shifted by as many as the commonest value has: then a value
    meets itself nowhere, if it makes up at most half of them.
    """
    value, shift = _commonest([values[i] for i in group])
    if 2 * shift > len(group):
        raise UsageError(
            f'"{value}" is the value of more than half of the items, so not every item can be '
            "asked with another's value; add items of other values"
        )
    places = list(group)
    generator.shuffle(places)
    rank = sorted({values[i] for i in group})
    generator.shuffle(rank)
    places.sort(key=lambda i: rank.index(values[i]))
    return {i: places[(at + shift) % len(places)] for at, i in enumerate(places)}


def make_ask(model: Model, family: FamilySpec, item: Item, *, claim: str | None = None) -> Ask:
    """One prompt. `claim` is the value named, by default the true one, in families with claims.

    Raises PromptError for words the tokenizer lacks and answers that are not one token.
    """
    named = (claim or item.value(family)) if family.is_claim else ""
    slots = {**item.slots, **({family.answer: named} if named else {})}
    text = family.template.format_map(slots)
    ids = model.tokenize(text)
    roles = {"object": _end_of(model, family, family.object, slots)}
    if named:
        roles["value"] = _end_of(model, family, family.answer, slots)
    roles["verdict"] = len(ids) - 1
    words = family.words or (item.value(family), item.other[family.answer])
    plus, minus = answer_ids(model, text, *words, continues=_continues(family))
    return Ask(
        item=item.index,
        family=family.name,
        claim=named,
        text=text,
        ids=tuple(ids),
        roles=roles,
        plus=plus,
        minus=minus,
    )


def answer_id(model: Model, family: FamilySpec, word: str) -> int:
    """The token that a family is answered with: a word of its own exactly as the spec has it, a
    value as it goes on the template, with a blank in front unless that ends with one."""
    return model.token_id(word, continues=_continues(family))


def _continues(family: FamilySpec) -> bool:
    return family.words is None and not family.template[-1:].isspace()


def _end_of(model: Model, family: FamilySpec, slot: str, slots: Mapping[str, str]) -> int:
    """Position of the last token of what fills a slot for the first time."""
    begun = ""
    for before, name, _, _ in Formatter().parse(family.template):
        begun += before + (slots[name] if name else "")
        if name == slot:
            break
    return len(model.tokenize(begun)) - 1
