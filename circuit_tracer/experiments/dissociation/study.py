"""What every step of the experiment works with: model, dictionary, items, and how much is done."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

from circuit_tracer.attribution.settings import TraceSettings
from circuit_tracer.attribution.tracing import Labels
from circuit_tracer.experiments.dissociation.items import Item, make_ask, make_items
from circuit_tracer.experiments.dissociation.spec import FamilySpec, Spec
from circuit_tracer.experiments.kit.passes import Ask, check_asks
from circuit_tracer.experiments.kit.study import SpecSettings
from circuit_tracer.graphs.bootstrap import Bootstrap
from circuit_tracer.graphs.files.json_values import stored_as
from circuit_tracer.models import Model
from circuit_tracer.transcoders.neurons import AnyDictionary


@dataclass(frozen=True, kw_only=True)
class Settings(SpecSettings):
    """How much is measured."""

    FEW: ClassVar[dict[str, Any]] = {
        "most_items": 8, "compared": 2, "random_sets": 5, "permutations": 5, "random_heads": 5,
        "resamples": 1000,
    }  # fmt: skip
    compared: int = 24
    """Items whose graphs are compared with each other."""
    random_sets: int = 20
    # The stored name, part of the key of stages, keeps its first spelling.
    permutations: int = field(default=20, metadata=stored_as("deals"))
    """Of the labels."""
    random_heads: int = 20
    resamples: int = 2000


@dataclass(frozen=True)
class Study:
    """One experiment on one model."""

    model: Model
    dictionary: AnyDictionary
    spec: Spec
    settings: Settings
    labels: Labels | None = None
    """Of features, from their cards."""

    @cached_property
    def items(self) -> tuple[Item, ...]:
        """All that are asked about."""
        return make_items(self.spec, most=self.settings.most_items)

    @cached_property
    def half(self) -> dict[int, int]:
        """Item -> the half of the objects it is in."""
        return {item.index: item.half for item in self.items}

    @cached_property
    def early_layers(self) -> int:
        """How many layers count as early: the first third, at least one."""
        return max(1, self.model.n_layers // 3)

    def n_zeroed(self, ask: Ask) -> int:
        """Leading positions of a prompt without features."""
        return self.model.zeroed_positions(list(ask.ids))

    @property
    def facts(self) -> tuple[FamilySpec, ...]:
        """Families of the fact route, without paraphrases."""
        return self.spec.of_route("fact")

    @property
    def judgements(self) -> tuple[FamilySpec, ...]:
        """Families of the judgement route, without paraphrases."""
        return self.spec.of_route("judgement")

    @property
    def claims(self) -> tuple[FamilySpec, ...]:
        """Those of them that make claims."""
        return tuple(family for family in self.judgements if family.is_claim)

    @property
    def read_for_truth(self) -> tuple[FamilySpec, ...]:
        """All that make claims, those for the truth direction alone as well."""
        return tuple(family for family in self.spec.asked if family.is_claim)

    @property
    def size(self) -> str:
        """What is to be done, in a line."""
        families, settings = self.spec.measured, self.settings
        graphs = sum(2 if family.is_claim else 1 for family in families) * len(self.items)
        a_set = 3 * (3 * (1 + settings.random_sets) + 2 * settings.permutations)
        return (
            f"{len(self.items)} items in {len(families)} forms: up to {graphs:,} graphs and "
            f"{graphs * a_set:,} ablations"
        )

    def check(self) -> None:
        """Raise PromptError for any prompt that cannot be asked, before the first is.

        Paraphrases and unrelated prompts have their turn after hours of work with a large model.
        """
        items = {item.name: item for item in self.items}
        check_asks(self.spec.families, items, self.both_claims)
        for prompt in self.spec.unrelated:
            self.model.tokenize(prompt)

    def ask(self, family: FamilySpec, item: Item, claim: str | None = None) -> Ask:
        """One prompt."""
        return make_ask(self.model, family, item, claim=claim)

    def both_claims(self, family: FamilySpec, item: Item) -> tuple[Ask, ...]:
        """The true and the false claim, or the one prompt of a family without claims."""
        if not family.is_claim:
            return (self.ask(family, item),)
        return (self.ask(family, item), self.ask(family, item, item.other[family.answer]))

    def trace_settings(self, contrast: str | None = None) -> TraceSettings:
        """Of a trace that explains a contrast of two words, or the model's own first choices."""
        return TraceSettings(contrast=contrast, **self.spec.trace)

    def bootstrap(self, n: int, stream: int) -> Bootstrap:
        """Draws of n objects; every step has a stream of random numbers to itself."""
        return Bootstrap(n, resamples=self.settings.resamples, seed=self.settings.seed + stream)
