"""Every edit run again, all in as few passes as their lengths and the memory allow.

Shapes: n edits, V vocabulary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from circuit_tracer.errors import PromptError
from circuit_tracer.experiments.edits.results import Edit, Outcome, Word
from circuit_tracer.experiments.kit.passes import text_ends
from circuit_tracer.graphs.token_text import shown
from circuit_tracer.models import Model
from circuit_tracer.models.devices import as_floats


class Target(NamedTuple):
    """What is asked of every prompt: by how much one token beats another."""

    answer: int
    against: int


@dataclass(frozen=True)
class Ends:
    """What a model says at the ends of a prompt and of edited ones."""

    model: Model
    own: Float[Tensor, "V"]
    """Logits at the end of the prompt itself."""
    logits: Float[Tensor, "n V"]
    """The same of the edited ones."""

    @classmethod
    def of(cls, model: Model, own: Tensor, texts: Sequence[tuple[int, ...]]) -> Ends:
        """From texts given as token ids; equal ones are run once."""
        unique = list(dict.fromkeys(texts))
        at = {text: row for row, text in enumerate(unique)}
        return cls(model, own, text_ends(model, unique)[[at[one] for one in texts]])

    def target(
        self, edits: Sequence[Edit], answer: str | None, against: str | None, *, chat: bool = False
    ) -> Target:
        """The answer and its rival, by default what the model says and what it says instead.

        The rival is the token that most words' replacements lead to, where two agree, and else
        what is likeliest next to the answer. What is named follows a blank, but not where a reply
        begins, in a `chat`. Raises PromptError for what is not one token, and for two that are the
        same.
        """
        own = int(self.own.argmax())
        said = own if answer is None else self.model.token_id(answer, continues=not chat)
        if against is not None:
            rival = self.model.token_id(against, continues=not chat)
            if rival == said:
                raise PromptError(f'`against` "{shown(against)}" is the answer; name another token')
            return Target(said, rival)
        tops = zip(edits, self.logits.argmax(1).tolist(), strict=True)
        instead = {(one.start, top) for one, top in tops if one.new and top != said}
        most = Counter(top for _, top in sorted(instead)).most_common(1)
        if most and most[0][1] > 1:
            return Target(said, most[0][0])
        ranked = self.own.argsort(descending=True, stable=True).tolist()
        return Target(said, next(one for one in ranked if one != said))

    def contrast(self, target: Target) -> float:
        """Of the prompt itself."""
        return float(self.own[target.answer] - self.own[target.against])

    def outcomes(self, edits: Sequence[Edit], target: Target) -> list[Outcome]:
        """The edits with what they did."""
        before, is_own = self.contrast(target), int(self.own.argmax()) == target.answer
        values = as_floats(self.logits[:, target.answer] - self.logits[:, target.against])
        chances, tops = self.model.probabilities(self.logits).max(1)
        rows = zip(edits, values.tolist(), tops.tolist(), as_floats(chances).tolist(), strict=True)
        return [
            Outcome(
                **asdict(one),
                contrast=value,
                change=value - before,
                answer=self.model.token_text(top),
                probability=chance,
                flips=top != target.answer if is_own else (value > 0) != (before > 0),
            )
            for one, value, top, chance in rows
        ]


def spans_of(prompt: str, places: Sequence[tuple[int, int]], done: Sequence[Outcome]) -> list[Word]:
    """Words or clauses with what their own edits did; none for one that was not edited."""
    found = []
    for start, stop in places:
        own = [
            one
            for one in done
            if (one.start, one.stop) == (start, stop) and one.kind not in ("given", "added")
        ]
        replaced = [one for one in own if one.kind == "replaced"]
        counted = replaced or own
        if not counted:
            continue
        found.append(
            Word(
                text=prompt[start:stop],
                start=start,
                stop=stop,
                pull=-sum(one.change for one in counted) / len(counted),
                replaced=bool(replaced),
                flips=2 * sum(one.flips for one in counted) >= len(counted),
                edits=tuple(one.name for one in own),
            )
        )
    return found
