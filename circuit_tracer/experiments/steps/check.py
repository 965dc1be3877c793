"""Swap values and run the model again: does the answer follow?

A value is replaced by another of its kind (embedded like it, and likely where it is said last) that
is nowhere in the text; in a watched span, in a step, and by the same in both together, because
either alone may leave a second copy to fall back on. Another value may lead to the same answer, as
one city leads to the capital that its neighbour led to: while the model says what it said before,
the next likeliest value is tried. Later notes are kept, or written again by the
model. Suppressing attention to a value instead is blind to such copies, and is not done.

Shapes: V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

from jaxtyping import Float
from torch import Tensor

from circuit_tracer.experiments.kit.kinds import of_its_kind
from circuit_tracer.experiments.kit.passes import text_ends
from circuit_tracer.experiments.steps.results import Notes, Swap
from circuit_tracer.experiments.steps.rows import FrozenTranscript
from circuit_tracer.experiments.steps.shares import Shares
from circuit_tracer.experiments.steps.transcript import Span, Transcript
from circuit_tracer.interventions.generation import write_on
from circuit_tracer.models import Model
from circuit_tracer.transcoders.neurons import AnyDictionary

TRIED = 3
"""Values that are tried at most."""
TOP_STEPS = 2
"""Steps that carry most are checked."""
SPARE = 8
"""Tokens that rewritten notes may have more than those there were."""
Ids = tuple[int, ...]


@dataclass(frozen=True)
class Change:
    """One text to run."""

    parts: tuple[str, ...]
    places: Ids
    texts: tuple[Ids, ...]
    """With the values replaced, by the likeliest ones first."""


@dataclass
class Checker:
    """Swaps in one transcript; called, it makes all of them."""

    model: Model
    dictionary: AnyDictionary
    read: Transcript
    most_steps: int = TOP_STEPS
    given: Mapping[int, int] = field(default_factory=dict)
    """Tokens with what replaces them, where that is not to be chosen."""

    def __call__(self, frozen: FrozenTranscript, shares: Shares) -> list[Swap]:
        """All swaps, notes kept and rewritten."""
        changes = self.changes(frozen, shares)
        return [*self.kept(frozen, changes), *self.rewritten(frozen, changes)]

    def kept(self, frozen: FrozenTranscript, changes: Sequence[Change]) -> list[Swap]:
        """With all later notes as they were."""
        return self._swaps(frozen, changes, "kept", lambda _, ids: ids)

    def rewritten(self, frozen: FrozenTranscript, changes: Sequence[Change]) -> list[Swap]:
        """With what comes after each change written again; none where a step's change leads to the
        same notes as before, or no answer comes."""
        return self._swaps(frozen, changes, "rewritten", self._rewritten)

    def _swaps(
        self,
        frozen: FrozenTranscript,
        changes: Sequence[Change],
        notes: Notes,
        text_of: Callable[[Change, Ids], Ids | None],
    ) -> list[Swap]:
        """Each change with the first values that move the answer, or with the likeliest ones."""
        own = self.model.token_text(int(frozen.logits[-1].argmax()))
        found: dict[int, Swap] = {}
        for turn in range(TRIED):
            coming = [
                (number, one, one.texts[turn], text)
                for number, one in enumerate(changes)
                if (number not in found or found[number].answer == own)
                and turn < len(one.texts)
                and (text := text_of(one, one.texts[turn])) is not None
            ]
            ends = self.model.probabilities(text_ends(self.model, [text for *_, text in coming]))
            for (number, one, ids, _), end in zip(coming, ends, strict=True):
                swap = self._swap(frozen, one, ids, notes, end)
                first = found.setdefault(number, swap)
                found[number] = replace(first if swap.answer == own else swap, tried=turn + 1)
        return [found[number] for number in sorted(found)]

    def changes(self, frozen: FrozenTranscript, shares: Shares) -> list[Change]:
        """Each source alone, each top step alone, and every pair of the two."""
        carried = sorted(self.read.steps, key=shares.chained, reverse=True)
        sources = [(one.name, one.value) for one in self.read.watched]
        steps = [
            (one.name, (self._value(one, frozen.ids, shares),))
            for one in carried
            if one.stop < self.read.n_tokens
        ][: self.most_steps]
        both = [
            ((source, step), (*there, *here))
            for (source, there), (step, here) in product(sources, steps)
        ]
        alone = [((name,), places) for name, places in (*sources, *steps)]
        wanted = {self.read.ids[at] for _, places in alone for at in places}
        others = {token: self._others(frozen, token) for token in wanted}
        return [
            Change(parts, places, self._with(places, others)) for parts, places in (*alone, *both)
        ]

    def _value(self, step: Span, ids: Sequence[int], shares: Shares) -> int:
        """The place of a step's value: its last word that comes again, or is the answer; the token
        that passes most on where there is none."""
        places = range(step.start, step.stop)
        words = [at for at in places if any(map(str.isalnum, self.model.token_text(ids[at])))]
        again = [at for at in words if ids[at] in ids[step.stop :]]
        return again[-1] if again else max(places, key=lambda at: float(shares.chain.passes[at]))

    def _with(self, places: Sequence[int], others: Mapping[int, Sequence[int]]) -> tuple[Ids, ...]:
        """The text with these tokens replaced, in as many ways as there are values for all."""
        ways = zip(*(others[self.read.ids[at]] for at in places), strict=False)
        swapped = [dict(zip(places, one, strict=True)) for one in ways]
        return tuple(
            tuple(new.get(at, one) for at, one in enumerate(self.read.ids)) for new in swapped
        )

    def _others(self, frozen: FrozenTranscript, token: int) -> Sequence[int]:
        """Some of its kind, likely where it is said last and nowhere in the text."""
        if token in self.given:
            return [self.given[token]]
        place = max(at for at, one in enumerate(frozen.ids) if one == token)
        said = frozen.logits[max(place - 1, 0)]
        return of_its_kind(self.model, token, said, without=frozen.ids, count=TRIED)

    def _rewritten(self, change: Change, ids: Ids) -> Ids | None:
        """What the model writes after the change, up to the answer; None where it does not get
        there, or to where it was. The notes end where their last step's words come again."""
        read, model = self.read, self.model
        begun = ids[: max(read.first_note, max(change.places) + 1)]
        cue = read.ids[read.steps[-1].start :]
        room = min(read.n_tokens - len(begun) + SPARE, model.max_length - len(begun))
        if room < 1:
            return None

        def is_whole(written: Sequence[int]) -> bool:
            text = (*begun, *written)
            return text[-len(cue) :] == cue and len(text) - len(cue) >= read.first_note

        (written,) = write_on(
            model, self.dictionary, list(begun), [()], max_new_tokens=room, until=is_whole
        )
        new = (*begun, *written.token_ids)
        stop = len(new) if written.token_ids and is_whole(written.token_ids) else None
        is_new = new[:stop] != ids or max(change.places) < read.first_note
        return None if stop is None or not is_new else new[:stop]

    def _swap(
        self,
        frozen: FrozenTranscript,
        change: Change,
        ids: Ids,
        notes: Notes,
        chances: Float[Tensor, "V"],
    ) -> Swap:
        model, values = self.model, [ids[at] for at in change.places]
        return Swap(
            parts=change.parts,
            values=tuple(model.token_text(one) for one in values),
            notes=notes,
            effect=1 - float(chances[frozen.answer]) / frozen.probability,
            follows=float(chances[list(dict.fromkeys(values))].sum()),
            answer=model.token_text(int(chances.argmax())),
        )
