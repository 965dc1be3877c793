"""Let a model write on while features are clamped: several arms at once, one row each.

Tokens are generated one by one with the model's own cache of keys and values, or by whole passes
where rotations depend on the text's length (what is cached would be turned otherwise). A multiple
is of the activation the feature has in that very text, since a text still being written has no
original; a value clamps it there whatever the text does.

Shapes: A arms, T tokens of the prompt, n new tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from jaxtyping import Float, Int
from torch import Tensor

from circuit_tracer.errors import PromptError, UsageError
from circuit_tracer.graphs.graph import NodeKind
from circuit_tracer.interventions.edits import EditedRun, check_finite
from circuit_tracer.interventions.plan import Plan, check_places
from circuit_tracer.interventions.spec import Intervention
from circuit_tracer.models import Model
from circuit_tracer.transcoders.neurons import AnyDictionary


@dataclass(frozen=True)
class Continuation:
    """What one arm wrote."""

    token_ids: tuple[int, ...]
    """New tokens, up to and without an end token."""
    text: str
    target: tuple[float, ...]
    """Probability of the watched token at every new token; empty if none is watched."""
    perplexity: float
    """Perplexity of the new tokens under the unchanged model; NaN if there are none."""


@torch.no_grad()
def write_on(
    model: Model,
    dictionary: AnyDictionary,
    token_ids: list[int],
    arms: Sequence[Intervention],
    *,
    max_new_tokens: int,
    target: int | None = None,
    temperature: float = 0.0,
    seed: int = 0,
    n_zeroed: int | None = None,
    until: Callable[[Sequence[int]], bool] | None = None,
) -> list[Continuation]:
    """Continue a prompt under each arm's changes (an empty arm changes nothing).

    At most `max_new_tokens`, no more than the model's context holds, and none after `until` is
    true of every arm's new tokens. With a temperature of 0 the most likely token is taken, else one
    is drawn by `seed`. Raises UsageError for features that are not there and strengths that
    overflow, PromptError for a prompt that fills the context.
    """
    T = len(token_ids)
    room = model.max_length - T
    if room < 1:
        raise PromptError(
            f"the prompt fills the {model.max_length} tokens that {model.identity.name} takes, so "
            "nothing can be written after it; shorten it"
        )
    if n_zeroed is None:
        n_zeroed = model.zeroed_positions(token_ids)
    count, pick = min(max_new_tokens, room), _Picker(temperature, seed)
    check_places(arms, dictionary, n_tokens=T + max_new_tokens, n_zeroed=n_zeroed)
    _check_kinds(arms)
    rows, probabilities = _generate(
        model,
        dictionary,
        torch.tensor([token_ids] * len(arms), device=model.device),
        Plan.of(arms, model.unembedding),
        count=count,
        target=target,
        pick=pick,
        n_zeroed=n_zeroed,
        until=until,
    )
    ends = end_tokens(model)
    lengths = [
        next((i for i, token in enumerate(row) if token in ends), len(row))
        for row in rows[:, T:].tolist()
    ]
    losses = _losses(model, rows, T, lengths)
    return [
        Continuation(
            token_ids=tuple(row[:length]),
            text=str(model.tokenizer.decode(row[:length], clean_up_tokenization_spaces=False)),
            target=tuple(chances[:length]),
            perplexity=float(loss.mean().exp()) if length else float("nan"),
        )
        for row, length, loss, chances in zip(
            rows[:, T:].tolist(), lengths, losses, probabilities, strict=True
        )
    ]


def _losses(
    model: Model, rows: Int[Tensor, "A Tn"], start: int, lengths: Sequence[int]
) -> list[Float[Tensor, "_n"]]:
    """Losses of each arm's new tokens under the unchanged model, the end token left out."""
    if not model.wiring.turns_by_length(rows.shape[1]):
        return [
            loss[:length]
            for loss, length in zip(model.loss(rows)[:, start - 1 :], lengths, strict=True)
        ]
    texts = [row[: start + length] for row, length in zip(rows, lengths, strict=True)]
    return [model.loss(text[None])[0, start - 1 :] for text in texts]


def _check_kinds(arms: Sequence[Intervention]) -> None:
    for change in (change for arm in arms for change in arm):
        if change.kind != NodeKind.FEATURE:
            raise UsageError(f"{change.name}: only features can be clamped while text is written")


class _Picker:
    """The next token of every row; drawn on the host, so that a seed means the same everywhere."""

    def __init__(self, temperature: float, seed: int) -> None:
        if not 0 <= temperature <= 100:
            raise UsageError(f"`temperature` {temperature:g} must lie between 0 (greedy) and 100")
        self.temperature = temperature
        self.generator = torch.Generator(device="cpu").manual_seed(seed)

    def __call__(self, probabilities: Float[Tensor, "A V"]) -> Int[Tensor, "A"]:
        if self.temperature == 0:
            return probabilities.argmax(-1)
        sharpened = (probabilities.clamp_min(1e-30).log() / self.temperature).softmax(-1)
        drawn = torch.multinomial(sharpened.cpu(), 1, generator=self.generator).squeeze(1)
        return drawn.to(probabilities.device)


def _generate(
    model: Model,
    dictionary: AnyDictionary,
    prompts: Int[Tensor, "A T"],
    plan: Plan,
    *,
    count: int,
    target: int | None,
    pick: _Picker,
    n_zeroed: int,
    until: Callable[[Sequence[int]], bool] | None,
) -> tuple[Int[Tensor, "A Tn"], list[list[float]]]:
    """Whole rows of tokens, and the watched token's probability at every step of every row."""
    whole = model.wiring.turns_by_length(prompts.shape[1] + count)
    cache: Any = None if whole else transformers.DynamicCache()
    rows, new, start = prompts, prompts, 0
    watched: list[Tensor] = []
    ends = torch.tensor(sorted(end_tokens(model)), device=model.device)
    ended = torch.zeros(len(prompts), dtype=torch.bool, device=model.device)
    for _ in range(count):
        run = EditedRun(model, dictionary, plan, n_zeroed=n_zeroed, start=start)
        last = torch.tensor([new.shape[1] - 1], device=model.device)
        logits = model.edited(new, run, positions=last, cache=cache)[:, 0]
        check_finite(logits, run)
        probabilities = model.probabilities(logits)
        if target is not None:
            watched.append(probabilities[:, target])
        picked = pick(probabilities)[:, None]
        rows = torch.cat([rows, picked], 1)
        start, new = (0, rows) if whole else (start + new.shape[1], picked)
        ended |= torch.isin(picked[:, 0], ends)
        is_enough = until is not None and all(map(until, rows[:, prompts.shape[1] :].tolist()))
        if is_enough or bool(ended.all()):
            break
    if not watched:
        return rows, [[] for _ in range(len(rows))]
    return rows, torch.stack(watched, 1).tolist()


def end_tokens(model: Model) -> set[int]:
    """Vocabulary ids that end a text: the tokenizer's, and those its generation settings name."""
    settings = getattr(model.module, "generation_config", None)
    named = getattr(settings, "eos_token_id", None)
    found = {model.tokenizer.eos_token_id}
    found |= set(named) if isinstance(named, list | tuple) else {named}
    return {int(token) for token in found if token is not None}
