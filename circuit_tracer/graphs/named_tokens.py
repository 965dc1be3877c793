"""Which tokens and targets of a graph a user means.

`@4` is position 4 and `@-1` the last one; `4` is the token "4"; `id:343` is the token with that
vocabulary id; `a@4` is the token "a" that stands there. Everything else is a token's text, in the
first of these readings that fits one: exactly, as the tool shows it (␣yes, ↵), without regard to
blanks at its ends, or a character whose bytes are spread over several tokens, which means them all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import takewhile

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.graph import GraphInfo
from circuit_tracer.graphs.token_text import (
    has_bytes,
    id_in,
    place_in,
    prompt_texts,
    shown,
    spelled,
    target_texts,
    unshown,
)

_PLACED = re.compile(r"(.+)@([0-9]{1,9})", re.DOTALL)
"""A token at a position, as tables write it where it occurs more than once: "a@4"."""
NAMED = 12
"""Tokens that a message lists."""


def explained_length(info: GraphInfo) -> int:
    """How many tokens of the prompt the graph is about: those up to the last target."""
    return max((target.position for target in info.targets), default=-1) + 1 or len(info.tokens)


def named_positions(info: GraphInfo, text: str, where: str) -> list[int]:
    """The explained positions that a text names; UsageError, with what there is, for none."""
    n = explained_length(info)
    positions = _positions(info, text)
    if positions:
        return positions
    if place_in(text) is not None:
        raise UsageError(
            f"{where} {text} is outside what was traced (@0 to @{n - 1}, or @-1 for the last)"
        )
    if re.fullmatch(r"-?[0-9]{1,9}", text) and -n <= int(text) < n:  # a position without its @
        raise UsageError(
            f'{where} "{text}" is no token of the prompt; for the position write @{text}'
        )
    texts = list(dict.fromkeys(prompt_texts(info.tokens[:n])))
    more = ", ..." if len(texts) > NAMED else ""
    raise UsageError(
        f'{where} "{shown(text)}" is no token of the prompt; give a position from @0 to @{n - 1}, '
        f"or one of {', '.join(texts[:NAMED])}{more}"
    )


def _positions(info: GraphInfo, text: str) -> list[int]:
    """The explained positions that a text names; [] for none."""
    n, place = explained_length(info), place_in(text)
    if place is not None:
        return [place % n] if -n <= place < n else []
    tokens = info.tokens[:n]
    ids, texts = info.token_ids[:n], prompt_texts(tokens)
    positions = _matches(text, tokens, texts, ids) or _runs(text, tokens)
    placed = _PLACED.fullmatch(text)
    if positions or placed is None or int(placed[2]) >= n:
        return positions
    at = int(placed[2])
    is_there = placed[1] == "embedding" or at in _matches(placed[1], tokens, texts, ids)
    return [at] if is_there else []


def named_position(info: GraphInfo, text: str, where: str) -> int:
    """The one position that a text names; UsageError for none and for several."""
    positions = named_positions(info, text, where)
    if len(positions) > 1:
        places = ", ".join(f"@{position}" for position in positions)
        raise UsageError(f'{where} "{shown(text)}" stands at positions {places}; give one of them')
    return positions[0]


def named_head(text: str, where: str) -> tuple[int, int]:
    """Layer and number of an attention head, "3.2" or "L3.H2"; UsageError for anything else."""
    match = re.fullmatch(r"[Ll]?(\d+)\.[Hh]?(\d+)", str(text).strip())
    if match is None:
        raise UsageError(f'{where} "{text}" is no head; give LAYER.HEAD, such as 3.2')
    return int(match[1]), int(match[2])


def check_explains_logits(info: GraphInfo) -> None:
    """Raise UsageError for a graph of a direction, where logits are what is measured."""
    named = [target.token for target in info.targets if target.direction is not None]
    if named:
        raise UsageError(
            f"what edits do is measured on logits, and this graph explains the direction {named[0]}"
            "; trace the prompt with a token as its target"
        )


def named_targets(info: GraphInfo, text: str, where: str) -> list[int]:
    """Numbers of the targets that a text names; UsageError, with what there is, for none."""
    ids = [target.vocabulary_ids[0] if target.is_token else -1 for target in info.targets]
    tokens, texts = [target.token for target in info.targets], target_texts(info.targets)
    targets = _matches(text, tokens, texts, ids)
    if not targets:
        typed = shown(text) if place_in(text) is None else text
        raise UsageError(
            f'{where} "{typed}" is no target of this graph; choose from {", ".join(texts)}'
        )
    return targets


def _matches(
    text: str, tokens: Sequence[str], texts: Sequence[str], ids: Sequence[int]
) -> list[int]:
    token_id, bare = id_in(text), unshown(text).strip()
    readings: tuple[Iterator[bool], ...] = (
        (token == text for token in tokens),
        (shown(token) == text for token in tokens),
        (shown_text == text for shown_text in texts),
        (its_id == token_id for its_id in ids),
        (bool(bare) and token.strip() == bare for token in tokens),
    )
    for reading in readings:
        places = [at for at, fits in enumerate(reading) if fits]
        if places:
            return places
    return []


def _runs(text: str, tokens: Sequence[str]) -> list[int]:
    """Positions of the neighbouring tokens whose bytes spell a text, wherever they do."""
    positions: list[int] = []
    for start in range(len(tokens)):
        run = list(takewhile(has_bytes, tokens[start:]))
        for end in range(2, len(run) + 1):
            if spelled(run[:end]).strip() == text.strip():
                positions += range(start, start + end)
    return list(dict.fromkeys(positions))
