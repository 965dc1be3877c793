"""The edits of a prompt: words deleted and replaced, clauses left out, what a caller asks for.

A prompt is edited as text and tokenised again, so that an edit is what somebody would type. The
last word is where the answer is due: without it the model would be asked something else, so it is
replaced and not deleted, and the last clause is not left out.

Shapes: T tokens, V vocabulary.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from unicodedata import category

from jaxtyping import Float
from torch import Tensor

from circuit_tracer.errors import PromptError, UsageError
from circuit_tracer.experiments.edits.results import Edit, Kind
from circuit_tracer.experiments.kit.kinds import of_its_kind
from circuit_tracer.experiments.kit.places import (
    BLANKLESS,
    as_words,
    first_from,
    parts_of,
    token_places,
)
from circuit_tracer.experiments.kit.spec_reader import shown
from circuit_tracer.models import Model

_LETTER = rf"[^\W{BLANKLESS}]"
WORD = re.compile(rf"\d+(?:[.,]\d+)*|[{BLANKLESS}]+|{_LETTER}+(?:['’-]{_LETTER}+)*|[^\w\s]+")
"""A number, a run of letters that are written without blanks, a word, or signs in a row."""
Place = tuple[int, int]
"""Characters of a prompt."""
Classes = Sequence[Sequence[str]]
"""Words that may stand for each other."""


def words_of(prompt: str, starts: Sequence[int] = (), known: Collection[str] = ()) -> list[Place]:
    """Where its words are.

    Of what is written without blanks these are `known` ones and, between them, tokens, which begin
    at the characters `starts`: no one else says where its words end.
    """
    whole = re.compile("|".join(map(re.escape, sorted(known, key=len, reverse=True))) or "(?!)")
    found: list[Place] = []
    for start, stop in (one.span() for one in WORD.finditer(_without_marks(prompt))):
        cuts = {start, stop}
        if re.match(f"[{BLANKLESS}]", prompt[start]):
            cuts |= {at for at in starts if start < at < stop}
            for first, end in (one.span() for one in whole.finditer(prompt, start, stop)):
                cuts = {first, end, *(at for at in cuts if not first < at < end)}
        found += pairwise(sorted(cuts))
    return found


def _without_marks(text: str) -> str:
    """As long a text, each combining mark (the vowels of Hindi) being what it stands on."""
    plain = ""
    for one in text:
        plain += plain[-1:] if plain and category(one)[0] == "M" else one
    return plain


def clauses_of(prompt: str, split: str) -> list[Place]:
    """Where its clauses are, blanks at their ends left out; none where there is one alone."""
    found = []
    for start, stop in parts_of(prompt, split):
        text = prompt[start:stop]
        found.append((start + len(text) - len(text.lstrip()), start + len(text.rstrip())))
    return found if len(found) > 1 else []


def edited(prompt: str, start: int, stop: int, new: str = "") -> str:
    """The prompt with other text at a place; without text, nor the blank that led it."""
    if new:
        return prompt[:start] + new + prompt[stop:]
    before, after = prompt[:start].rstrip(" "), prompt[stop:]
    return before + after if before else after.lstrip(" ")


class Replacements:
    """What may stand for a word: others of its class, or tokens of its kind."""

    def __init__(
        self,
        model: Model,
        prompt: str,
        ids: Sequence[int],
        logits: Float[Tensor, "T V"],
        *,
        classes: Classes = (),
        count: int = 1,
        chat: bool = False,
        system: str | None = None,
    ) -> None:
        """At most `count` for a word; likely ones first. `logits` are those of the prompt's
        own pass; with `chat` it stands in the chat template, after a `system` turn. Raises
        UsageError for classes that have none of its words."""
        self.model, self.prompt, self.count = model, prompt, count
        self.ids, self.logits = ids, logits
        self.chat = chat
        self.places = token_places(model, prompt, self.ids, asker="edits", chat=chat, system=system)
        self.classes: dict[str, list[str]] = {}
        for members in classes:
            for one in members:
                self.classes.setdefault(one.casefold(), []).extend(members)
        self.words = words_of(prompt, self.places, self.classes)
        self.there = {prompt[slice(*place)].casefold() for place in self.words}
        if classes and not self.there & self.classes.keys():
            raise UsageError(
                "no word of the prompt is in a class of `vocabulary`; give classes of its words, "
                "or leave it out"
            )

    def of(self, start: int, stop: int) -> list[str]:
        """For the word there; none for one of several tokens that is in no class."""
        word = self.prompt[start:stop]
        first, last = (first_from(self.places, place) for place in (start, stop))
        logits = self.logits[max(first - 1, 0)]
        if members := self.classes.get(word.casefold()):
            others = [one for one in dict.fromkeys(members) if one.casefold() not in self.there]
            ranked = sorted(others, key=lambda one: -float(logits[self._first_token(one)]))
            return ranked[: self.count]
        if last - first != 1 or self.places[first] != start:
            return []
        own = self.model.token_text(self.ids[first])
        is_word = own.strip()[:1].isalnum()

        def fits(text: str) -> bool:
            bare = text.strip()
            return (
                text.startswith(" ") == own.startswith(" ")
                and WORD.fullmatch(bare) is not None
                and bare[:1].isalnum() == is_word
                and bare[:1].isupper() == own.strip()[:1].isupper()
            )

        kin = of_its_kind(
            self.model,
            self.ids[first],
            logits,
            without=self.ids,
            fits=fits,
            count=self.count,
            close=True,
        )
        return [self.model.token_text(one).strip() for one in kin]

    def _first_token(self, word: str) -> int:
        ids = self.model.tokenize(word)
        return ids[1] if len(ids) > 1 and ids[0] == self.model.bos_id else ids[0]


def all_edits(
    prompt: str,
    replacements: Replacements,
    *,
    split: str = "clause",
    given: Sequence[str] = (),
    added: Sequence[str] = (),
) -> list[Edit]:
    """Every edit of a prompt, those that were asked for first.

    `given` are "old=>new", `added` clauses that are put before each clause in turn. Raises
    UsageError for one that cannot be made.
    """
    made: list[tuple[Kind, int, int, str, str]] = []
    for one in given:
        made.append(("given", *given_edit(prompt, one)))
    for clause in added:
        made += [("added", *one) for one in _added(prompt, clause, split)]
    words, clauses = replacements.words, clauses_of(prompt, split)
    for place in words:
        if replacements.chat or place != words[-1]:
            made.append(("deleted", *place, "", edited(prompt, *place)))
        for new in replacements.of(*place):
            made.append(("replaced", *place, new, edited(prompt, *place, new)))
    whole = replacements.chat and len(clauses) > 1
    left_out = clauses if whole else clauses[:-1]
    made += [("left out", *place, "", edited(prompt, *place)) for place in left_out]
    return [
        Edit(f"E{number}", kind, prompt[start:stop], new, start, stop, text)
        for number, (kind, start, stop, new, text) in enumerate(made, start=1)
    ]


def given_edit(prompt: str, given: str) -> tuple[int, int, str, str]:
    """Where "old=>new" is in a prompt, what is new, and the edited prompt: wherever it is.

    Without "new" it is deleted. Raises UsageError for another form, and where it is nowhere.
    """
    old, sign, new = (part.strip() for part in given.partition("=>"))
    if not (sign and old):
        raise UsageError(f'`edit` "{shown(given)}" must be OLD=>NEW, such as "joker=>teacher"')
    places = [one.span() for one in re.finditer(as_words(old), prompt)]
    if not places:
        raise UsageError(
            f'`edit` "{shown(given)}": "{shown(old)}" is nowhere in the prompt; give words that are'
        )
    text = prompt
    for place in reversed(places):
        text = edited(text, *place, new)
    if text == prompt:
        raise UsageError(f'`edit` "{shown(given)}" changes nothing; give other words')
    return *places[0], new, text


def _added(prompt: str, clause: str, split: str) -> Iterator[tuple[int, int, str, str]]:
    clause = clause.strip()
    if not clause:
        raise UsageError("`add` is empty; give the words of a clause")
    for start, _ in clauses_of(prompt, split) or [(0, 0)]:
        yield start, start, clause, f"{prompt[:start]}{clause} {prompt[start:]}"


def tokenised(
    model: Model, edits: Sequence[Edit], *, chat: bool = False, system: str | None = None
) -> tuple[list[Edit], list[tuple[int, ...]]]:
    """The edits that leave a prompt which the model reads, and its tokens.

    Raises PromptError for one that was asked for and leaves none.
    """
    kept, ids = [], []
    for one in edits:
        try:
            ids.append(tuple(model.tokenize(one.prompt, chat=chat, system=system)))
        except PromptError:
            if one.kind in ("given", "added"):
                raise
            continue
        kept.append(one)
    return [replace(one, name=f"E{n}") for n, one in enumerate(kept, start=1)], ids


def classes_in(text: str) -> list[list[str]]:
    """The classes of a vocabulary file that has one a line, words apart by blanks or commas; what
    follows a # is no word."""
    lines = (line.partition("#")[0].replace(",", " ").split() for line in text.splitlines())
    return [one for one in lines if one]


def classes_of(record: Mapping[str, object], where: str) -> list[list[str]]:
    """The classes of a vocabulary file, given as its tables: lists of words that may stand for each
    other, each under a name. Raises UsageError for anything else."""
    for name, members in record.items():
        if not isinstance(members, list) or not all(
            isinstance(one, str) and one.strip() for one in members
        ):
            raise UsageError(
                f'"{shown(name)}" in {where} must be a list of words, such as '
                'speakers = ["teacher", "joker"]'
            )
    return [list(members) for members in record.values() if isinstance(members, list)]
