"""What is found of a transcript: `steps.json`. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from circuit_tracer.graphs.graph import Identity

STEPS_FILE = "steps.json"
ANSWER = "answer"
"""What arrows to the answer name."""
Said = Literal["quoted", "value", "no"]
"""Whether the notes repeat a watched span word for word, its value alone, or neither."""
Used = Literal["directly", "through the notes", "little", "no"]
"""How the answer draws on a watched span: a third of it or more, `MAIN`, comes from there in the
answer's own row, or with the notes followed back; less; or no more than the noise floor."""
MAIN = 1 / 3
Notes = Literal["kept", "rewritten"]
"""Whether notes after a swapped value stayed as they were, or were written again by the model."""


@dataclass(frozen=True)
class Part:
    """A step, a watched span, or what else is in the prompt."""

    name: str
    text: str
    start: int
    stop: int
    """Positions start..stop - 1, BOS included."""
    direct: float
    """Its part of the answer's own squared total effects, 0..1."""
    chained: float
    """Of a step, what passes through it: its direct share and what later steps draw from it; of the
    prompt, what ends there once all decided tokens have been followed back."""
    direct_floor: float
    """A direct share up to which this many tokens say nothing."""
    chained_floor: float
    """The same of a chained share, noise passed back with it."""

    @property
    def carries(self) -> bool:
        """Whether its chained share says something."""
        return self.chained > self.chained_floor


@dataclass(frozen=True)
class Step(Part):
    """A written step."""

    decided: tuple[int, ...]
    """Positions of its tokens that were followed back."""


@dataclass(frozen=True)
class Watched(Part):
    """A span of the prompt that was asked about."""

    said: Said
    where: tuple[str, ...]
    """Steps that say it."""
    used: Used


@dataclass(frozen=True)
class Arrow:
    """What a step, or the answer, draws from an earlier part, above the noise floor."""

    source: str
    target: str
    share: float
    """Of all that the target's decided tokens draw on."""


@dataclass(frozen=True)
class Swap:
    """Values replaced, the model run again."""

    parts: tuple[str, ...]
    """What was changed: a step, a watched span, or both."""
    values: tuple[str, ...]
    """What stands there instead."""
    notes: Notes
    effect: float
    """By how much the answer became less likely, as a share of its probability before."""
    follows: float
    """Probability of the new values together."""
    answer: str
    """What the model says then."""
    tried: int = 1
    """How many values were tried: those shown are the first with which it says something else than
    before, or the likeliest ones where it never does."""


@dataclass(frozen=True)
class ExactGraph:
    """A token's full graph, an ordinary traced folder beside `steps.json`."""

    part: str
    """The answer, or the step whose decided token it is."""
    token: str
    position: int
    """Of the token."""
    folder: str


@dataclass(frozen=True)
class ScoreTerm:
    """A source of a head's query times one of its key: a part of its score."""

    query: str
    key: str
    value: float


@dataclass(frozen=True)
class Why:
    """Why the answer looks at the token it draws on most: `qk` of the head that carries most."""

    head: str
    source: int
    """Position of the token."""
    share: float
    """The head's part of all that heads fetch from there to the answer's place, absolute values of
    what each is worth to the answer along all paths."""
    attention: float
    """What of its attention the head pays to it."""
    score: float
    """Before the softmax."""
    terms: tuple[ScoreTerm, ...]
    """The largest terms of the score, of either sign."""


@dataclass(frozen=True)
class StepsReport:
    """Which steps carried an answer."""

    prompt: str
    notes: str
    tokens: tuple[str, ...]
    answer: str
    probability: float
    answer_is_models_own: bool
    against: str
    """The token it is compared with; "" for the mean of its likeliest rivals."""
    value: float
    """Its logit minus theirs."""
    signed: tuple[float, ...]
    """Signed total effect of every token on that."""
    constant: float
    error_share: float
    """Errors' part of the |total effects| on the answer: what the dictionary does not explain."""
    steps: tuple[Step, ...]
    watched: tuple[Watched, ...]
    prompt_rest: Part
    """All of the prompt that is not watched."""
    left: float
    """Share of the answer that was not followed back to the prompt: words of the notes that only
    say what their form asks for, and what is beyond the coverage of long notes."""
    arrows: tuple[Arrow, ...]
    swaps: tuple[Swap, ...]
    model: Identity
    dictionary: Identity
    seconds: float
    """CPU time of pass and walks."""
    system: str | None = None
    """The system turn before the prompt, in a chat."""
    chat: bool = False
    """Whether the prompt was the user's turn in the model's chat template."""
    exact: tuple[ExactGraph, ...] = ()
    why: Why | None = None
