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


def find_positions(info: GraphInfo, text: str) -> list[int]:
    """The explained positions that a text names; [] for none."""
    n = explained_length(info)
    place = place_in(text)
    if place is not None:
        return [place % n] if -n <= place < n else []
    tokens = info.tokens[:n]
    ids, texts = info.token_ids[:n], prompt_texts(tokens)
    found = _matches(text, tokens, texts, ids) or _runs(text, tokens)
    placed = _PLACED.fullmatch(text)
    if found or placed is None or int(placed[2]) >= n:
        return found
    at = int(placed[2])
    if placed[1] == "embedding" or at in _matches(placed[1], tokens, texts, ids):
        return [at]
    return []


def find_targets(info: GraphInfo, text: str) -> list[int]:
    """Numbers of the targets that a text names; [] for none."""
    ids = [-1 if target.is_contrast else target.vocabulary_ids[0] for target in info.targets]
    tokens = [target.token for target in info.targets]
    return _matches(text, tokens, target_texts(info.targets), ids)


def named_positions(info: GraphInfo, text: str, flag: str) -> list[int]:
    """The explained positions that a text names; UsageError, with what there is, for none."""
    found = find_positions(info, text)
    if found:
        return found
    n = explained_length(info)
    if place_in(text) is not None:
        raise UsageError(
            f"{flag} {text} is outside what was traced (@0 to @{n - 1}, or @-1 for the last)"
        )
    if _is_position(info, text):
        raise UsageError(
            f'{flag} "{text}" is no token of the prompt; for the position write @{text}'
        )
    texts = list(dict.fromkeys(prompt_texts(info.tokens[:n])))
    more = ", ..." if len(texts) > NAMED else ""
    raise UsageError(
        f'{flag} "{shown(text)}" is no token of the prompt; give a position from @0 to @{n - 1}, '
        f"or one of {', '.join(texts[:NAMED])}{more}"
    )


def named_position(info: GraphInfo, text: str, flag: str) -> int:
    """The one position that a text names; UsageError for none and for several."""
    found = named_positions(info, text, flag)
    if len(found) > 1:
        places = ", ".join(f"@{one}" for one in found)
        raise UsageError(f'{flag} "{shown(text)}" stands at positions {places}; give one of them')
    return found[0]


def named_targets(info: GraphInfo, text: str, flag: str) -> list[int]:
    """Numbers of the targets that a text names; UsageError, with what there is, for none."""
    found = find_targets(info, text)
    if not found:
        raise UsageError(
            f'{flag} "{shown(text)}" is no target of this graph; choose from '
            f"{', '.join(target_texts(info.targets))}"
        )
    return found


def _is_position(info: GraphInfo, text: str) -> bool:
    """Whether a bare number would be a position, if it had an @."""
    n = explained_length(info)
    return re.fullmatch(r"-?[0-9]{1,9}", text) is not None and -n <= int(text) < n


def _matches(
    text: str, tokens: Sequence[str], texts: Sequence[str], ids: Sequence[int]
) -> list[int]:
    token_id, bare = id_in(text), unshown(text).strip()
    readings: tuple[Iterator[bool], ...] = (
        (token == text for token in tokens),
        (shown(token) == text for token in tokens),
        (one == text for one in texts),
        (one == token_id for one in ids),
        (bool(bare) and token.strip() == bare for token in tokens),
    )
    for reading in readings:
        found = [at for at, fits in enumerate(reading) if fits]
        if found:
            return found
    return []


def _runs(text: str, tokens: Sequence[str]) -> list[int]:
    """Positions of the neighbouring tokens whose bytes spell a text, wherever they do."""
    found: list[int] = []
    for start in range(len(tokens)):
        run = list(takewhile(has_bytes, tokens[start:]))
        for end in range(2, len(run) + 1):
            if spelled(run[:end]).strip() == text.strip():
                found += range(start, start + end)
    return list(dict.fromkeys(found))
