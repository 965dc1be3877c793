"""The spec of a two-route experiment: a TOML file, checked before any model is opened.

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

import csv
import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from string import Formatter
from typing import Any, Literal

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.dissociation import Route

Keep = Literal["right", "own"]
Use = Literal["all", "direction"]
_TOP = {
    "name": str,
    "question": str,
    "model": str,
    "transcoders": str,
    "seed": int,
    "keep": str,
    "representative": str,
    "unrelated": list,
    "families": list,
    "items": (list, str),
    "trace": dict,
}
_FAMILY = {
    "name": str,
    "route": str,
    "template": str,
    "words": list,
    "object": str,
    "answer": str,
    "paraphrase_of": str,
    "use": str,
}
_TRACE = {"max_feature_nodes": int, "coverage": float}
FEWEST_ITEMS = 4


@dataclass(frozen=True)
class FamilySpec:
    """One form in which the model is asked."""

    name: str
    route: Route
    template: str
    words: tuple[str, str] | None = None
    """For a true and for a false claim; None where the value itself is asked for."""
    object: str = "object"
    """The slot that stands for the object."""
    answer: str = "value"
    """The slot of the value."""
    paraphrase_of: str | None = None
    use: Use = "all"
    """"direction": it is read by the truth direction alone, and belongs to no route."""

    @property
    def is_claim(self) -> bool:
        """Whether it names a value and asks for a verdict."""
        return self.words is not None

    @property
    def slots(self) -> tuple[str, ...]:
        """Slots of the template, in order."""
        return slots_of(self.template)


@dataclass(frozen=True)
class ItemSpec:
    """One object and what is true of it."""

    slots: Mapping[str, str]
    held_out: bool = False
    """Whether the model was never trained to judge it."""


@dataclass(frozen=True)
class Spec:
    """The whole experiment."""

    name: str
    question: str
    families: tuple[FamilySpec, ...]
    items: tuple[ItemSpec, ...]
    model: str = "sprout"
    transcoders: str | None = None
    seed: int = 0
    keep: Keep = "right"
    representative: str | None = None
    unrelated: tuple[str, ...] = ()
    trace: Mapping[str, float] = field(default_factory=dict)
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

    @property
    def fingerprint(self) -> str:
        """What tells one spec from another."""
        text = json.dumps(asdict(self), sort_keys=True, default=dict)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_spec(path: Path) -> Spec:
    """A spec from its file. UsageError, with what is wrong and where, for anything else."""
    try:
        record = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        raise UsageError(f"{path} cannot be read ({e}); give a spec in TOML") from e
    where = path.name
    _check_keys(record, _TOP, where)
    for key in ("name", "question", "families", "items"):
        if key not in record:
            raise UsageError(f'{where} has no "{key}"; add it')
    items = record["items"]
    given = _read_csv(path.parent / items) if isinstance(items, str) else items
    trace = record.get("trace", {})
    _check_keys(trace, _TRACE, f"[trace] of {where}")
    spec = Spec(
        name=_slug(record["name"], where),
        question=record["question"],
        families=tuple(_family(one, where) for one in record["families"]),
        items=tuple(_item(one, i, where) for i, one in enumerate(given, start=1)),
        model=record.get("model", "sprout"),
        transcoders=record.get("transcoders"),
        seed=record.get("seed", 0),
        keep=_one_of(record.get("keep", "right"), ("right", "own"), "keep", where),
        representative=record.get("representative"),
        unrelated=tuple(_texts(record.get("unrelated", []), "unrelated", where)),
        trace=dict(trace),
    )
    _check_families(spec, where)
    _check_items(spec, where)
    return spec


def slots_of(template: str) -> tuple[str, ...]:
    """The slots of a template, in order. UsageError for one that cannot be filled in."""
    try:
        parsed = list(Formatter().parse(template))
    except ValueError as e:
        raise UsageError(
            f'the template "{template}" cannot be read ({e}); write slots as {{object}}'
        ) from e
    for _, name, form, conversion in parsed:
        if name is not None and (not name.isidentifier() or form or conversion):
            raise UsageError(
                f'the template "{template}" has a slot that is no plain name; write {{object}}'
            )
    return tuple(name for _, name, _, _ in parsed if name)


def _check_keys(record: Any, known: Mapping[str, Any], where: str) -> None:
    if not isinstance(record, dict):
        raise UsageError(f"{where} has something other than a table of keys; mend it")
    for key, value in record.items():
        if key not in known:
            raise UsageError(f'{where} sets "{key}", which means nothing; use {", ".join(known)}')
        kinds = known[key] if isinstance(known[key], tuple) else (known[key],)
        kinds = (*kinds, int) if float in kinds else kinds
        if not isinstance(value, kinds) or isinstance(value, bool):
            names = " or ".join(_KINDS[kind] for kind in kinds)
            raise UsageError(f'"{key}" in {where} must be {names}; it is {value!r}')


_KINDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "a table",
}


def _slug(name: str, where: str) -> str:
    if not name or not all(c.isalnum() or c in "-_" for c in name) or len(name) > 60:
        raise UsageError(
            f'"name" in {where} must be letters, digits, "-" and "_", because it names a folder; '
            f'it is "{name}"'
        )
    return name


def _one_of(value: Any, allowed: tuple[str, ...], key: str, where: str) -> Any:
    if value not in allowed:
        raise UsageError(f'"{key}" in {where} must be {" or ".join(allowed)}; it is "{value}"')
    return value


def _texts(values: Any, key: str, where: str) -> list[str]:
    if not all(isinstance(value, str) and value.strip() for value in values):
        raise UsageError(f'"{key}" in {where} must be a list of texts; mend it')
    return list(values)


def _family(record: Any, where: str) -> FamilySpec:
    name = record.get("name", "?") if isinstance(record, dict) else "?"
    place = f'the family "{name}" of {where}'
    _check_keys(record, _FAMILY, place)
    for key in ("name", "route", "template"):
        if key not in record:
            raise UsageError(f'{place} has no "{key}"; add it')
    words = record.get("words")
    if words is not None and (len(_texts(words, "words", place)) != 2 or words[0] == words[1]):
        raise UsageError(f'"words" of {place} must be two words, as in ["yes", "no"]')
    return FamilySpec(
        name=_slug(name, where),
        route=_one_of(record["route"], ("fact", "judgement"), "route", place),
        template=record["template"],
        words=None if words is None else (words[0], words[1]),
        object=record.get("object", "object"),
        answer=record.get("answer", "value"),
        paraphrase_of=record.get("paraphrase_of"),
        use=_one_of(record.get("use", "all"), ("all", "direction"), "use", place),
    )


def _item(record: Any, number: int, where: str) -> ItemSpec:
    if not isinstance(record, dict):
        raise UsageError(f"item {number} of {where} is no table; write [[items]] and its slots")
    slots = {key: value for key, value in record.items() if key != "held_out"}
    for key, value in slots.items():
        if not isinstance(value, str) or not value.strip():
            raise UsageError(f'"{key}" of item {number} of {where} must be text; it is {value!r}')
    held_out = record.get("held_out", False)
    if not isinstance(held_out, bool):
        raise UsageError(f'"held_out" of item {number} of {where} must be true or false')
    return ItemSpec(slots, held_out)


def _read_csv(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = [dict(row) for row in csv.DictReader(stream)]
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise UsageError(f"the items {path.name} cannot be read ({e}); give a CSV file") from e
    for row in rows:
        if "held_out" in row:
            row["held_out"] = str(row["held_out"]).strip().lower() in ("true", "1", "yes")
    return rows


def _check_families(spec: Spec, where: str) -> None:
    names = [family.name for family in spec.families]
    if len(set(names)) < len(names):
        raise UsageError(f"two families of {where} have one name; give each its own")
    for route in ("fact", "judgement"):
        if not spec.of_route(route):
            raise UsageError(
                f"{where} has no {route} family (paraphrases do not count); add one, since two "
                "routes are compared"
            )
    for family in spec.families:
        _check_family(family, spec, where)


def _check_family(family: FamilySpec, spec: Spec, where: str) -> None:
    place, slots = f'the family "{family.name}" of {where}', family.slots
    if family.object not in slots:
        raise UsageError(f'the template of {place} lacks its object, "{{{family.object}}}"; add it')
    if family.is_claim and family.answer not in slots:
        raise UsageError(
            f'{place} has words for a verdict but no "{{{family.answer}}}" in its template; add it'
        )
    if not family.is_claim and family.answer in slots:
        raise UsageError(
            f"the template of {place} gives its own answer away; leave "
            f'"{{{family.answer}}}" out, or add words for a verdict'
        )
    if family.route == "fact" and family.is_claim:
        raise UsageError(f"{place} asks for a verdict, so its route is judgement; set it so")
    if family.use == "direction" and (not family.is_claim or family.paraphrase_of is not None):
        raise UsageError(
            f"{place} is for the truth direction alone, so it needs words for a verdict and is no "
            "paraphrase; mend it"
        )
    if family.paraphrase_of is not None:
        said = {one.name: one for one in spec.families}.get(family.paraphrase_of)
        if said is None or said is family or said.paraphrase_of is not None:
            raise UsageError(
                f'{place} is a paraphrase of "{family.paraphrase_of}", which is no family of its '
                "own; name one that is"
            )
        if (said.route, said.is_claim) != (family.route, family.is_claim):
            raise UsageError(
                f'{place} and "{said.name}", which it says again, are of two routes; mend one'
            )


def _check_items(spec: Spec, where: str) -> None:
    if len(spec.items) < FEWEST_ITEMS:
        raise UsageError(f"{where} has {len(spec.items)} items; give at least {FEWEST_ITEMS}")
    needed = {slot for family in spec.families for slot in (*family.slots, family.answer)}
    first = spec.families[0].object
    for number, item in enumerate(spec.items, start=1):
        for slot in sorted(needed):
            if slot not in item.slots:
                raise UsageError(f'item {number} of {where} has no "{slot}"; add it')
        value = item.slots.get("value")
        if "other" in item.slots and item.slots["other"] == value:
            raise UsageError(f'item {number} of {where} has "other" equal to "value"; change it')
    objects = [item.slots[first] for item in spec.items]
    twice = next((one for one in objects if objects.count(one) > 1), None)
    if twice is not None:
        raise UsageError(f'two items of {where} are of "{twice}"; leave one of them out')
    if spec.representative is not None and spec.representative not in objects:
        raise UsageError(f'the representative "{spec.representative}" of {where} is no item')
    given = sum("other" in item.slots for item in spec.items)
    if given not in (0, len(spec.items)):
        raise UsageError(
            f'{given} items of {where} have an "other" and the rest do not; give all or none'
        )
    if given and any(family.answer != "value" for family in spec.families):
        raise UsageError(
            f'"other" in {where} stands beside "value", but a family answers with another slot; '
            "leave other out: each item is then asked with another item's values"
        )
