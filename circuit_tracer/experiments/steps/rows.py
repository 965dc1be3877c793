"""What the tokens before it do to a written token and to the answer, by all paths (method.md 11).

Every written token was an answer once: what stands at position p was said after p - 1. Its target
is its logit minus the mean of those that were likeliest instead, so that what lifts all of them
alike cancels.

Shapes: T tokens, n rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit_tracer.attribution.replacement import LocalReplacementModel, build_replacement
from circuit_tracer.attribution.sweep import Sweep, SweepTargets
from circuit_tracer.attribution.totals import total_effects
from circuit_tracer.attribution.tracing import check_together
from circuit_tracer.errors import PromptError
from circuit_tracer.experiments.steps.transcript import Transcript
from circuit_tracer.graphs.graph import Floats
from circuit_tracer.models import Model
from circuit_tracer.models.check import check_wiring
from circuit_tracer.models.devices import as_floats
from circuit_tracer.transcoders.neurons import AnyDictionary

BATCH = 64
"""Rows in one walk."""
RIVALS = 8
"""Likeliest other tokens whose mean a token is compared with."""


@dataclass(frozen=True)
class Row:
    """Total effects on one token, as written or as the answer."""

    position: int
    """Of the token; T for the answer."""
    tokens: Floats
    """(T,) signed; 0 from the position on."""
    error: float
    """Absolute sum of what errors do."""
    constant: float
    value: float
    """Its logit minus its rivals' mean."""
    power: int = 2
    """What effects are raised to before they are shares: of squares, because many small effects
    that say nothing add up to half of all absolute ones."""

    @property
    def shares(self) -> Floats:
        """(T,) parts of the tokens' effects to that power: of squares, the parts of the variance if
        every token were replaced independently."""
        sizes = np.abs(self.tokens) ** self.power
        return sizes / max(float(sizes.sum()), np.finfo(np.float64).tiny)

    @property
    def error_share(self) -> float:
        """Errors' part of all |total|, tokens and errors."""
        whole = self.error + float(np.abs(self.tokens).sum())
        return self.error / whole if whole else 0.0


class FrozenTranscript:
    """One pass over prompt and notes, frozen; rows as they are asked for."""

    @torch.no_grad()
    def __init__(
        self,
        model: Model,
        dictionary: AnyDictionary,
        read: Transcript,
        answer: str | None = None,
        against: str | None = None,
    ) -> None:
        """`answer` is the model's own where none is given, and is compared with the token `against`
        in place of its likeliest rivals. Raises PromptError for what is not one token, and where
        the two are the same."""
        check_together(dictionary, model)
        ids = list(read.ids)
        given, self.against = (
            None if one is None else model.token_id(one, continues=True)
            for one in (answer, against)
        )
        capture = model.capture(ids)
        check_wiring(capture, model.wiring)
        self.frozen: LocalReplacementModel = build_replacement(
            capture, model.wiring, dictionary, n_zeroed=model.zeroed_positions(ids)
        )
        self.model, self.logits, self.streams = model, capture.logits, capture.resid_pre
        self.sweep = Sweep(self.frozen)
        self.answer = int(self.logits[-1].argmax()) if given is None else given
        if self.against == self.answer:
            raise PromptError("the answer is `against` itself; give another token, or leave it out")
        self.ids = (*ids, self.answer)

    @property
    def probability(self) -> float:
        """Of the answer, 0..1."""
        return float(self.model.probabilities(self.logits[-1])[self.answer])

    def contrasts(self, positions: Sequence[int]) -> tuple[Int[Tensor, "n"], Float[Tensor, "n V"]]:
        """Where these tokens are said, and the weights on logits there that are their targets."""
        seen = torch.tensor([place - 1 for place in positions], device=self.logits.device)
        said = torch.tensor([self.ids[place] for place in positions], device=self.logits.device)
        weights = contrasts(self.logits[seen], said)
        if self.against is not None and len(self.ids) - 1 in positions:
            row = list(positions).index(len(self.ids) - 1)
            weights[row] = 0
            weights[row, [self.answer, self.against]] = weights.new_tensor([1.0, -1.0])
        return seen, weights

    def targets(self, seen: Int[Tensor, "n"], weights: Float[Tensor, "n V"]) -> SweepTargets:
        """The same as vectors at the stream."""
        vectors = (weights @ self.model.unembedding).to(self.frozen.embeddings.dtype)
        level = torch.full_like(seen, self.frozen.target_level)
        return SweepTargets(level, seen, self.frozen.final.pull(vectors, seen))

    @torch.no_grad()
    def rows(self, positions: Sequence[int], *, through: bool = True) -> list[Row]:
        """The rows of the tokens at these positions, T for the answer."""
        if not positions:
            return []
        seen, weights = self.contrasts(positions)
        targets = self.targets(seen, weights)
        found = total_effects(
            self.frozen,
            targets,
            batch_size=BATCH,
            features=False,
            sweep=self.sweep,
            through=through,
        )
        values = (weights * self.logits[seen]).sum(1)
        figures = (found.errors.abs().sum((1, 2)), found.constant, values)
        columns = (as_floats(one).tolist() for one in figures)
        rows = zip(positions, as_floats(found.tokens), *columns, strict=True)
        return [Row(*one) for one in rows]


def contrasts(logits: Float[Tensor, "n V"], said: Tensor) -> Float[Tensor, "n V"]:
    """Weights over the vocabulary: 1 for the token, minus the mean of its likeliest rivals."""
    others = logits.scatter(1, said[:, None], -torch.inf)
    rivals = others.topk(min(RIVALS, others.shape[1] - 1), dim=1).indices
    weights = torch.zeros_like(logits).scatter(1, rivals, -1 / rivals.shape[1])
    return weights.scatter(1, said[:, None], 1.0)
