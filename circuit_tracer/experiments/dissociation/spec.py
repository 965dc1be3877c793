"""A two-route experiment as it is asked for: a TOML file, checked before any model is opened.

    name = "bananas"
    question = "Do completions and judgements draw on one store?"
    model = "sprout"
    keep = "right"              # or "own": what the model itself affirms counts as true
    representative = "banana"   # the object that is drawn
    unrelated = ["the capital of france is"]

    [[families]]
    name = "completion"
    route = "fact"
    template = "{article} {object} is"

    [[families]]
    name = "yes_no"
    route = "judgement"
    template = "is {article} {object} {value} ?"
    words = ["yes", "no"]       # a claim: it names a value and asks for a verdict

    [[items]]
    object = "banana"
    article = "a"
    value = "yellow"

Items may stand in a CSV file instead (`items = "things.csv"`), a column a slot. Without an `other`
for every item, each is asked with another item's value as the false one, every value as often true
as false. A family names the slot that stands for its object (`object = "city"`) and the slot that
it answers with (`answer = "opposite"`), where they are not `object` and `value`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Literal, get_args

from circuit_tracer.errors import UsageError
from circuit_tracer.experiments.kit.spec_reader import (
    check_families,
    check_name,
    check_slots,
    item_slots,
    read_csv,
    read_families,
    read_table,
    shown,
    slots_of,
)
from circuit_tracer.reading import read_toml

Route = Literal["fact", "judgement"]
Keep = Literal["right", "own"]
FEWEST_ITEMS = 4


@dataclass(frozen=True)
class Form:
    """A family of prompts: one form of words in which the spec asks about every item."""

    name: str
    """Letters, digits, "-" and "_": it names a folder."""
    route: Route
    template: str
    """With slots in braces: "is {article} {object} {value} ?"."""
    words: tuple[str, str] | None = None
    """For a true and for a false claim, as ("yes", "no"); None where the value is asked for."""
    paraphrase_of: str | None = None
    """The family it paraphrases, for the ceiling; such families are measured nowhere else."""
    use: Literal["all", "direction"] = "all"
    """"direction": read by the truth direction alone, of no route."""


@dataclass(frozen=True)
class FamilySpec(Form):
    """A family as the spec has it."""

    object: str = "object"
    """The slot that stands for the object."""
    answer: str = "value"
    """The slot of the value."""

    @property
    def is_claim(self) -> bool:
        """Whether it names a value and asks for a verdict."""
        return self.words is not None


@dataclass(frozen=True)
class ItemSpec:
    """One object and what is true of it."""

    slots: Mapping[str, str]
    """What fills the templates."""
    held_out: bool = False
    """Whether the model was never trained to judge it."""


@dataclass(frozen=True)
class Spec:
    """The whole experiment."""

    name: str
    """Letters, digits, "-" and "_": it names a folder."""
    question: str
    """In a sentence."""
    families: tuple[FamilySpec, ...]
    items: tuple[ItemSpec, ...]
    model: str = "sprout"
    transcoders: str | None = None
    """None for the model's own."""
    seed: int = 0
    """Of all that is drawn at random."""
    keep: Keep = "right"
    """Which items are kept: those answered rightly, or those answered one way or the other."""
    representative: str | None = None
    """The object that is drawn."""
    unrelated: tuple[str, ...] = ()
    """Prompts whose graphs are the floor of the overlap."""
    trace: Mapping[str, Any] = field(default_factory=dict)
    """Settings of every trace: max_feature_nodes, coverage."""

    def of_route(self, route: Route) -> tuple[FamilySpec, ...]:
        """Its families but for paraphrases and those for the truth direction alone."""
        return tuple(family for family in self.measured if family.route == route)

    @property
    def measured(self) -> tuple[FamilySpec, ...]:
        """The families of both routes: no paraphrases, none for the truth direction alone."""
        return tuple(f for f in self.families if f.paraphrase_of is None and f.use == "all")

    @property
    def asked(self) -> tuple[FamilySpec, ...]:
        """All whose answers are reported: `measured`, and those for the truth direction."""
        return tuple(f for f in self.families if f.paraphrase_of is None)


def check(spec: Spec, where: str) -> None:
    """Two routes, families that can be asked, items enough, each with all that families name."""
    check_name(spec.name, where)
    check_families(spec.families, where)
    for route in get_args(Route):
        if not spec.of_route(route):
            raise UsageError(
                f"{where} has no {route} family (paraphrases do not count); add one, since two "
                "routes are compared"
            )
    for family in spec.families:
        place = f'the family "{family.name}" of {where}'
        _check_family(family, place)
        _check_paraphrase(family, spec, place)
    if not all(prompt.strip() for prompt in spec.unrelated):
        raise UsageError(f'"unrelated" in {where} has an empty prompt; leave it out')
    _check_items(spec, where)
    _check_others(spec, where)
    if not spec.trace.get("max_feature_nodes", 1) >= 1:
        raise UsageError(
            f'"max_feature_nodes" in [trace] of {where} must be at least 1; it is '
            f"{spec.trace['max_feature_nodes']}"
        )
    if not 0 < spec.trace.get("coverage", 1.0) <= 1:
        raise UsageError(
            f'"coverage" in [trace] of {where} must lie above 0 and at most at 1; it is '
            f"{spec.trace['coverage']}"
        )


def _check_family(family: FamilySpec, place: str) -> None:
    """Its template has the slots that it needs, and its words, route and use go together."""
    slots, answer = slots_of(family.template), f'"{{{family.answer}}}"'
    if family.object not in slots:
        raise UsageError(f'the template of {place} lacks its object, "{{{family.object}}}"; add it')
    if family.is_claim and family.answer not in slots:
        raise UsageError(f"{place} has words for a verdict but no {answer} in its template; add it")
    if not family.is_claim and family.answer in slots:
        raise UsageError(
            f"the template of {place} gives its own answer away; leave {answer} out, or add words "
            "for a verdict"
        )
    if family.route == "fact" and family.is_claim:
        raise UsageError(f"{place} asks for a verdict, so its route is judgement; set it so")
    if family.use == "direction" and (not family.is_claim or family.paraphrase_of is not None):
        raise UsageError(
            f"{place} is for the truth direction alone, so it needs words for a verdict and is no "
            "paraphrase; fix it"
        )


def _check_paraphrase(family: FamilySpec, spec: Spec, place: str) -> None:
    if family.paraphrase_of is None:
        return
    original = {one.name: one for one in spec.families}.get(family.paraphrase_of)
    if original is None or original is family or original.paraphrase_of is not None:
        raise UsageError(
            f'{place} is a paraphrase of "{shown(family.paraphrase_of)}", which is no family of '
            "its own; name one that is"
        )
    if (original.route, original.is_claim) != (family.route, family.is_claim):
        raise UsageError(
            f'{place} and "{original.name}", which it paraphrases, are of two routes; fix one'
        )


def _check_items(spec: Spec, where: str) -> None:
    """Enough items, no two alike, each with all that the families name."""
    if len(spec.items) < FEWEST_ITEMS:
        raise UsageError(f"{where} has {len(spec.items)} items; give at least {FEWEST_ITEMS}")
    named = [(*slots_of(family.template), family.answer) for family in spec.families]
    check_slots([item.slots for item in spec.items], chain.from_iterable(named), where)
    first = spec.families[0].object
    objects = [item.slots[first] for item in spec.items]
    twice = next((one for one in objects if objects.count(one) > 1), None)
    if twice is not None:
        raise UsageError(f'two items of {where} are of "{shown(twice)}"; leave one of them out')
    if spec.representative is not None and spec.representative not in objects:
        raise UsageError(
            f'the representative "{shown(spec.representative)}" of {where} is no item; name the '
            f'"{first}" of one'
        )


def _check_others(spec: Spec, where: str) -> None:
    """False values are given for all items or none, and differ from the true ones."""
    given = [item for item in spec.items if "other" in item.slots]
    for number, item in enumerate(spec.items, start=1):
        if item.slots.get("other", "") == item.slots.get("value"):
            raise UsageError(f'item {number} of {where} has "other" equal to "value"; change it')
    if len(given) not in (0, len(spec.items)):
        raise UsageError(
            f'{len(given)} items of {where} have an "other" and the rest do not; give all or none'
        )
    if given and any(family.answer != "value" for family in spec.families):
        raise UsageError(
            f'"other" in {where} goes with "value", but a family answers with another slot; leave '
            "other out: each item is then asked with another item's values"
        )


@dataclass(frozen=True)
class _Trace:
    """What [trace] may set."""

    max_feature_nodes: int = 1
    coverage: float = 1.0


def read_spec(path: Path) -> Spec:
    """A spec from its file. UsageError, with what is wrong and where, for anything else."""
    record = read_toml(path, UsageError, "give a spec in TOML")
    where = path.name
    given = read_families(FamilySpec, record, where)
    if isinstance(items := record.get("items"), str):
        items = [_csv_item(row, items, line) for line, row in read_csv(path.parent / items)]
    if isinstance(items, list):
        given["items"] = tuple(_item(one, i, where) for i, one in enumerate(items, start=1))
    if "trace" in record:
        read_table(_Trace, record["trace"], f"[trace] of {where}")
    spec = read_table(Spec, record, where, **given)
    check(spec, where)
    return spec


def _item(record: Any, number: int, where: str) -> ItemSpec:
    place = f"item {number} of {where}"
    slots = item_slots(record, place, apart="held_out")
    held_out = record.get("held_out", False)
    if not isinstance(held_out, bool):
        raise UsageError(f'"held_out" of {place} must be true or false')
    return ItemSpec(slots, held_out)


_YES, _NO = ("true", "1", "yes"), ("false", "0", "no", "")


def _csv_item(row: Mapping[str, str], name: str, line: int) -> dict[str, Any]:
    """A row with `held_out` as a truth value."""
    held_out = row.get("held_out", "").strip().lower()
    if held_out not in (*_YES, *_NO):
        raise UsageError(
            f'"held_out" in line {line} of {name} must be true or false; it is "{shown(held_out)}"'
        )
    return {**row, **({"held_out": held_out in _YES} if "held_out" in row else {})}
