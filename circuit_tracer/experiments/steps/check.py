"""Swap values and run the model again: does the answer follow?

A value is replaced by its nearest neighbour in the unembedding that is nowhere in the text, the same
one everywhere, in a watched span, in a step, and in both together, because either alone may leave
a second copy to fall back on. Later notes are kept, or written again by the model. Suppressing
attention to a value instead is blind to such copies, and is not done.

Shapes: n texts, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit_tracer.experiments.kit.passes import equally_long
from circuit_tracer.experiments.steps.results import Swap
from circuit_tracer.experiments.steps.rows import FrozenTranscript
from circuit_tracer.experiments.steps.shares import Shares
from circuit_tracer.experiments.steps.transcript import Transcript
from circuit_tracer.interventions.generation import write_on
from circuit_tracer.models import Model
from circuit_tracer.transcoders.neurons import AnyDictionary

TOP_STEPS = 2
"""Steps that carry most are checked."""
SPARE = 8
"""Tokens that rewritten notes may have more than those there were."""


@dataclass(frozen=True)
class _Change:
    """One text to run."""

    parts: tuple[str, ...]
    places: tuple[int, ...]
    ids: tuple[int, ...]
    """With the values replaced."""


@dataclass
class Checker:
    """Swaps of one model; rewriting needs its dictionary for nothing but the call."""

    model: Model
    dictionary: AnyDictionary
    read: Transcript
    _others: dict[int, int] = field(default_factory=dict)

    def __call__(self, frozen: FrozenTranscript, shares: Shares) -> list[Swap]:
        """All swaps, notes kept and rewritten."""
        texts = self._changes(shares)
        before = frozen.probability
        found = []
        for one, chances in zip(texts, self._ends([one.ids for one in texts]), strict=True):
            found.append(self._swap(one, "kept", frozen.answer, before, chances))
        for one in texts:
            written = self._rewritten(one)
            if written is not None and written != one.ids:
                (chances,) = self._ends([written])
                found.append(self._swap(one, "rewritten", frozen.answer, before, chances))
        return found

    def _changes(self, shares: Shares) -> list[_Change]:
        """Each source alone, each top step alone, and every pair of the two."""
        carried = sorted(self.read.steps, key=shares.chained, reverse=True)
        sources = [(one.name, one.value) for one in self.read.watched]
        steps = [
            (one.name, (max(heads, key=lambda at: shares.chain.passes[at]),))
            for one in carried
            if (heads := shares.heads(one)) and one.stop < self.read.n_tokens
        ][:TOP_STEPS]
        both = [
            ((source, step), (*there, *here))
            for (source, there), (step, here) in product(sources, steps)
        ]
        alone = [((name,), places) for name, places in (*sources, *steps)]
        return [_Change(parts, places, self._with(places)) for parts, places in (*alone, *both)]

    def _with(self, places: Sequence[int]) -> tuple[int, ...]:
        """The text with these tokens replaced."""
        swapped = {at: self._other(self.read.ids[at]) for at in places}
        return tuple(swapped.get(at, one) for at, one in enumerate(self.read.ids))

    def _other(self, token: int) -> int:
        """Another token of its kind."""
        if token not in self._others:
            self._others[token] = nearest(self.model, token, {*self.read.ids})
        return self._others[token]

    @torch.no_grad()
    def _ends(self, texts: Sequence[Sequence[int]]) -> list[Float[Tensor, "V"]]:
        """Probabilities after each text."""
        found: dict[int, Tensor] = {}
        for rows in equally_long(self.model, texts):
            ids = torch.tensor([list(texts[row]) for row in rows], device=self.model.device)
            last = self.model.replaced(ids, None)[:, -1]
            found |= zip(rows, self.model.probabilities(last), strict=True)
        return [found[row] for row in range(len(texts))]

    def _rewritten(self, change: _Change) -> tuple[int, ...] | None:
        """What the model writes after the change, up to the answer; None where it does not get
        there. The notes end where their last step's words come again."""
        read, model = self.read, self.model
        begun = change.ids[: max(read.first_note, max(change.places) + 1)]
        cue = read.ids[read.steps[-1].start :]
        room = min(read.n_tokens - len(begun) + SPARE, model.max_length - len(begun))
        if room < 1:
            return None
        (written,) = write_on(model, self.dictionary, list(begun), [()], max_new_tokens=room)
        new = (*begun, *written.token_ids)
        ends = (
            stop
            for stop in range(len(begun) + 1, len(new) + 1)
            if new[stop - len(cue) : stop] == cue and stop - len(cue) >= read.first_note
        )
        stop = next(ends, None)
        return None if stop is None else new[:stop]

    def _swap(
        self, change: _Change, notes: str, answer: int, before: float, chances: Float[Tensor, "V"]
    ) -> Swap:
        model, values = self.model, [change.ids[at] for at in change.places]
        return Swap(
            parts=change.parts,
            values=tuple(model.token_text(one) for one in values),
            notes="kept" if notes == "kept" else "rewritten",
            effect=1 - float(chances[answer]) / before,
            follows=float(chances[values[-1]]),
            answer=model.token_text(int(chances.argmax())),
        )


def nearest(model: Model, token: int, taken: set[int]) -> int:
    """The token whose unembedding row is most like a token's, its other spellings and those taken
    left out."""
    rows = model.unembedding.float()
    like: Int[Tensor, "n"] = torch.cosine_similarity(rows, rows[token][None], dim=1).argsort(
        descending=True
    )
    own = model.token_text(token).strip().casefold()
    return next(
        one
        for one in like.tolist()
        if one not in taken and model.token_text(one).strip().casefold() not in ("", own)
    )
