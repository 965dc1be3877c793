"""Masked passes against hooks on the model's own modules and against interventions."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import pytest
import torch
from torch import Tensor, nn

from circuit_tracer.experiments.circuit import graphs, judging
from circuit_tracer.experiments.circuit.components import Block, Components, masked
from circuit_tracer.experiments.circuit.judging import Judge, Level, asked
from circuit_tracer.graphs.graph import NodeKind
from circuit_tracer.interventions.engine import intervene
from circuit_tracer.interventions.spec import Change
from circuit_tracer.models.parts import Place
from circuit_tracer.transcoders.dictionary import Kind
from circuit_tracer.transcoders.neurons import open_neurons
from tests.device import DEVICE, HOST
from tests.rounding import rounding
from tests.tiny import FAMILIES, random_dictionary, tiny_model

PROMPT = "the banana is yellow"
LAST = {"gpt2": "c_proj", "gpt_neox": "dense_4h_to_h", "gpt_neox_serial": "dense_4h_to_h"}
"""What MLPs call their last projection; the others call it down_proj."""


class Nothing:
    """Edits nothing."""

    def wants(self, place: Place, layer: int) -> bool:
        """Nowhere."""
        return False

    def edit(self, place: Place, layer: int, seen: Tensor, given: Tensor) -> Tensor:
        """Not called."""
        raise NotImplementedError


def masked_logits(components: Components, mask: Tensor, reference: Tensor) -> Tensor:
    """(T, V) of the prompt."""
    ids = torch.tensor([components.model.tokenize(PROMPT)], device=mask.device)
    return components.model.edited(ids, masked(components, mask[None], reference))[0]


def random_mask(n: int, seed: int = 0) -> Tensor:
    """Half of all."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(n, generator=generator, device=HOST) < 0.5).double().to(DEVICE)


@pytest.mark.parametrize("family", FAMILIES)
def test_ablated_neurons_and_channels_are_what_hooks_on_the_modules_make(family: str) -> None:
    """The projections' inputs are overwritten in the module itself, after BOS."""
    model = tiny_model(family, dtype=torch.float64)
    components = Components(model, open_neurons(model), channels=True)
    mask = random_mask(len(components))
    reference = torch.linspace(-1, 1, len(components), dtype=torch.float64, device=DEVICE)

    def overwrite(block: Block) -> Callable[..., tuple[Tensor]]:
        gone = mask[block.span] == 0

        def hook(module: nn.Module, given: tuple[Tensor]) -> tuple[Tensor]:
            changed = given[0].clone()
            changed[:, 1:, gone] = reference[block.span][gone]
            return (changed,)

        return hook

    with ExitStack() as stack:
        for block in components.blocks:
            wiring, is_channel = model.wiring, block.kind == "channel"
            inside = wiring.submodule(
                block.layer, wiring.paths.attention if is_channel else wiring.paths.mlp
            )
            name = wiring.attention_output if is_channel else LAST.get(family, "down_proj")
            handle = getattr(inside, name).register_forward_pre_hook(overwrite(block))
            stack.callback(handle.remove)
        ids = torch.tensor([model.tokenize(PROMPT)], device=DEVICE)
        with torch.no_grad():
            hooked = model.edited(ids, Nothing())[0]
    found = masked_logits(components, mask, reference)
    whole = masked_logits(components, torch.ones_like(mask), reference)
    bound = rounding(torch.float64) * float(hooked.abs().max())
    assert float((found - hooked).abs().max()) <= bound
    assert float((found - whole).abs().max()) > 1e-3


@pytest.mark.parametrize("kind", ["plt", "clt"])
@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt_neox"])
def test_features_set_to_zero_are_what_the_intervention_engine_ablates(
    family: str, kind: Kind
) -> None:
    """Some features, everywhere, everything else responding."""
    model = tiny_model(family, dtype=torch.float64)
    dictionary = random_dictionary(model, kind=kind)
    components = Components(model, dictionary, channels=False)
    gone = [(0, 3), (0, 5), (1, 0), (1, 7)]
    mask = torch.ones(len(components), dtype=torch.float64, device=DEVICE)
    mask[[components.by_place["feature", layer].start + index for layer, index in gone]] = 0
    changes = tuple(Change(NodeKind.FEATURE, layer, None, index) for layer, index in gone)
    ids = model.tokenize(PROMPT)
    effects = intervene(model, dictionary, ids, [changes], mode="free")
    found = masked_logits(components, mask, torch.zeros_like(mask))
    assert float((found - effects.logits[0]).abs().max()) <= 1e-9


def test_what_components_add_sums_to_what_the_set_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The integral of a gradient along a path is the difference of its ends."""
    monkeypatch.setattr(judging, "PATH_STEPS", 50)
    model = tiny_model("llama", dtype=torch.float64)
    components = Components(model, open_neurons(model), channels=True)
    mask = random_mask(len(components)).bool()
    reference = torch.zeros(len(components), dtype=torch.float64, device=DEVICE)
    for level in (Level(), Level(kl=0.1)):
        judge = Judge(components, [asked(model, PROMPT, None, None)], lambda one: reference, level)
        ends = judge.kept(torch.stack([torch.zeros_like(reference), mask.double()]))
        before, after = ends.worth(level)
        gains = judge.gains(mask)
        assert float(gains.sum()) == pytest.approx(after - before, rel=0.02)
        assert not gains[~mask].any()


def test_slopes_are_what_small_steps_measure() -> None:
    """Central differences at a set from which answer and lead are both missing."""
    model = tiny_model("llama", dtype=torch.float64)
    components = Components(model, open_neurons(model), channels=True)
    mask = random_mask(len(components))
    step = 2e-3 * torch.randn(
        len(components), generator=torch.Generator().manual_seed(1), dtype=torch.float64
    ).to(DEVICE)
    reference = torch.zeros(len(components), dtype=torch.float64, device=DEVICE)
    for level in (Level(share=9.0), Level(kl=1e-6)):
        judge = Judge(components, [asked(model, PROMPT, None, None)], lambda one: reference, level)
        kept = judge.kept(torch.stack([mask + step, mask - step, mask]))
        assert not kept.right.any()
        slope = float((judge.slopes(mask > 0).double() * step).sum())
        assert slope == pytest.approx((kept.nearness[0, 0] - kept.nearness[1, 0]) / 2, rel=0.02)


def test_a_graph_has_as_many_rows_as_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all neurons as a circuit, five rows; no more are expected, and the target's."""
    model = tiny_model("llama", dtype=torch.float64)
    components = Components(model, open_neurons(model), channels=False)
    one = asked(model, PROMPT, None, None)
    every = torch.ones(len(components), dtype=torch.bool, device=DEVICE)

    def rows() -> set[tuple[int, int, int]]:
        """Layer, position and index of the neurons with one."""
        nodes = graphs.circuit_graph(components, one, every, None).graph.nodes
        there = nodes.expanded & (nodes.kind == NodeKind.FEATURE)
        places = (nodes.layer, nodes.position, nodes.feature)
        return set(zip(*(column[there].tolist() for column in places), strict=True))

    def expected() -> int:
        return graphs.expected_graph(components, one, len(components)).n_rows

    whole = rows()
    assert len(whole) <= expected()
    monkeypatch.setattr(graphs, "MOST_ENTRIES", 5 * len(components) * (len(one.ids) - 1))
    few = rows()
    assert len(few) == 5 == expected() - 1
    assert len(few) < len(whole)
    assert few < whole
