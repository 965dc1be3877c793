"""What a graph explains: tokens' logits at a position, the contrast of two, or a direction
(method.md 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit_tracer.attribution.directions import DirectionTarget
from circuit_tracer.attribution.replacement import LocalReplacementModel
from circuit_tracer.attribution.settings import TraceSettings
from circuit_tracer.attribution.sweep import SweepTargets
from circuit_tracer.errors import PromptError, UsageError
from circuit_tracer.graphs.graph import Direction, Target
from circuit_tracer.graphs.token_text import shown, split_tokens
from circuit_tracer.models import Model
from circuit_tracer.models.capture import Capture


@dataclass(frozen=True)
class ChosenTargets:
    """Targets with their directions in what the unembedding reads, or where a direction does."""

    targets: tuple[Target, ...]
    direction: Float[Tensor, "n d"]
    """Unembedding row minus the mean row; the difference of two rows for a contrast."""
    value: Float[Tensor, "n"]
    """Logit minus the mean logit; difference of logits for a contrast. Before a soft-cap."""
    bias: Float[Tensor, "n"]
    """The unembedding's own bias in `value`: no node's."""
    weight: Float[Tensor, "n"]
    """Weight in the influence: probability for targets the model chose, equal for given ones."""

    def at_stream(self, model: LocalReplacementModel) -> tuple[SweepTargets, Float[Tensor, "n"]]:
        """As vectors at the residual stream, and what of each value comes from no stream."""
        at = torch.tensor([t.position for t in self.targets], device=self.direction.device)
        own = self.bias
        if model.final.bias is not None:
            own = own + self.direction @ model.final.bias
        level = torch.full_like(at, model.target_level)
        return SweepTargets(level, at, model.final.pull(self.direction, at)), own


def choose_targets(
    model: Model,
    capture: Capture,
    settings: TraceSettings,
    direction: DirectionTarget | None = None,
) -> ChosenTargets:
    """The direction, or the targets that the settings ask for, at the last captured position.

    By default the fewest tokens that reach `desired_logit_prob`, at most `max_n_logits`. With
    `why_not`, a token that was not chosen, two: its logit, and the contrast of the model's answer
    with it. Where the model caps its logits, probabilities are those after the cap. Raises
    PromptError for a text that is not one token.
    """
    if direction is not None:
        return _chosen_direction(model, capture, direction)
    logits = capture.logits[-1]
    choice = _Choice(model, logits, model.probabilities(logits), len(capture.token_ids) - 1)
    ranked = choice.ranked
    if settings.contrast is not None:
        return choice.of([_contrast_ids(model, settings.contrast)])
    if settings.why_not is not None:
        first = int(ranked[0])
        other = _competitor_id(model, settings.why_not, first)
        return choice.of([(other,), (first, other)])
    if settings.targets:
        given = dict.fromkeys(model.token_id(token) for token in settings.targets)
        return choice.of([(token_id,) for token_id in given])
    chances = choice.probability[ranked]
    enough = int((chances.cumsum(0) < settings.desired_logit_prob).sum()) + 1
    ids = ranked[: min(enough, settings.max_n_logits)]
    weight = choice.probability[ids] / choice.probability[ids].sum()
    targets = choice.of([(token_id,) for token_id in ids.tolist()])
    return replace(targets, weight=weight.to(logits.dtype))


def _chosen_direction(model: Model, capture: Capture, wanted: DirectionTarget) -> ChosenTargets:
    """The one target of a graph that explains a direction."""
    seen = wanted.seen(model, capture)[-1]
    vector, constant = wanted.linear(seen)
    value = seen @ vector + constant
    stored = Direction(wanted.layer, wanted.reads, tuple(vector.tolist()), float(constant))
    at = len(capture.token_ids) - 1
    target = Target(wanted.name, (), at, 0.0, float(value), 0, stored)
    return ChosenTargets(
        targets=(target,),
        direction=vector[None],
        value=value[None],
        bias=constant[None],
        weight=torch.ones_like(value[None]),
    )


def target_directions(model: Model, targets: Sequence[Target]) -> Float[Tensor, "t d"]:
    """The directions of a finished graph's targets, as `ChosenTargets` has them."""
    like = model.unembedding
    vectors = [one.direction.vector for one in targets if one.direction is not None]
    if vectors:
        return like.new_tensor(vectors)
    return target_values(like, [one.vocabulary_ids for one in targets])


def target_values(
    rows: Float[Tensor, "V *d"], ids: Sequence[tuple[int, ...]]
) -> Float[Tensor, "t *d"]:
    """Each target's row: its token's minus the mean row, or minus the other token's."""
    mean = rows.mean(0)
    return torch.stack([rows[one[0]] - (rows[one[1]] if len(one) == 2 else mean) for one in ids])


@dataclass(frozen=True)
class _Choice:
    """The logits at the explained position, to make targets of."""

    model: Model
    logits: Float[Tensor, "V"]
    probability: Float[Tensor, "V"]
    position: int

    @cached_property
    def ranked(self) -> Int[Tensor, "V"]:
        """The vocabulary, the likeliest token first."""
        return torch.argsort(self.probability, descending=True, stable=True)

    def of(self, ids: list[tuple[int, ...]]) -> ChosenTargets:
        """Targets of equal weight: one token each, or two for a contrast."""
        bias = self.model.wiring.unembedding_bias()
        return ChosenTargets(
            targets=tuple(self._target(one) for one in ids),
            direction=target_values(self.model.unembedding, ids),
            value=target_values(self.logits, ids),
            bias=target_values(torch.zeros_like(self.logits) if bias is None else bias, ids),
            weight=torch.full_like(self.logits[: len(ids)], 1 / len(ids)),
        )

    def _target(self, ids: tuple[int, ...]) -> Target:
        first, logit = ids[0], self.logits[ids[0]]
        text = self.model.token_text(first)
        if len(ids) == 2:
            logit = logit - self.logits[ids[1]]
            text = f"{shown(text)} - {_shown(self.model, ids[1])}"
        return Target(
            token=text,
            vocabulary_ids=ids,
            position=self.position,
            probability=float(self.probability[first]),
            logit=float(logit),
            rank=int((self.ranked == first).nonzero()),
        )


def resolve_position(position: int, n_tokens: int) -> int:
    """A position counted from the front (BOS is 0) or, negative, from the end."""
    if not -n_tokens <= position < n_tokens:
        raise UsageError(
            f"`position` {position} is outside the prompt, which has {n_tokens} tokens (0 to "
            f"{n_tokens - 1}, or -1 for the last)"
        )
    return position % n_tokens


def contrast_pair(contrast: str) -> tuple[str, str]:
    """The two tokens of a `contrast`; PromptError for anything else."""
    parts = split_tokens(contrast)
    if len(parts) != 2 or not all(parts):
        raise PromptError(
            f'`contrast` "{shown(contrast)}" must be two tokens with a comma: "yes,no" (a comma '
            "of a token is \\,)"
        )
    return parts[0], parts[1]


def _contrast_ids(model: Model, contrast: str) -> tuple[int, int]:
    plus, minus = map(model.token_id, contrast_pair(contrast))
    if plus == minus:
        raise PromptError(f'`contrast` "{shown(contrast)}" names the same token twice')
    return plus, minus


def _competitor_id(model: Model, why_not: str, first: int) -> int:
    """The token's id; PromptError if it is what the model says."""
    other = model.token_id(why_not)
    if other == first:
        raise PromptError(
            f'"{_shown(model, first)}" is what the model says here, so `why_not` has nothing to '
            "explain; name a token that it did not choose"
        )
    return other


def _shown(model: Model, token_id: int) -> str:
    return shown(model.token_text(token_id))
