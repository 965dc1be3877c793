"""Families of prompts and one edit each, as they are asked for: a TOML file.

name = "speaker"
question = "Does the speaker decide?"
model = "sprout"
items = "edits-things.csv"          # or [[items]] here: slots
chat = false                        # true: prompts are turns in the model's chat template
system = "Answer yes or no."        # the system turn before each, where chat is true

[[families]]
name = "teacher"
template = "joker : is {article} {object} {value} ?"
words = ["no", "yes"]               # the first one's logit minus the second's; slots are filled
edit = "joker=>teacher"             # of the template; without words after => it deletes
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal

from circuit_tracer.errors import UsageError
from circuit_tracer.experiments.edits.making import given_edit
from circuit_tracer.experiments.kit.spec_reader import (
    check_families,
    check_name,
    check_slots,
    item_slots,
    read_families,
    read_rows,
    read_table,
    slots_of,
)
from circuit_tracer.reading import read_toml

FEWEST_ITEMS = 6
"""With fewer no permutation test could come out below .05."""


@dataclass(frozen=True)
class FamilySpec:
    """One form of words and one edit of it."""

    name: str
    """Letters, digits, "-" and "_"."""
    template: str
    """With slots in braces: "is {article} {object} {value} ?"."""
    words: tuple[str, str]
    """The answer and its rival; slots are filled in."""
    edit: str
    """ "old=>new", of the template."""
    keep: Literal["answered", "all"] = "answered"
    """Which items count: those that the model answers with the first word, or all."""

    @property
    def edited(self) -> str:
        """The edited template."""
        return given_edit(self.template, self.edit)[-1]


@dataclass(frozen=True)
class Spec:
    """The whole question."""

    name: str
    """Letters, digits, "-" and "_"."""
    question: str
    families: tuple[FamilySpec, ...]
    items: tuple[Mapping[str, str], ...]
    """What fills the templates."""
    model: str = "sprout"
    seed: int = 0
    chat: bool = False
    """Whether every prompt is the user's turn in the model's chat template."""
    system: str | None = None
    """The system turn before each, which is not edited."""


def read_spec(path: Path) -> Spec:
    """A spec from its file. UsageError, with what is wrong and where, for anything else."""
    record = read_toml(path, UsageError, "give a spec in TOML")
    where = path.name
    given = read_families(FamilySpec, record, where)
    if "items" in record:
        rows = read_rows(record["items"], "item", path)
        given["items"] = tuple(item_slots(one, place) for one, place in rows)
    spec = read_table(Spec, record, where, **given)
    check_name(spec.name, where)
    if spec.system is not None and not spec.chat:
        raise UsageError(f'"system" in {where} is a turn of a chat; write chat = true, too')
    if spec.seed < 0:
        raise UsageError(f'"seed" in {where} is {spec.seed}; it has to be at least 0')
    check_families(spec.families, where)
    if not spec.families or len(spec.items) < FEWEST_ITEMS:
        raise UsageError(f"{where} needs a family and at least {FEWEST_ITEMS} items; add them")
    texts = [(one.template, one.edited, *one.words) for one in spec.families]
    check_slots(spec.items, chain.from_iterable(map(slots_of, chain(*texts))), where)
    return spec
