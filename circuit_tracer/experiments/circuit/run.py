"""From prompts to a circuit: search, check, compare with random sets."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from circuit_tracer.attribution.estimate import clock
from circuit_tracer.attribution.resources import memory_remedy, products
from circuit_tracer.errors import UsageError, one_of
from circuit_tracer.experiments.circuit.components import Block, Components
from circuit_tracer.experiments.circuit.graphs import by_influence, by_total, expected_graph
from circuit_tracer.experiments.circuit.judging import Asked, Judge, Level
from circuit_tracer.experiments.circuit.reference import reference_of
from circuit_tracer.experiments.circuit.results import (
    BASES,
    BYS,
    CircuitReport,
    Component,
    PromptKept,
)
from circuit_tracer.experiments.circuit.search import AT_ONCE, ONE_BY_ONE, Found, OnProgress, search
from circuit_tracer.experiments.kit.study import Estimate
from circuit_tracer.models import Model
from circuit_tracer.models.devices import peak_memory
from circuit_tracer.models.passing import gradients_recorded
from circuit_tracer.transcoders.neurons import AnyDictionary, NeuronLayer

RANKINGS = {"influence": by_influence, "total": by_total}
"""First rankings by name; the search makes that of gradients itself."""
SETS, GRADIENTS = 3000, 160
"""What a long search takes: the sets of six rounds one by one, more than those of `TRIALS` and the
cuts before these; and the gradients of 20 rankings."""


@dataclass(frozen=True)
class CircuitSettings:
    """What a circuit is looked for with. Raises UsageError for values that clash."""

    basis: str = "neurons+attention"
    """What it is made of; with attention its channels, otherwise attention is whole."""
    ablation: str = "mean"
    """What everything else is set to: "mean", "zero" or "resample"."""
    reference: Path | None = None
    """Text of the means; a bundled model's own by default."""
    contrast_prompt: str | None = None
    """Prompt from which "resample" takes activations."""
    keep: float | None = None
    """Least share of the logit difference; .8 unless `kl` is given."""
    kl: float | None = None
    """Most nats from the whole model, in its place."""
    by: str = "gradient"
    """First ranking: "gradient" of what decides along the path from nothing to the whole model,
    "influence" in the graph, or "total" effects; the last two have no channels."""
    random: int = 20
    """Random sets that are drawn."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Check them."""
        one_of("`basis`", self.basis, BASES)
        one_of("`by`", self.by, BYS)
        if self.keep is not None and self.kl is not None:
            raise UsageError("`keep` and `kl` are two levels, and one decides; give one of them")
        if self.keep is not None and not 0 < self.keep <= 1:
            raise UsageError(f"`keep` {self.keep} is no share of a difference; give one up to 1")
        if self.kl is not None and not self.kl > 0:
            raise UsageError(f"`kl` {self.kl} has to be above 0")
        if self.by != "gradient" and self.has_channels:
            raise UsageError(
                f"`by` {self.by} ranks the nodes of a graph, which channels of attention are not; "
                f"choose `basis` {self.basis.partition('+')[0]}, or `by` gradient"
            )
        if self.random < 1:
            raise UsageError(f"`random` is {self.random}; it has to be at least 1")

    @property
    def has_channels(self) -> bool:
        """Whether attention's are components."""
        return self.basis.endswith("+attention")

    @property
    def level(self) -> Level:
        """What has to be kept."""
        return Level(0.8 if self.keep is None else self.keep, self.kl)


@gradients_recorded()
def find_circuit(
    model: Model,
    dictionary: AnyDictionary,
    found_with: Sequence[Asked],
    others: Sequence[Asked],
    settings: CircuitSettings,
    *,
    n_zeroed: int = 1,
    n_graphs: int = 0,
    on_progress: OnProgress | None = None,
    on_estimate: Callable[[Estimate], None] | None = None,
) -> tuple[CircuitReport, Components, Tensor]:
    """The smallest set found that keeps the answers of `found_with`, checked on `others`.

    `on_estimate` gets what a long search would take, and after it graphs of `n_graphs` prompts,
    before anything is ranked. Returns the report,
    the components and the numbers of those in the set. Raises what `reference_of` and `Components`
    do, and CircuitTracerError when memory runs out.
    """
    begun, report = time.process_time(), on_progress or (lambda stage, size: None)
    with memory_remedy(), products():
        components = Components(model, dictionary, settings.has_channels, n_zeroed)
        reference = reference_of(
            components, settings.ablation, settings.reference, settings.contrast_prompt
        )
        judge = Judge(components, found_with, reference, settings.level)
        if on_estimate is not None:
            on_estimate(expected(judge, n_graphs))
        ranking = RANKINGS.get(settings.by)
        first = None if ranking is None else ranking(components, found_with)
        found = search(judge, first, report)
        seconds = time.process_time() - begun
        report("drawing random sets", len(found.numbers))
        prompts = checked(judge, found, others, settings)
    listed = tuple(_listed(components, *one) for one in zip(found.numbers, found.harm, strict=True))
    weights = component_weights(components)
    circuit = CircuitReport(
        basis=settings.basis,
        ablation=settings.ablation,
        by=settings.by,
        level=in_words(settings.level),
        prompts=prompts,
        components=listed,
        n_components=len(components),
        is_minimal=found.is_minimal,
        weights=int(weights[found.numbers].sum()),
        all_weights=int(weights.sum()),
        model=model.identity,
        dictionary=dictionary.identity,
        seconds=seconds,
        chat=found_with[0].way.chat,
        system=found_with[0].way.system,
    )
    return circuit, components, found.numbers


def expected(judge: Judge, n_graphs: int) -> Estimate:
    """What a long search takes where nothing else runs, from a trial of a pass and a gradient, and
    graphs after it, as of a set of which each component could be left out alone."""
    n, device = len(judge.components), judge.components.model.device
    masks = torch.zeros(AT_ONCE, n, dtype=judge.components.dtype, device=device)
    n_threads = torch.get_num_threads() if device.type == "cpu" else 0
    times = [clock(n_threads)]
    for trial in (lambda: judge.kept(masks), lambda: float(judge.slopes(masks[0] > 0).sum())):
        trial()
        times.append(clock(n_threads))
    a_pass, a_gradient = np.diff(times)
    seconds = float(SETS / AT_ONCE * a_pass + GRADIENTS * a_gradient)
    memory = peak_memory(device) + 3 * min(n, ONE_BY_ONE) * n * masks.element_size()
    if n_graphs:
        graph = expected_graph(judge.components, judge.prompts[0], min(n, ONE_BY_ONE))
        seconds += n_graphs * graph.seconds
        memory = max(memory, int(graph.megabytes * 2**20))
    return Estimate(SETS, "sets of components to try", seconds, memory)


def in_words(level: Level) -> str:
    """What has to be kept."""
    if level.kl is not None:
        return f"KL at most {level.kl:g} nats, and the likeliest token"
    return f"{level.share:.0%} of the logit difference, and the likeliest token"


def checked(
    judge: Judge, found: Found, others: Sequence[Asked], settings: CircuitSettings
) -> tuple[PromptKept, ...]:
    """Every prompt with the circuit alone, without it, and with random sets in its place."""
    generator = torch.Generator(device="cpu").manual_seed(settings.seed)
    own = judge.components.mask(found.numbers).to("cpu", judge.components.dtype)
    masks = [own, 1 - own]
    masks += islice(random_masks(judge.components, own, generator), settings.random)
    every = [*judge.prompts, *others]
    whole = Judge(judge.components, every, judge.reference, judge.level)
    kept = whole.kept(torch.stack(masks).to(judge.components.model.device))
    text = judge.components.model.token_text
    return tuple(
        PromptKept(
            prompt=one.prompt,
            answer=text(one.answer),
            against=text(one.against),
            difference=one.difference,
            used=place < len(judge.prompts),
            share=float(kept.share[0, place]),
            kl=float(kept.kl[0, place]),
            right=bool(kept.right[0, place]),
            ablated_share=float(kept.share[1, place]),
            random_share=tuple(kept.share[2:, place].tolist()),
        )
        for place, one in enumerate(every)
    )


def random_masks(
    components: Components, mask: Tensor, generator: torch.Generator
) -> Iterator[Tensor]:
    """Sets of as many components of every block, of those that are not in the set where there are
    enough."""
    while True:
        drawn = torch.zeros_like(mask)
        for block in components.blocks:
            inside = mask[block.span].bool()
            count, outside = int(inside.sum()), (~inside).nonzero().squeeze(1)
            pool = outside if len(outside) >= count else torch.arange(block.size, device="cpu")
            chosen = pool[torch.randperm(len(pool), generator=generator, device="cpu")[:count]]
            drawn[block.start + chosen] = 1
        yield drawn


def _listed(components: Components, number: Tensor, harm: float) -> Component:
    block = components.block_of(int(number))
    within, width = int(number) - block.start, components.model.wiring.d_head
    is_channel = block.kind == "channel"
    return Component(
        kind=block.kind,
        layer=block.layer,
        index=within % width if is_channel else within,
        head=within // width if is_channel else None,
        harm=float(harm),
    )


def component_weights(components: Components) -> Int[Tensor, "N"]:
    """Weights other than zero that each component reads and writes with.

    Value heads that query heads share count for each of their channels.
    """
    return torch.cat([_weights_of(components, block) for block in components.blocks])


def _weights_of(components: Components, block: Block) -> Int[Tensor, "F"]:
    wiring, layer = components.model.wiring, block.layer
    if block.kind == "channel":
        values = wiring.attention_weights(layer).W_V
        shared = values.repeat_interleave(wiring.n_heads // len(values), 0).flatten(0, 1)
        return shared.count_nonzero(1) + components.output_weights[layer].count_nonzero(1)
    one = components.dictionary.layers[layer]
    if isinstance(one, NeuronLayer):
        w = one.weights
        gated = 0 if w.up is None else w.up.count_nonzero(1)
        return w.gate.count_nonzero(1) + gated + w.down.count_nonzero(0)
    assert isinstance(one.W_dec, Tensor)
    return one.W_enc.count_nonzero(1) + one.W_dec.flatten(1).count_nonzero(1)
