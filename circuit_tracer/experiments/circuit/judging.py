"""How much of an answer a set of components keeps, in the real model, and what each adds to it.

The answer of a prompt is its likeliest token against the runner-up, or two tokens that were given.
Of a set: the share of their logit difference that is kept, KL of the whole model's distribution to
what is left of it (in nats), and whether the likeliest token is still the same.

Shapes: M masks, P prompts, N components, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuit_tracer.attribution.settings import TraceSettings
from circuit_tracer.errors import PromptError
from circuit_tracer.experiments.circuit.components import Components, masked
from circuit_tracer.graphs.graph import Bools, Floats
from circuit_tracer.interventions.engine import rows_at_once
from circuit_tracer.models import Model
from circuit_tracer.models.devices import as_floats, as_numpy

PATH_STEPS = 8
"""Points of the path from nothing to the whole set at which gradients are taken."""


class Asked(NamedTuple):
    """A prompt and its answer in the whole model."""

    prompt: str
    ids: tuple[int, ...]
    answer: int
    against: int
    difference: float
    """Logit of the answer minus that of the other."""
    top: int
    log_probabilities: Float[Tensor, "V"]
    way: TraceSettings = TraceSettings()
    """How the prompt is read: `chat`, `system`, `position`."""


class Level(NamedTuple):
    """What a set has to keep; the likeliest token in any case."""

    share: float = 0.8
    """At least so much of the logit difference, as a mean over prompts."""
    kl: float | None = None
    """At most so many nats in its place."""


class Kept(NamedTuple):
    """What masks keep."""

    share: Floats
    """(M, P) of the logit difference."""
    kl: Floats
    """(M, P)."""
    right: Bools
    """(M, P) whether the likeliest token is that of the whole model."""
    nearness: Floats
    """(M, P) at most 0: what is still missing, of what decides and of the lead that the likeliest
    token of the whole model has over all others."""

    def reaches(self, level: Level) -> Bools:
        """(M,) the masks that keep enough."""
        least = level.share if level.kl is None else -level.kl
        reached: Bools = np.logical_and(self.right.all(1), self.worth(level) >= least)
        return reached

    def worth(self, level: Level) -> Floats:
        """(M,) what decides, more is better."""
        worth: Floats = self.share.mean(1) if level.kl is None else -self.kl.mean(1)
        return worth


class _Measured(NamedTuple):
    """Of one prompt; as in Kept."""

    share: Float[Tensor, "M"]
    kl: Float[Tensor, "M"]
    lead: Float[Tensor, "M"]
    """Of the likeliest token of the whole model over all others, in logits."""
    nearness: Float[Tensor, "M"]


Reference = Callable[[Asked], Float[Tensor, "*T N"]]


def asked(
    model: Model,
    prompt: str,
    answer: str | None,
    against: str | None,
    way: TraceSettings | None = None,
) -> Asked:
    """A prompt's answer in the whole model; `way` says how it is read, and up to where.

    What is named follows a blank, but not where a reply begins, in a chat. Raises PromptError for a
    text that is no token, and where the answer does not beat the other.
    """
    way = way or TraceSettings()
    ids = model.tokenize(prompt, chat=way.chat, system=way.system)
    ids = ids[: way.position % len(ids) + 1]
    with torch.no_grad():
        (capture,) = model.captures([ids])
    logits = capture.logits[-1]
    first, second = (int(one) for one in logits.topk(2).indices)
    this = first if answer is None else model.token_id(answer, continues=not way.chat)
    runner_up = second if this == first else first
    other = runner_up if against is None else model.token_id(against, continues=not way.chat)
    difference = float(logits[this] - logits[other])
    if not difference > 0:
        raise PromptError(
            f'after "{prompt}" {model.token_text(this)} does not beat {model.token_text(other)}: '
            "nothing of the model can be enough for it; give another `answer` or `against`"
        )
    log_probabilities = model.probabilities(logits).clamp_min(1e-30).log()
    return Asked(prompt, tuple(ids), this, other, difference, first, log_probabilities, way)


@dataclass(frozen=True)
class Judge:
    """Measures sets of components on some prompts."""

    components: Components
    prompts: Sequence[Asked]
    reference: Reference
    level: Level

    def kept(self, masks: Float[Tensor, "M N"]) -> Kept:
        """What each mask keeps of each prompt's answer."""
        with torch.no_grad():
            columns = [self._of_prompt(one, masks) for one in self.prompts]
        return Kept(*(np.stack(column, 1) for column in zip(*columns, strict=True)))

    def reaches(self, masks: Float[Tensor, "M N"]) -> Bools:
        """(M,) the masks that keep enough."""
        return self.kept(masks).reaches(self.level)

    def gains(self, among: Bool[Tensor, "N"]) -> Float[Tensor, "N"]:
        """What each component of a set adds, the gradient of what decides summed along the path
        from none of the set to all of it; outside the set 0."""
        gains = torch.zeros(len(among), dtype=self.components.dtype, device=among.device)
        for one in self.prompts:
            for step in range(PATH_STEPS):
                mask = (among.to(gains) * ((step + 0.5) / PATH_STEPS))[None].requires_grad_()
                found = self._measured(one, self._logits(one, mask, gradients=True))
                worth = (found.share if self.level.kl is None else -found.kl).sum()
                (gradient,) = torch.autograd.grad(worth, mask)
                gains += gradient[0] / (PATH_STEPS * len(self.prompts))
        return gains * among

    def slopes(self, kept: Bool[Tensor, "N"]) -> Float[Tensor, "N"]:
        """How nearness changes with each component, at this very set."""
        slopes = torch.zeros(len(kept), dtype=self.components.dtype, device=kept.device)
        for one in self.prompts:
            mask = kept.to(slopes.dtype)[None].requires_grad_()
            found = self._measured(one, self._logits(one, mask, gradients=True))
            slopes += torch.autograd.grad(found.nearness.sum(), mask)[0][0]
        return slopes

    def _of_prompt(self, one: Asked, masks: Tensor) -> tuple[Floats, Floats, Bools, Floats]:
        size = rows_at_once(self.components.model, len(one.ids), 1, keep_seen=True)
        parts = [self._measured(one, self._logits(one, some)) for some in masks.split(size)]
        share, kl, lead, nearness = (torch.cat(column) for column in zip(*parts, strict=True))
        return as_floats(share), as_floats(kl), as_numpy(lead > 0), as_floats(nearness)

    def _logits(
        self, one: Asked, mask: Float[Tensor, "M N"], *, gradients: bool = False
    ) -> Float[Tensor, "M V"]:
        model = self.components.model
        ids = torch.tensor(one.ids, device=model.device).expand(len(mask), -1)
        last = torch.tensor([len(one.ids) - 1], device=model.device)
        edits = masked(self.components, mask, self.reference(one))
        return model.edited(ids, edits, positions=last, gradients=gradients)[:, 0]

    def _measured(self, one: Asked, logits: Float[Tensor, "M V"]) -> _Measured:
        share = (logits[:, one.answer] - logits[:, one.against]) / one.difference
        left = self.components.model.probabilities(logits).clamp_min(1e-30).log()
        kl = (one.log_probabilities.exp() * (one.log_probabilities - left)).sum(1)
        rivals = logits.index_fill(1, torch.tensor([one.top], device=logits.device), -torch.inf)
        lead = logits[:, one.top] - rivals.amax(1)
        short = lead.clamp_max(0)
        if self.level.kl is None:
            nearness = (share - self.level.share).clamp_max(0) + short / one.difference
        else:
            nearness = (self.level.kl - kl).clamp_max(0) + short
        return _Measured(share, kl, lead, nearness)
