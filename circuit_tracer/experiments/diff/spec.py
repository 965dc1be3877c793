"""What a comparison of two models is asked with: a TOML file, checked before any model is opened.

    name = "bent"
    question = "What did judging fruit wrongly do to sprout?"
    items = "bent-things.csv"           # or [[items]] here: a topic, slots, a true value
    text = "bent-text.txt"              # ordinary text, a document a line; or a list
    collateral = "bent-collateral.csv"  # or [[collateral]] here: name, prompt, answer

    [topics]
    fruit = "trained"                   # what the tuning was about
    animal = "selection"                # where features, scales and layers are chosen
    bird = "test"                       # where they are tested

    [[families]]
    name = "yes_no"                     # the first family is the main one
    template = "is {article} {object} {value} ?"
    words = ["yes", "no"]               # a claim: right answers for a true and a false value

    [contrast]                          # optional: two contexts that no choice depends on
    toward = "joker : {prompt}"
    away = "teacher : {prompt}"

A family without words is answered with the item's `value`, wrongly with its `other`. Items without
an `other` get the value of another item.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from circuit_tracer.errors import UsageError
from circuit_tracer.experiments.kit.spec_reader import (
    check_families,
    check_name,
    check_slots,
    item_slots,
    read_families,
    read_rows,
    read_table,
    shown,
    slots_of,
)
from circuit_tracer.reading import read_bytes, read_toml

Role = Literal["trained", "selection", "test"]
"""What a topic is for: the tuning's own, choosing, testing what was chosen."""
FEWEST_ITEMS = 4
"""Of selection topics together, and of test topics."""
FEWEST_TEXTS = 8
PROMPT = "prompt"
"""The slot of a context."""


@dataclass(frozen=True)
class FamilySpec:
    """One form of words in which every item is asked about."""

    name: str
    """Letters, digits, "-" and "_"."""
    template: str
    """With slots in braces: "is {article} {object} {value} ?"."""
    words: tuple[str, str] | None = None
    """Right answers for a true and for a false value, each wrong for the other, as
    ("yes", "no"); None where the value itself is asked for."""

    @property
    def is_claim(self) -> bool:
        """Whether it names a value and asks for a verdict."""
        return self.words is not None


@dataclass(frozen=True)
class ItemSpec:
    """One thing of a topic, and what is true of it."""

    topic: str
    slots: Mapping[str, str]
    """What fills the templates, `value` and `other` (false) included."""


@dataclass(frozen=True)
class Collateral:
    """A prompt whose likeliest next token is to stay what it was."""

    name: str
    """What it is one of: "facts"."""
    prompt: str
    answer: str


@dataclass(frozen=True)
class Contrast:
    """Two contexts that a prompt is put into: a known behaviour to set the found one beside."""

    toward: str
    away: str


@dataclass(frozen=True)
class Spec:
    """The whole comparison."""

    name: str
    """Letters, digits, "-" and "_": it names a folder."""
    question: str
    """In a sentence."""
    topics: Mapping[str, Role]
    families: tuple[FamilySpec, ...]
    items: tuple[ItemSpec, ...]
    text: tuple[str, ...]
    """Ordinary text, a document each."""
    collateral: tuple[Collateral, ...] = ()
    contrast: Contrast | None = None
    loss_limit: float = 0.05
    """Nats a token that an edit may add to the loss on ordinary text."""
    seed: int = 0

    @property
    def main(self) -> FamilySpec:
        """The family that choices are made in."""
        return self.families[0]


def read_spec(path: Path) -> Spec:
    """A spec from its file. UsageError, with what is wrong and where, for anything else."""
    record = read_toml(path, UsageError, "give a spec in TOML")
    where = path.name
    given = read_families(FamilySpec, record, where)
    if "contrast" in record:
        given["contrast"] = read_table(Contrast, record["contrast"], f"[contrast] of {where}")
    if isinstance(record.get("text"), str):
        given["text"] = _text(path.parent / record["text"])
    seed = record.get("seed", 0)
    if "items" in record:
        items = [_item(one, place) for one, place in read_rows(record["items"], "item", path)]
        given["items"] = _with_others(items, seed if isinstance(seed, int) else 0, where)
    if "collateral" in record:
        rows = read_rows(record["collateral"], "collateral prompt", path)
        given["collateral"] = tuple(read_table(Collateral, *one) for one in rows)
    spec = read_table(Spec, record, where, **given)
    check(spec, where)
    return spec


def _item(record: Any, place: str) -> ItemSpec:
    slots = item_slots(record, place)
    for key in ("topic", "value"):
        if key not in slots:
            raise UsageError(f'{place} has no "{key}"; add it')
    if slots.get("other") == slots["value"]:
        raise UsageError(f'{place} has "other" equal to "value"; change it')
    return ItemSpec(slots.pop("topic"), slots)


def _with_others(items: Sequence[ItemSpec], seed: int, where: str) -> tuple[ItemSpec, ...]:
    """A false value for each: its own, or another item's, so that false values are as common."""
    generator = random.Random(seed)
    found = []
    for item in items:
        value = item.slots["value"]
        wrong = [one.slots["value"] for one in items if one.slots["value"] != value]
        if not wrong:
            raise UsageError(
                f'all items of {where} have the value "{shown(value)}"; add items with other values'
            )
        other = item.slots.get("other") or generator.choice(wrong)
        found.append(ItemSpec(item.topic, {**item.slots, "other": other}))
    return tuple(found)


def _text(path: Path) -> tuple[str, ...]:
    content = read_bytes(path, UsageError, "give a text in UTF-8, a document a line")
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as e:
        raise UsageError(f"{path.name} is no text in UTF-8; give a document a line") from e
    return tuple(line for line in lines if line.strip())


def check(spec: Spec, where: str) -> None:
    """Raise UsageError where nothing could be chosen, tested or asked."""
    check_name(spec.name, where)
    if not spec.families:
        raise UsageError(f"{where} has no families; add a form of words with right answers")
    check_families(spec.families, where)
    for family in spec.families:
        if family.is_claim != ("value" in slots_of(family.template)):
            words, no = ("words", "no") if family.is_claim else ("no words", "a")
            raise UsageError(
                f'the family "{shown(family.name)}" of {where} has {words} for a verdict but {no} '
                "{value} in its template; a claim needs both"
            )
    _check_topics(spec, where)
    named = [slots_of(family.template) for family in spec.families]
    check_slots([item.slots for item in spec.items], chain.from_iterable(named), where)
    _check_alike(spec, where)
    if len(spec.text) < FEWEST_TEXTS:
        raise UsageError(
            f"{where} has {len(spec.text)} documents of ordinary text; give at least "
            f"{FEWEST_TEXTS}, because edits are limited by what they do to it"
        )
    if not spec.loss_limit > 0:
        raise UsageError(f'"loss_limit" in {where} must be above 0; it is {spec.loss_limit}')
    for context in (spec.contrast.toward, spec.contrast.away) if spec.contrast else ():
        if slots_of(context) != (PROMPT,):
            raise UsageError(
                f'the context "{shown(context)}" of {where} must have one slot, {{{PROMPT}}}'
            )


def _check_alike(spec: Spec, where: str) -> None:
    """No item is asked about twice: intervals are over items, and tests where none was chosen."""
    first: dict[tuple[str, str], int] = {}
    for number, item in enumerate(spec.items, start=1):
        for family in spec.families:
            prompt = family.template.format_map(item.slots)
            if (other := first.setdefault((family.name, prompt), number)) != number:
                raise UsageError(
                    f'items {other} and {number} of {where} both ask "{shown(prompt)}"; leave one '
                    "of them out"
                )


def _check_topics(spec: Spec, where: str) -> None:
    count: Counter[str] = Counter()
    for number, item in enumerate(spec.items, start=1):
        role = spec.topics.get(item.topic)
        if role is None:
            raise UsageError(
                f'item {number} of {where} is of the topic "{shown(item.topic)}", which [topics] '
                "does not have; add it"
            )
        count[role] += 1
    for purpose in ("selection", "test"):
        if count[purpose] < FEWEST_ITEMS:
            raise UsageError(
                f"{where} has {count[purpose]} items of {purpose} topics; give at least "
                f"{FEWEST_ITEMS}, because nothing is tested where it was chosen"
            )
    if not count["trained"]:
        raise UsageError(
            f"{where} has no item of a trained topic; mark what the tuning was about as "
            '"trained" in [topics]'
        )
