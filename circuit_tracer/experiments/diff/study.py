"""What every step works with: two models of one architecture, prompts, and how much is done; and
what a step is: something measured and stored as a stage, and the tables made of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from typing import Any, ClassVar, Generic, Literal, TypeVar, cast, get_args

import numpy as np

from circuit_tracer.attribution.tracing import Labels
from circuit_tracer.errors import PromptError, UsageError
from circuit_tracer.experiments.diff.spec import PROMPT, FamilySpec, ItemSpec, Role, Spec
from circuit_tracer.experiments.kit.passes import Ask, answer_ids, check_asks
from circuit_tracer.experiments.kit.stages import Row
from circuit_tracer.experiments.kit.statistics import means_by
from circuit_tracer.experiments.kit.study import Progress, SpecSettings
from circuit_tracer.experiments.kit.tables import Table
from circuit_tracer.graphs.bootstrap import Bootstrap
from circuit_tracer.graphs.graph import Floats
from circuit_tracer.models import Model
from circuit_tracer.transcoders.dictionary import Dictionary
from circuit_tracer.transcoders.neurons import AnyDictionary

FEWEST_TOKENS = 6
"""Of a document of ordinary text: the tuning's traces are read from the first five after BOS."""
Side = Literal["base", "tuned"]
SIDES: tuple[Side, ...] = ("base", "tuned")


@dataclass(frozen=True, kw_only=True)
class Settings(SpecSettings):
    """How much is measured; `most_items` are those of each role."""

    FEW: ClassVar[dict[str, Any]] = {
        "most_items": 12, "most_located": 12, "most_split": 2, "most_texts": 24, "resamples": 500,
        "bands": 4, "tops": 10, "doses": (0.5, 1.0, 2.0), "random_tens": 4, "matched_tens": 2,
    }  # fmt: skip
    most_located: int = 60
    """Items, not of trained topics, by which weights are located."""
    most_split: int = 12
    """Items of test topics on which changed edges are taken apart."""
    most_texts: int | None = None
    resamples: int = 2000
    bands: int = 8
    """Of layers, where there are too many to look at one by one."""
    tops: int = 35
    """Features of each ranking among the candidates."""
    doses: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0)
    """In sizes of the shift."""
    random_tens: int = 20
    matched_tens: int = 10


@dataclass(frozen=True)
class Study:
    """One comparison of two models."""

    base: Model
    tuned: Model
    dictionaries: tuple[AnyDictionary, ...]
    """Of the base: transcoders, sparse autoencoders of the residual stream."""
    spec: Spec
    settings: Settings
    labels: Mapping[str, Labels] = field(default_factory=dict)
    """Of features, from their cards, by a dictionary's name."""

    def model(self, side: Side) -> Model:
        """The base or the tuned model."""
        return self.base if side == "base" else self.tuned

    @cached_property
    def items(self) -> tuple[ItemSpec, ...]:
        """All that are asked about; where they are to be few, so many of each role."""
        given = self.spec.items
        found: list[int] = []
        for role in get_args(Role):
            numbers = [i for i, one in enumerate(given) if self.spec.topics[one.topic] == role]
            found += _in_turn(numbers, lambda i: given[i].topic)[: self.settings.most_items]
        return tuple(given[i] for i in sorted(found))

    @cached_property
    def texts(self) -> tuple[tuple[int, ...], ...]:
        """Token ids of the ordinary text."""
        chosen = self.spec.text[: self.settings.most_texts]
        return tuple(tuple(self.base.tokenize(text)) for text in chosen)

    @cached_property
    def asks(self) -> tuple[Ask, ...]:
        """Every item in every family, a true and a false claim each where it makes claims.

        `item` is its number in `items`, `plus` the right answer and `minus` the wrong one.
        """
        return self.some_asks(*get_args(Role), families=self.spec.families)

    def some_asks(
        self,
        *roles: Role,
        families: Iterable[FamilySpec] | None = None,
        most: int | None = None,
        context: str | None = None,
    ) -> tuple[Ask, ...]:
        """Of topics for some purposes, in some families (the main one), of so many items.

        `context` is what prompts are put into, as the spec's contrast has it.
        """
        wanted = (self.spec.main,) if families is None else tuple(families)
        numbers = [i for i in range(len(self.items)) if self.role(i) in roles]
        chosen = _in_turn(numbers, self.topic)[:most]
        return tuple(
            ask
            for family in wanted
            for number in sorted(chosen)
            for ask in self.both_claims(family, number, context)
        )

    def held_out(self, context: str | None = None, *, most: int | None = None) -> tuple[Ask, ...]:
        """Held-out prompts of the main form, in a context or alone."""
        return self.some_asks("selection", "test", context=context, most=most)

    @cached_property
    def located(self) -> tuple[Ask, ...]:
        """Held-out prompts by which weights are located and dictionaries tried."""
        return self.held_out(most=self.settings.most_located)

    @cached_property
    def split(self) -> tuple[Ask, ...]:
        """Test prompts of the main form on which changes of edges are taken apart."""
        return self.some_asks("test", most=self.settings.most_split)

    @property
    def residual(self) -> Dictionary | None:
        """The sparse autoencoder of the residual stream; the first, where several were given."""
        kinds = [one for one in self.dictionaries if isinstance(one, Dictionary)]
        return next((one for one in kinds if one.kind == "sae"), None)

    def topic(self, number: int) -> str:
        """Of an item."""
        return self.items[number].topic

    def role(self, number: int) -> Role:
        """What an item's topic is for."""
        return self.spec.topics[self.topic(number)]

    def both_claims(
        self, family: FamilySpec, number: int, context: str | None = None
    ) -> tuple[Ask, ...]:
        """The true and the false claim, or the one prompt of a family without claims."""
        claims = ("true", "false") if family.is_claim else ("",)
        return tuple(self._ask(family, number, claim, context) for claim in claims)

    def _ask(self, family: FamilySpec, number: int, claim: str, context: str | None) -> Ask:
        slots = dict(self.items[number].slots)
        right, wrong = family.words or (slots["value"], slots["other"])
        if claim == "false":
            slots["value"], right, wrong = slots["other"], wrong, right
        text = family.template.format_map(slots)
        if context is not None:
            text = context.format_map({PROMPT: text})
        ids = self.base.tokenize(text)
        # A value goes on the template, so it has a blank in front unless that ends with one.
        continues = not family.is_claim and not text[-1:].isspace()
        answers = answer_ids(self.base, text, right, wrong, continues=continues)
        end = {"verdict": len(ids) - 1}
        return Ask(number, family.name, claim, text, tuple(ids), end, *answers)

    @cached_property
    def collateral(self) -> tuple[Ask, ...]:
        """Prompts that are to stay; `plus` and `minus` both are the answer."""
        found = []
        for number, one in enumerate(self.spec.collateral):
            ids = self.base.tokenize(one.prompt)
            answer = self.base.token_id(one.answer, continues=True)
            end = {"verdict": len(ids) - 1}
            found.append(Ask(number, one.name, "", one.prompt, tuple(ids), end, answer, answer))
        return tuple(found)

    def check(self) -> None:
        """Raise PromptError for what cannot be asked, UsageError for models that do not compare."""
        check_pair(self.base, self.tuned)
        items = {" ".join(item.slots.values()): i for i, item in enumerate(self.items)}
        check_asks(self.spec.families, items, self.both_claims)
        _ = self.collateral
        if self.spec.contrast is not None:
            for context in (self.spec.contrast.toward, self.spec.contrast.away):
                self.both_claims(self.spec.main, 0, context)
        if min(map(len, self.texts)) < FEWEST_TOKENS:
            raise PromptError(
                f"a document of the ordinary text has fewer than {FEWEST_TOKENS} tokens; leave it "
                "out or join it to another"
            )

    @property
    def size(self) -> str:
        """What is to be done, in a line."""
        prompts = sum(2 if family.is_claim else 1 for family in self.spec.families)
        return (
            f"{len(self.items)} items in {len(self.spec.families)} forms: "
            f"{prompts * len(self.items):,} prompts, {len(self.texts)} documents of ordinary text"
        )

    def bootstrap(self, n: int, stream: int) -> Bootstrap:
        """Draws of n things; every step has a stream of random numbers to itself."""
        return Bootstrap(n, resamples=self.settings.resamples, seed=self.settings.seed + stream)


def check_pair(base: Model, tuned: Model) -> None:
    """Raise UsageError for models that are not of one architecture with one tokenizer."""
    names = f"{base.identity.name} and {tuned.identity.name}"
    shapes = [
        {name: tuple(one.shape) for name, one in model.module.named_parameters()}
        for model in (base, tuned)
    ]
    if type(base.module) is not type(tuned.module) or shapes[0] != shapes[1]:
        raise UsageError(
            f"{names} are not of one architecture and size, and weights that do not correspond "
            "cannot be compared; give a model and its tuned self"
        )
    if base.tokenizer.get_vocab() != tuned.tokenizer.get_vocab():
        raise UsageError(
            f"{names} have different tokenizers, so no prompt is the same for both; give a model "
            "and its tuned self"
        )


def _in_turn(numbers: Iterable[int], topic_of: Callable[[int], str]) -> list[int]:
    """The first of each topic, then the second of each, and so on."""
    turn: defaultdict[str, Iterator[int]] = defaultdict(count)
    return sorted(numbers, key=lambda number: next(turn[topic_of(number)]))


Result = TypeVar("Result")


class Earlier:
    """What the steps before have found, and what several steps of one run need."""

    def __init__(self) -> None:
        self._by_kind: dict[type[Any], Any] = {}
        self._made: dict[Any, Any] = {}

    def add(self, found: object) -> None:
        """One step's."""
        self._by_kind[type(found)] = found

    def of(self, kind: type[Result]) -> Result:
        """A step's result by its type; LookupError where that was not measured."""
        return cast(Result, self._by_kind[kind])

    def has(self, kind: type[Any]) -> bool:
        """Whether a step's result is there."""
        return kind in self._by_kind

    def once(self, make: Callable[[Study], Result], study: Study) -> Result:
        """What is made of the study when the first step asks for it."""
        if make not in self._made:
            self._made[make] = make(study)
        return cast(Result, self._made[make])


@dataclass(frozen=True)
class Step(Generic[Result]):
    """One step of the comparison; `name` is its stage and its field in the report."""

    name: str
    kind: type[Result]
    """A dataclass of plain values."""
    measure: Callable[[Study, Earlier, Progress], tuple[Result, list[Row]]]
    """The result, and every single measurement that it is made of."""
    tables: Callable[[Result], Iterator[Table]]
    brief: Callable[[Result], Iterator[Table]] = lambda found: iter(())
    """For the terminal."""
    named: Callable[[Study, Result], Result] = lambda study, found: found
    """The result with names that do not come from measuring: the labels of today's cards."""
    lacks: Callable[[Study, Earlier], str] = lambda study, earlier: ""
    """Why it cannot be measured, in a sentence; "" where it can."""


def answer_rows(
    study: Study, side: Side, asks: Sequence[Ask], values: Iterable[float], **more: Any
) -> Iterator[Row]:
    """Answers of a model as measurements: leads of the right answer in logits."""
    for ask, value in zip(asks, values, strict=True):
        yield {"model": side, "value": value, **more, **of_ask(study, ask)}


def of_ask(study: Study, ask: Ask) -> Row:
    """Columns that say which prompt it was."""
    topic = study.topic(ask.item)
    return {"topic": topic, "family": ask.family, "claim": ask.claim, "item": ask.text}


class ByItem:
    """Figures over the items of some prompts, with a stream of random numbers to itself."""

    def __init__(self, study: Study, asks: Sequence[Ask], stream: int) -> None:
        self._item = np.unique([ask.item for ask in asks], return_inverse=True)[1]
        self.draws: Bootstrap = study.bootstrap(int(self._item.max()) + 1, stream)

    def means(self, values: Floats) -> Floats:
        """(items, ...) of each one's prompts, from values (prompts, ...)."""
        return means_by(self._item, values, self.draws.n)

    def right(self, contrast: Floats) -> Floats:
        """(items,) share of each one's prompts answered rightly."""
        return self.means((contrast > 0).astype(float))
