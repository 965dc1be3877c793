"""What a spec must be for an experiment: two routes, templates that can be filled in, items enough.

Every mistake is a UsageError of one sentence that says what is wrong, where, and what to do.
"""

from __future__ import annotations

from circuit_tracer.errors import UsageError
from circuit_tracer.experiments.dissociation.spec import FamilySpec, Spec

FEWEST_ITEMS = 4
LONGEST_SHOWN = 60
"""Characters of what somebody wrote that a message repeats."""


def shown(text: str) -> str:
    """What somebody wrote, in a message: short, and with nothing in it that acts on a terminal."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return plain if len(plain) <= LONGEST_SHOWN else f"{plain[: LONGEST_SHOWN - 1]}…"


def check_families(spec: Spec, where: str) -> None:
    """Both routes are there, and every family can be asked."""
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
                f'{place} is a paraphrase of "{shown(family.paraphrase_of)}", which is no family '
                "of its own; name one that is"
            )
        if (said.route, said.is_claim) != (family.route, family.is_claim):
            raise UsageError(
                f'{place} and "{said.name}", which it says again, are of two routes; mend one'
            )


def check_items(spec: Spec, where: str) -> None:
    """Enough items, no two alike, each with all that the families name."""
    if len(spec.items) < FEWEST_ITEMS:
        raise UsageError(f"{where} has {len(spec.items)} items; give at least {FEWEST_ITEMS}")
    needed = {slot for family in spec.families for slot in (*family.slots, family.answer)}
    answers = {family.answer for family in spec.families}
    answers |= {"other"} if any("other" in item.slots for item in spec.items) else set()
    first = spec.families[0].object
    for number, item in enumerate(spec.items, start=1):
        for slot in sorted(needed):
            if slot not in item.slots:
                raise UsageError(
                    f'item {number} of {where} has no "{slot}", which a family names; add it'
                )
        value = item.slots.get("value")
        if "other" in item.slots and item.slots["other"] == value:
            raise UsageError(f'item {number} of {where} has "other" equal to "value"; change it')
    objects = [item.slots[first] for item in spec.items]
    twice = next((one for one in objects if objects.count(one) > 1), None)
    if twice is not None:
        raise UsageError(f'two items of {where} are of "{shown(twice)}"; leave one of them out')
    if spec.representative is not None and spec.representative not in objects:
        raise UsageError(
            f'the representative "{shown(spec.representative)}" of {where} is no item; name the '
            f'"{first}" of one'
        )
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
