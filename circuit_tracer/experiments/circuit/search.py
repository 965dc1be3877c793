"""The smallest set of components found that keeps an answer.

1. rank all components, by what they add along the path from nothing to the whole model or by a
   ranking that is given; take as many as are needed. Where an eighth of them is not enough, as
   where another token runs ahead or the answer is overdone, take the number that comes nearest and
   put components in or out by the slope there, as many at a time as help most;
2. rank again by what they add within that set, which is not what they add to the whole; cut again,
   until nothing more can be cut;
3. leave out what is not needed: the least harmful ones first, as many as can go together, until no
   single one can go. Of a set too large for that, groups of neighbours in rank: one after the
   other, smaller ones when few can go, for so many trials; what is left then is enough, and may be
   more than is needed.

Otherwise the set is one from which nothing can be left out, not the smallest there is: that one
would have to be looked for among all sets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from circuit_tracer.experiments.circuit.judging import Judge
from circuit_tracer.graphs.graph import Bools, Floats
from circuit_tracer.models.devices import as_floats

AT_ONCE = 8
"""Sizes that are tried in one pass."""
ONE_BY_ONE = 512
"""Largest set of which every component is left out alone; larger ones lose groups first."""
GROUPS, MANY, TRIALS = 64, 16, 1500
"""How many groups these are, twice as many once no more than a sixteenth can go, and how many sets
are tried before it stays with what is left."""
FEW = 8
"""What more than an eighth of all components is needed for is looked for by exchanges, too."""
EXCHANGES, STAYS = 40, 3.0
"""How often components are put in or out, and for how many turns they then stay."""
OnProgress = Callable[[str, int], None]


class Found(NamedTuple):
    """A set that keeps the answer."""

    numbers: Int[Tensor, "n"]
    """Its components, the most needed one first."""
    harm: Floats
    """(n,) by how much what decides falls without each; those without which the likeliest token is
    another come first."""
    is_minimal: bool
    """Whether each was left out alone, and none could be."""


def search(judge: Judge, ranking: Tensor | None, report: OnProgress) -> Found:
    """A set that keeps enough; `ranking` (N,) orders the components at first, larger is first."""
    n = len(judge.components)
    every = torch.ones(n, dtype=torch.bool, device=judge.components.model.device)
    report("ranking components", n)
    gains = judge.gains(every) if ranking is None else ranking
    chosen = gains.argsort(descending=True, stable=True)
    size = fewest(judge, chosen)
    exchanged = _exchanged(judge, chosen) if size > n // FEW else None
    chosen = chosen[:size] if exchanged is None else exchanged
    while True:
        report("ranking within the set", len(chosen))
        ordered, _ = _ranked(judge, chosen)
        size = fewest(judge, ordered)
        if size >= len(chosen):
            return _pruned(judge, chosen, report)
        chosen = ordered[:size]


def _exchanged(judge: Judge, ordered: Int[Tensor, "n"]) -> Int[Tensor, "m"] | None:
    """A set that keeps enough, from the best of the short prefixes on; None if none is found.

    What was moved stays for some turns, so that it does not go in and out (tabu search).
    """
    most = max(1, len(ordered) // FEW)
    masks = _prefixes(judge, ordered, [0, *_between(0, most), most])
    moves, stays = torch.zeros_like(masks), torch.zeros_like(masks[0])
    for _ in range(EXCHANGES):
        kept = judge.kept(masks)
        sizes = np.where(kept.reaches(judge.level), as_floats(masks.sum(1)), np.inf)
        if np.isfinite(sizes.min()):
            return masks[int(sizes.argmin())].nonzero()[:, 0]
        best = int(kept.nearness.mean(1).argmax())
        mask, stays = masks[best], torch.where(moves[best] > 0, STAYS, (stays - 1).clamp_min(0))
        helps = judge.slopes(mask > 0) * (1 - 2 * mask) * (stays == 0)
        numbers = [2**i for i in range(AT_ONCE) if 2**i <= int((helps > 0).sum())]
        if not numbers:
            return None
        moves = _prefixes(judge, helps.argsort(descending=True, stable=True), numbers)
        masks = (moves - mask).abs()
    return None


def fewest(judge: Judge, ordered: Int[Tensor, "n"]) -> int:
    """How many of these, from the first on, keep enough; all of them do."""
    return _boundary(len(ordered), lambda sizes: judge.reaches(_prefixes(judge, ordered, sizes)))


def _pruned(judge: Judge, chosen: Int[Tensor, "n"], report: OnProgress) -> Found:
    if len(chosen) > ONE_BY_ONE:
        chosen = _thinned(judge, chosen, report)
    if len(chosen) > ONE_BY_ONE:
        ranked, gains = _ranked(judge, chosen)
        return Found(ranked, as_floats(gains), is_minimal=False)
    while True:
        report("leaving out what is not needed", len(chosen))
        harm, is_right = _alone(judge, chosen)
        # What costs the likeliest token is needed, whatever it does to the rest.
        order = np.lexsort((-harm, is_right))
        ordered = chosen[torch.from_numpy(order).to(chosen.device)]
        size = fewest(judge, ordered)
        if size == len(chosen):
            return Found(ordered, harm[order], is_minimal=True)
        chosen = ordered[:size]


def _thinned(judge: Judge, chosen: Int[Tensor, "n"], report: OnProgress) -> Int[Tensor, "m"]:
    """Without groups that can go, until no single component can or `TRIALS` sets were tried."""
    mask, count, tried = _prefixes(judge, chosen, [len(chosen)]), GROUPS, 0
    while tried < TRIALS:
        report("leaving out groups", len(chosen))
        groups = _ranked(judge, chosen)[0].tensor_split(min(count, len(chosen)))
        members = torch.cat([_prefixes(judge, one, [len(one)]) for one in groups])
        alone = judge.kept(mask - members)
        tried += len(groups)
        can_go = np.flatnonzero(alone.reaches(judge.level))
        order = can_go[np.argsort(-alone.worth(judge.level)[can_go], kind="stable")]
        n_gone = 0
        while len(order) and tried < TRIALS:
            fewer = mask - members[order[:AT_ONCE]].cumsum(0)
            together = int(np.flatnonzero(judge.reaches(fewer)).max(initial=-1)) + 1
            mask = fewer[together - 1 :][:1] if together else mask
            order = order[together + (together < len(fewer)) :]  # the one after these has to stay
            tried, n_gone = tried + len(fewer), n_gone + together
        if not n_gone and len(groups) >= min(len(chosen), ONE_BY_ONE):
            break
        chosen = mask[0].nonzero()[:, 0]
        count = min(count * (1 + (n_gone <= len(groups) // MANY)), ONE_BY_ONE)
    return chosen


def _alone(judge: Judge, chosen: Int[Tensor, "n"]) -> tuple[Floats, Bools]:
    """(n,) by how much what decides falls without each, and whether the likeliest tokens stay."""
    masks = _prefixes(judge, chosen, [len(chosen)]).repeat(len(chosen) + 1, 1)
    masks[torch.arange(len(chosen), device=chosen.device), chosen] = 0
    kept = judge.kept(masks)
    worth, right = kept.worth(judge.level), np.all(kept.right[:-1], axis=1)
    return worth[-1] - worth[:-1], right


def _ranked(judge: Judge, chosen: Int[Tensor, "n"]) -> tuple[Int[Tensor, "n"], Tensor]:
    """A set by what each adds to it, and what that is."""
    among = _prefixes(judge, chosen, [len(chosen)])[0] > 0
    gains, order = judge.gains(among)[chosen].sort(descending=True, stable=True)
    return chosen[order], gains


def _prefixes(judge: Judge, ordered: Int[Tensor, "n"], sizes: list[int]) -> Tensor:
    masks = torch.zeros(
        len(sizes), len(judge.components), dtype=judge.components.dtype, device=ordered.device
    )
    for row, size in enumerate(sizes):
        masks[row, ordered[:size]] = 1
    return masks


def _boundary(n: int, reaches: Callable[[list[int]], Bools]) -> int:
    """A size that reaches where the one below does not; sizes are tried some at a time.

    It is the only one where reaching is lasting, and one of them where it is not.
    """
    below, least = -1, n
    while least - below > 1:
        sizes = list(_between(below, least))
        good = reaches(sizes)
        first = next((i for i, one in enumerate(good) if one), len(sizes))
        below = sizes[first - 1] if first else below
        least = sizes[first] if first < len(sizes) else least
    return least


def _between(below: int, least: int) -> Iterator[int]:
    """Sizes between two, closer together near the smaller one."""
    places = np.geomspace(1, least - below, AT_ONCE + 2)[1:-1]
    yield from sorted({min(max(int(below + one), below + 1), least - 1) for one in places})
