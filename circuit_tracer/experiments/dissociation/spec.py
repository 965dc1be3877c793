"""A two-route experiment as it was asked for: families of prompts with slots, items, settings.

Its file is read in spec_file.py; what it must be is in spec_checks.py.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from string import Formatter
from typing import Literal

from circuit_tracer.errors import UsageError, reason
from circuit_tracer.experiments.dissociation.results import Route

Keep = Literal["right", "own"]
Use = Literal["all", "direction"]


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


def slots_of(template: str) -> tuple[str, ...]:
    """The slots of a template, in order. UsageError for one that cannot be filled in."""
    try:
        parsed = list(Formatter().parse(template))
    except ValueError as e:
        raise UsageError(
            f'the template "{template}" cannot be read ({reason(e)}); write slots as {{object}}'
        ) from e
    for _, name, form, conversion in parsed:
        if name is not None and (not name.isidentifier() or form or conversion):
            raise UsageError(
                f'the template "{template}" has a slot that is no plain name; write {{object}}'
            )
    return tuple(name for _, name, _, _ in parsed if name)
