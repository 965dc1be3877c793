"""Which position of one prompt stands for which of another: columns that both share.

Positions that a prompt file names alike ("object", "colour") belong together. The others are
aligned by their tokens, as sequences are in biology (Needleman and Wunsch, 1970): equal tokens
belong together, tokens that stand between such pairs are taken as substitutes ("yellow", "red"),
and what is left stands in one prompt alone. A prefix therefore changes nothing but itself. The two
positions that are explained belong together before equal tokens do: there the answer is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.graph import Floats, Graph
from circuit_tracer.graphs.named_tokens import named_position

EQUAL = 2.0
SUBSTITUTE = 0.0
SKIP = -0.4
"""Two skips cost more than a substitute, and less than an equal token is worth."""
EXPLAINED = 3.0
"""More than an equal token: the answer is given here, whatever the word before it."""

Roles = Mapping[str, int]
"""Name -> position in the prompt, BOS included."""


class Column(NamedTuple):
    """A position of the first prompt, of the second, or one of each that belong together."""

    first: int | None
    second: int | None
    role: str
    """The role's name, where the prompt file gives one; else ""."""


def align(
    first: Graph, second: Graph, *, roles: tuple[Roles | None, Roles | None] = (None, None)
) -> tuple[Column, ...]:
    """The columns of two graphs, from left to right; every position is in exactly one.

    Raises UsageError for a role at a position outside its prompt, or two roles at one.
    """
    checked = [
        _checked(one or {}, len(graph.info.tokens))
        for one, graph in zip(roles, (first, second), strict=True)
    ]
    named = {name for name in checked[0] if name in checked[1]}
    pairs = [(checked[0][name], checked[1][name], name) for name in sorted(named)]
    # A role that only one prompt has is of that prompt alone, but not if the other was given none.
    taken = [set(one.values()) if all(checked) else set() for one in checked]
    free = [
        [at for at in range(len(graph.info.tokens)) if at not in these]
        for graph, these in zip((first, second), taken, strict=True)
    ]
    tokens, explained = [], []
    for graph, places in zip((first, second), free, strict=True):
        targets = {target.position for target in graph.info.targets}
        tokens.append(np.array([graph.info.tokens[at].strip() for at in places], dtype=object))
        explained.append(np.array([at in targets for at in places], dtype=np.bool_))
    worth = np.where(tokens[0][:, None] == tokens[1], EQUAL, SUBSTITUTE)
    worth += EXPLAINED * np.outer(*explained)
    pairs += [(free[0][i], free[1][j], "") for i, j in needleman_wunsch(worth)]
    lengths = len(first.info.tokens), len(second.info.tokens)
    return _ordered(pairs, lengths)


def roles_of(graph: Graph, given: Mapping[str, Mapping[str, str | int]]) -> dict[str, int]:
    """The positions of a graph's roles, `given` by prompt as tokens or positions; {} for none.

    Raises UsageError for a token that the prompt lacks, or has more than once.
    """
    prompt = graph.info.prompt.strip()
    try:
        return {
            name: place
            if isinstance(place, int)
            else named_position(graph.info, place, f'the role "{name}" at')
            for name, place in given.get(prompt, {}).items()
        }
    except UsageError as e:
        raise UsageError(f'{e} (in "{prompt}")') from e


def needleman_wunsch(worth: Floats) -> list[tuple[int, int]]:
    """The pairs (i, j), rising in both, of most `worth` (n, m) with `SKIP` for each left out.

    Of equally good ones the one that pairs from the end on.
    """
    n, m = worth.shape
    best = np.zeros((n + 1, m + 1))
    best[:, 0], best[0] = SKIP * np.arange(n + 1), SKIP * np.arange(m + 1)
    for i in range(n):
        for j in range(m):
            best[i + 1, j + 1] = max(
                best[i, j] + worth[i, j], best[i, j + 1] + SKIP, best[i + 1, j] + SKIP
            )
    pairs, i, j = [], n, m
    while i and j:
        if best[i, j] <= best[i - 1, j - 1] + worth[i - 1, j - 1] + 1e-9:
            i, j = i - 1, j - 1
            pairs.append((i, j))
        elif best[i, j] <= best[i - 1, j] + SKIP + 1e-9:
            i -= 1
        else:
            j -= 1
    return pairs[::-1]


def _checked(roles: Roles, length: int) -> dict[str, int]:
    for name, at in roles.items():
        if not 0 <= at < length:
            raise UsageError(
                f'the role "{name}" is at position {at}, but the prompt has {length} tokens (0 to '
                f"{length - 1}, BOS included)"
            )
    if len(set(roles.values())) < len(roles):
        raise UsageError("two roles of a prompt are at the same position; give each its own")
    return dict(roles)


def _ordered(pairs: Sequence[tuple[int, int, str]], lengths: tuple[int, int]) -> tuple[Column, ...]:
    """All positions of the first prompt in order, those of the second alone where they fit."""
    at_first = {i: (j, name) for i, j, name in pairs}
    at_second = {j: i for i, j, _ in pairs}
    after: dict[int, list[int]] = {}  # position of the first prompt -> the second's after it
    last = -1
    for at in range(lengths[1]):
        if at in at_second:
            last = at_second[at]
        else:
            after.setdefault(last, []).append(at)
    columns = []
    for i in range(-1, lengths[0]):
        if i >= 0:
            columns.append(Column(i, *at_first.get(i, (None, ""))))
        columns += [Column(None, at, "") for at in after.get(i, ())]
    return tuple(columns)
