"""The search on judges whose smallest sets are known, and on a bundled model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor

from circuit_tracer.experiments.circuit import search as searching
from circuit_tracer.experiments.circuit.components import Components
from circuit_tracer.experiments.circuit.judging import Judge, Kept, Level
from circuit_tracer.experiments.circuit.search import search
from circuit_tracer.graphs.graph import Bools
from tests.device import HOST

NEEDED, EITHER, USELESS = (3, 7, 11), (4, 5), 9


class Known(Judge):
    """Needs 3, 7, 11, and 4 or 5; 9 looks as if it added most."""

    def kept(self, masks: Tensor) -> Kept:
        """A fifth each; without 7 the likeliest token is another."""
        parts = [masks[:, one] for one in NEEDED]
        parts += [masks[:, EITHER].max(1).values, masks.new_ones(len(masks))]
        share = torch.stack(parts).double().mean(0).numpy()[:, None]
        right = masks[:, [7]].numpy() > 0
        return Kept(share, 1 - share, right, np.minimum(share - self.level.share, 0) + right - 1)

    def reaches(self, masks: Tensor) -> Bools:
        """All but 9."""
        return self.kept(masks).reaches(self.level)

    def gains(self, among: Tensor) -> Tensor:
        """Misleading for one."""
        gains = torch.zeros(len(among), device=HOST)
        gains[[*NEEDED, *EITHER]] = 0.2
        gains[USELESS] = 1.0
        return gains * among

    def slopes(self, kept: Tensor) -> Tensor:
        """What is still missing would help; of the two that do the same, none once one is there."""
        slopes = torch.zeros(len(kept), device=HOST)
        slopes[[*NEEDED]] = 0.2
        slopes[[*EITHER]] = 0.2 * (1 - kept[[*EITHER]].float().amax())
        return slopes


class Overdone(Judge):
    """22 components add .7 each to what should be 1, and 36 take .4 away: all of them together are
    right to the last digit, and so are two of the first kind with one of the second."""

    adds = torch.tensor([0.7] * 22 + [-0.4] * 36, device=HOST)

    def kept(self, masks: Tensor) -> Kept:
        """KL is how far off it is."""
        off = (masks @ self.adds - 1).abs().double().numpy()[:, None]
        return Kept(1 - off, off, off < np.inf, np.minimum(0.1 - off, 0))

    def gains(self, among: Tensor) -> Tensor:
        """From nothing on: those that take away do harm."""
        return self.adds * among

    def slopes(self, kept: Tensor) -> Tensor:
        """Towards 1."""
        return self.adds * torch.sign(1 - self.adds @ kept.float())


class AllNeeded(Overdone):
    """Three components, and each is needed."""

    adds = Overdone.adds[[0, 1, -1]]


class Scattered(Judge):
    """Needs every 40th component, and no ranking says which; counts the sets it is asked about."""

    def __init__(self, count: int) -> None:
        super().__init__(
            cast(Components, Counted(count)), (), lambda one: torch.zeros(1), Level(share=0.999)
        )
        self.asked = list[int]()

    def kept(self, masks: Tensor) -> Kept:
        """The share of those it needs."""
        self.asked.append(len(masks))
        share = masks[:, ::40].double().mean(1).numpy()[:, None]
        return Kept(share, 1 - share, share > 0, np.minimum(share - self.level.share, 0))

    def gains(self, among: Tensor) -> Tensor:
        """All alike."""
        return among.float()

    def slopes(self, kept: Tensor) -> Tensor:
        """All alike."""
        return torch.zeros(len(kept), device=HOST)


class Counted:
    """So many components."""

    model, dtype = SimpleNamespace(device=HOST), torch.float32

    def __init__(self, count: int = 20) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count


@pytest.mark.parametrize("one_by_one", [512, 2])
@pytest.mark.parametrize("given", [None, "least first"])
def test_what_is_found_is_enough_and_nothing_of_it_can_go(
    given: str | None, one_by_one: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also from a ranking that has the useless ones first."""
    monkeypatch.setattr(searching, "ONE_BY_ONE", one_by_one)
    judge = Known(cast(Components, Counted()), (), lambda one: torch.zeros(20), Level(share=0.9))
    ranking = None if given is None else -judge.gains(torch.ones(20, device=HOST))
    found = search(judge, ranking, lambda stage, size: None)
    numbers = set(found.numbers.tolist())
    assert set(NEEDED) <= numbers
    assert numbers & set(EITHER)
    assert found.is_minimal == (one_by_one == 512)
    if found.is_minimal:
        assert len(numbers) == 4
        assert int(found.numbers[0]) == 7
        assert np.allclose(found.harm, 0.2)


def test_a_small_set_is_found_where_no_ranking_has_it_in_front(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every prefix of a ranking but the whole overdoes it; three components suffice."""
    components = cast(Components, Counted(len(Overdone.adds)))
    judge = Overdone(components, (), lambda one: torch.zeros(1), Level(kl=0.1))
    found = search(judge, None, lambda stage, size: None)
    assert sorted(Overdone.adds[found.numbers].tolist()) == pytest.approx([-0.4, 0.7, 0.7])
    monkeypatch.setattr(searching, "EXCHANGES", 0)
    assert len(search(judge, None, lambda stage, size: None).numbers) > 20


def test_of_a_few_components_all_can_be_needed() -> None:
    """An eighth of three is none."""
    judge = AllNeeded(cast(Components, Counted(3)), (), lambda one: torch.zeros(1), Level(kl=0.1))
    assert len(search(judge, None, lambda stage, size: None).numbers) == 3


def test_a_set_too_large_to_try_one_by_one_loses_groups_first() -> None:
    """50 of 2,000 are found with fewer trials than there are components."""
    judge = Scattered(2000)
    found = search(judge, None, lambda stage, size: None)
    assert sorted(found.numbers.tolist()) == list(range(0, 2000, 40))
    assert found.is_minimal
    assert sum(judge.asked) < 2000


def test_a_search_that_would_take_long_stays_with_what_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The set is enough, and said not to be minimal."""
    monkeypatch.setattr(searching, "TRIALS", 600)
    judge = Scattered(8000)
    found = search(judge, None, lambda stage, size: None)
    assert not found.is_minimal
    assert searching.ONE_BY_ONE < len(found.numbers) < 7961
    assert set(range(0, 8000, 40)) <= set(found.numbers.tolist())
    assert sum(judge.asked) < 1200
