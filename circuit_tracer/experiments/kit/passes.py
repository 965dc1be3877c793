"""Many prompts in few passes: prompts of equal length share one, each row with edits of its own.

Shapes: B rows, n texts, T tokens, L layers, d model width, V vocabulary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit_tracer.errors import PromptError, UsageError
from circuit_tracer.experiments.kit.spec_reader import Family, shown
from circuit_tracer.graphs.graph import Floats
from circuit_tracer.interventions.engine import rows_at_once
from circuit_tracer.models import Model
from circuit_tracer.models.capture import Edits
from circuit_tracer.models.devices import as_floats
from circuit_tracer.models.parts import Place, ReadPoint

EditsOf = Callable[[list[int]], Edits]
"""Edits of a pass from the numbers of its rows."""
Module = tuple[Place, int]
"""A module of the model: what it is, and its layer."""
START, OTHERS = "BOS", "the rest"
"""Kinds of tokens: what stands before the prompt, and words that differ between prompts."""
F = TypeVar("F", bound=Family)
T = TypeVar("T")


class Ask(NamedTuple):
    """One prompt, with what stands where and the two tokens that the model decides between."""

    item: int
    family: str
    claim: str
    """The value it names; "" where it names none."""
    text: str
    ids: tuple[int, ...]
    roles: Mapping[str, int]
    """Positions, BOS included, of "object", "value" (in claims; the last token of either) and
    "verdict" (the end)."""
    plus: int
    """Vocabulary id: the word for a true claim, or the own value."""
    minus: int


def answer_ids(
    model: Model, text: str, right: str, wrong: str, *, continues: bool
) -> tuple[int, int]:
    """The tokens of two answers to a prompt; `continues` if they follow a blank.

    Raises UsageError for two that are one token, and what `token_id` raises.
    """
    plus, minus = (model.token_id(one, continues=continues) for one in (right, wrong))
    if plus == minus:
        raise UsageError(
            f'"{text}" is to be answered with "{right}" and not with "{wrong}", which are one '
            "token; change the items or the words"
        )
    return plus, minus


def check_asks(
    families: Iterable[F], items: Mapping[str, T], ask: Callable[[F, T], object]
) -> None:
    """Raise PromptError for a family that cannot ask about an item, given by what it is called."""
    for family in families:
        for name, item in items.items():
            try:
                ask(family, item)
            except UsageError as e:
                place = f'the family "{family.name}" cannot ask about "{shown(name)}"'
                raise PromptError(f"{place}: {e}") from e


def spans(model: Model, asks: Sequence[Ask]) -> Iterator[list[int]]:
    """Rows of one pass each: of equal length, no more than memory allows."""
    return equally_long(model, [ask.ids for ask in asks])


def equally_long(model: Model, texts: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Numbers of the texts of one pass each, given as token ids."""
    by_length: dict[int, list[int]] = {}
    for row, ids in enumerate(texts):
        by_length.setdefault(len(ids), []).append(row)
    for length, rows in sorted(by_length.items()):
        size = rows_at_once(model, length, 1, keep_seen=True)
        yield from (rows[start : start + size] for start in range(0, len(rows), size))


def token_ids(model: Model, asks: Sequence[Ask], rows: Sequence[int]) -> Int[Tensor, "B T"]:
    """Of rows that are equally long."""
    return torch.tensor([asks[row].ids for row in rows], device=model.device)


def positions(
    model: Model, asks: Sequence[Ask], rows: Sequence[int], role: str
) -> Int[Tensor, "B"]:
    """Where a role stands in some rows."""
    return torch.tensor([asks[row].roles[role] for row in rows], device=model.device)


@dataclass
class Recording:
    """Edits nothing and keeps what modules read or write at some positions of each row."""

    places: tuple[Place, ...] = ()
    side: Literal["read", "written"] = "read"
    at: Int[Tensor, "B roles"] | None = None
    kept: dict[Module, Float[Tensor, "B roles d"]] = field(default_factory=dict)
    """In the order in which the modules run."""

    def wants(self, place: Place, layer: int) -> bool:
        """The recorded places."""
        return place in self.places

    def edit(self, place: Place, layer: int, seen: Tensor, given: Tensor) -> Tensor:
        """What the module gave."""
        values = seen if self.side == "read" else given
        rows = torch.arange(len(values), device=values.device)
        self.kept[place, layer] = values[rows[:, None], self.at]
        return given


def end_logits(
    model: Model, asks: Sequence[Ask], rows: Sequence[int], edits: Edits
) -> Float[Tensor, "B V"]:
    """At the ends of some rows, from one pass."""
    return _ends(model, token_ids(model, asks, rows), edits)


@torch.no_grad()
def text_ends(model: Model, texts: Sequence[Sequence[int]]) -> Float[Tensor, "n V"]:
    """Logits at the end of each text, given as token ids: as few passes as lengths and memory
    allow."""
    found = model.unembedding.new_zeros(len(texts), model.wiring.n_vocabulary)
    for rows in equally_long(model, texts):
        ids = torch.tensor([list(texts[row]) for row in rows], device=model.device)
        found[rows] = _ends(model, ids, Recording())
    return found


def _ends(model: Model, ids: Int[Tensor, "B T"], edits: Edits) -> Float[Tensor, "B V"]:
    last = torch.tensor([ids.shape[1] - 1], device=model.device)
    return model.edited(ids, edits, positions=last)[:, 0]


@torch.no_grad()
def logits_of(model: Model, asks: Sequence[Ask], vocabulary: Sequence[int]) -> Floats:
    """(rows, words) logits of some tokens at each prompt's end, nothing edited."""
    found = np.zeros((len(asks), len(vocabulary)))
    for rows in spans(model, asks):
        found[rows] = as_floats(end_logits(model, asks, rows, Recording())[:, list(vocabulary)])
    return found


def _answers(
    asks: Sequence[Ask], rows: Sequence[int], logits: Float[Tensor, "B V"]
) -> Int[Tensor, "B 2"]:
    pairs = [(asks[row].plus, asks[row].minus) for row in rows]
    return torch.tensor(pairs, device=logits.device)


def leads(
    asks: Sequence[Ask], rows: Sequence[int], logits: Float[Tensor, "B V"]
) -> Float[Tensor, "B"]:
    """Of `plus` over `minus` at the ends of some rows."""
    plus, minus = logits.gather(1, _answers(asks, rows, logits)).unbind(1)
    return plus - minus


def source_kinds(model: Model, asks: Sequence[Ask]) -> list[tuple[str, ...]]:
    """What each token of each prompt is: a word that all prompts have, the start, or another."""
    texts = [[model.token_text(one).strip() for one in ask.ids] for ask in asks]
    count = Counter(text for one in texts for text in set(one))
    found = []
    for ask, words in zip(asks, texts, strict=True):
        first = model.zeroed_positions(list(ask.ids))
        shared = [text if count[text] == len(asks) else OTHERS for text in words]
        found.append((*([START] * first), *shared[first:]))
    return found


class Decisions(NamedTuple):
    """What a model decides at the ends of some prompts."""

    contrast: Floats
    """(rows,) logit of `plus` minus that of `minus`."""
    coherent: Floats
    """(rows,) 1 where the likeliest token of all is one of the two, else 0."""


@torch.no_grad()
def decisions(model: Model, asks: Sequence[Ask], edits_of: EditsOf | None = None) -> Decisions:
    """How some prompts are answered."""
    contrast, coherent = np.zeros(len(asks)), np.zeros(len(asks))
    for rows in spans(model, asks):
        edits = Recording() if edits_of is None else edits_of(rows)
        logits = end_logits(model, asks, rows, edits)
        ids = _answers(asks, rows, logits)
        contrast[rows] = as_floats(leads(asks, rows, logits))
        coherent[rows] = as_floats((ids == logits.argmax(1, keepdim=True)).any(1).float())
    return Decisions(contrast, coherent)


@torch.no_grad()
def text_losses(
    model: Model, texts: Sequence[Sequence[int]], edits_of: EditsOf | None = None
) -> Floats:
    """(texts,) mean cross entropy of the next token, in nats; texts are given as token ids."""
    found = np.zeros(len(texts))
    for rows in equally_long(model, texts):
        ids = torch.tensor([texts[row] for row in rows], device=model.device)
        edits = Recording() if edits_of is None else edits_of(rows)
        logits = model.edited(ids, edits)[:, :-1]
        capped = model.probabilities(logits).clamp_min(1e-30).log()
        losses = -capped.gather(2, ids[:, 1:, None])[..., 0]
        found[rows] = as_floats(losses.mean(1))
    return found


def contrasts(model: Model, asks: Sequence[Ask], edits_of: EditsOf | None = None) -> Floats:
    """(rows,) logit of `plus` minus that of `minus` at each prompt's end."""
    return decisions(model, asks, edits_of).contrast


@torch.no_grad()
def recorded(
    model: Model,
    asks: Sequence[Ask],
    roles: Sequence[str],
    places: tuple[Place, ...],
    side: Literal["read", "written"],
) -> dict[Module, Float[Tensor, "rows roles d"]]:
    """What the modules of some places read or write at roles of each prompt, nothing edited."""
    found: dict[Module, Tensor] = {}
    for rows in spans(model, asks):
        at = torch.stack([positions(model, asks, rows, role) for role in roles], 1)
        recording = Recording(places, side, at)
        end_logits(model, asks, rows, recording)
        for module, values in recording.kept.items():
            if module not in found:
                found[module] = values.new_zeros(len(asks), *values.shape[1:])
            found[module][rows] = values
    return found


def streams_at(
    model: Model, asks: Sequence[Ask], roles: Sequence[str]
) -> Float[Tensor, "rows roles levels d"]:
    """The residual stream at roles: before each layer from 0 to L - 1, then after the last."""
    before: Place = "attention" if model.wiring.paths.attention_norm is None else "attention_norm"
    found = recorded(model, asks, roles, (before, "final_norm"), "read")
    return torch.stack(list(found.values()), 2)


def written_at(
    model: Model, asks: Sequence[Ask], role: str
) -> dict[Module, Float[Tensor, "rows d"]]:
    """What attention and the MLP of every layer write at a role of each prompt."""
    found = recorded(model, asks, (role,), ("attention", "mlp"), "written")
    return {module: values[:, 0] for module, values in found.items()}


def read_at(
    model: Model, reads: ReadPoint, asks: Sequence[Ask], role: str
) -> Float[Tensor, "L rows d"]:
    """What a dictionary reads at a role of each prompt; `reads` is where it does so."""
    inputs = model.unembedding.new_zeros(model.n_layers, len(asks), model.d_model)
    for rows in spans(model, asks):
        read = model.mlp_activity(token_ids(model, asks, rows), reads).inputs
        here = torch.arange(len(rows), device=model.device)
        inputs[:, rows] = read[:, here, positions(model, asks, rows, role)]
    return inputs
