"""What a graph explains: tokens' logits at a position, or the contrast of two (method.md 3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from circuit_tracer.errors import PromptError, UsageError
from circuit_tracer.graphs.graph import Target
from circuit_tracer.graphs.token_text import shown, split_tokens
from circuit_tracer.models import Model
from circuit_tracer.models.capture import Capture


@dataclass(frozen=True)
class ChosenTargets:
    """Targets with their directions in what the unembedding reads."""

    targets: tuple[Target, ...]
    direction: Float[Tensor, "n d"]
    """Unembedding row minus the mean row; the difference of two rows for a contrast."""
    value: Float[Tensor, "n"]
    """Logit minus the mean logit; difference of logits for a contrast. Before a soft-cap."""
    bias: Float[Tensor, "n"]
    """The unembedding's own bias in `value`: no node's."""
    weight: Float[Tensor, "n"]
    """Weight in the influence: probability for targets the model chose, equal for given ones."""


def choose_targets(
    model: Model,
    capture: Capture,
    *,
    tokens: tuple[str, ...] = (),
    contrast: str | None = None,
    why_not: str | None = None,
    max_n_logits: int = 10,
    desired_logit_prob: float = 0.95,
) -> ChosenTargets:
    """The fewest tokens reaching `desired_logit_prob` (at most `max_n_logits`), or those given.

    With `why_not`, a token that was not chosen, two: its logit, and the contrast of what the model
    says and it. They are explained at the last captured position. Where the model caps its
    logits, their probabilities are those behind the cap. Raises PromptError (not one token).
    """
    at = len(capture.token_ids) - 1
    logits = capture.logits[at]
    wide = logits if logits.dtype == torch.float64 else logits.float()
    cap = model.wiring.logit_softcap
    probability = (wide if cap is None else cap * (wide / cap).tanh()).softmax(-1)
    rank = torch.empty_like(probability, dtype=torch.long)
    ranked = torch.argsort(probability, descending=True, stable=True)
    rank[ranked] = torch.arange(len(ranked), device=ranked.device)

    def target(text: str, *ids: int) -> Target:
        difference = logits[ids[0]] - logits[ids[1]] if len(ids) == 2 else logits[ids[0]]
        return Target(
            token=text,
            vocabulary_ids=ids,
            position=at,
            probability=float(probability[ids[0]]),
            logit=float(difference),
            rank=int(rank[ids[0]]),
        )

    unembedding, given = model.unembedding, model.wiring.unembedding_bias()
    bias = logits.new_zeros(len(logits)) if given is None else given
    if contrast is not None:
        plus, minus = _contrast_ids(model, contrast)
        text = f"{_shown(model, plus)} - {_shown(model, minus)}"
        return ChosenTargets(
            targets=(target(text, plus, minus),),
            direction=(unembedding[plus] - unembedding[minus])[None],
            value=(logits[plus] - logits[minus])[None],
            bias=(bias[plus] - bias[minus])[None],
            weight=torch.ones_like(logits[:1]),
        )
    if why_not is not None:
        first, other = int(ranked[0]), _competitor_id(model, why_not, int(ranked[0]))
        text = f"{_shown(model, first)} - {_shown(model, other)}"
        return ChosenTargets(
            targets=(target(model.token_text(other), other), target(text, first, other)),
            direction=torch.stack(
                [unembedding[other] - unembedding.mean(0), unembedding[first] - unembedding[other]]
            ),
            value=torch.stack([logits[other] - logits.mean(), logits[first] - logits[other]]),
            bias=torch.stack([bias[other] - bias.mean(), bias[first] - bias[other]]),
            weight=torch.full_like(logits[:2], 0.5),
        )
    if tokens:
        ids = list(dict.fromkeys(model.token_id(token) for token in tokens))
        weight = torch.full_like(logits[: len(ids)], 1 / len(ids))
    else:
        count = _fewest(probability[ranked], max_n_logits, desired_logit_prob)
        ids = ranked[:count].tolist()
        weight = (probability[ids] / probability[ids].sum()).to(logits.dtype)
    return ChosenTargets(
        targets=tuple(target(model.token_text(i), i) for i in ids),
        direction=unembedding[ids] - unembedding.mean(0),
        value=logits[ids] - logits.mean(),
        bias=bias[ids] - bias.mean(),
        weight=weight,
    )


def resolve_position(position: int, n_tokens: int) -> int:
    """A position counted from the front (BOS is 0) or, negative, from the end."""
    if not -n_tokens <= position < n_tokens:
        raise UsageError(
            f"--position {position} is outside the prompt, which has {n_tokens} tokens (0 to "
            f"{n_tokens - 1}, or -1 for the last)"
        )
    return position % n_tokens


def _fewest(ranked: Tensor, most: int, mass: float) -> int:
    enough = int((ranked.cumsum(0) < mass).sum()) + 1
    return min(enough, most, len(ranked))


def _contrast_ids(model: Model, contrast: str) -> tuple[int, int]:
    parts = split_tokens(contrast)
    if len(parts) != 2 or not all(parts):
        raise PromptError(
            f'--contrast "{shown(contrast)}" must be two tokens with a comma: "yes,no" (a comma '
            "of a token is \\,)"
        )
    plus, minus = (model.token_id(part) for part in parts)
    if plus == minus:
        raise PromptError(f'--contrast "{shown(contrast)}" names the same token twice')
    return plus, minus


def _competitor_id(model: Model, why_not: str, first: int) -> int:
    """The token's id; PromptError if it is what the model says."""
    other = model.token_id(why_not)
    if other == first:
        raise PromptError(
            f'"{_shown(model, first)}" is what the model says here, so --why-not has nothing to '
            "explain; name a token that it did not choose"
        )
    return other


def _shown(model: Model, token_id: int) -> str:
    return shown(model.token_text(token_id))
