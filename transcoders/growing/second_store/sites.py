"""Where a model keeps its stores: what one module's mean ablation at the thing's token destroys.

What the module writes there is replaced, in every prompt, by its mean over the taught things, so
that it no longer depends on which thing it is. All later layers are recomputed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from transcoders.growing.language.combinations import yes_no_question
from transcoders.growing.language.things import THING_OF, article
from transcoders.growing.language.tokenizer import BOS
from transcoders.growing.second_store.lessons import SECOND_COLOURS

THINGS = [THING_OF[name] for name in SECOND_COLOURS]
PLAIN = [thing.facts["colour"] for thing in THINGS]


class Site(NamedTuple):
    """Modules of one kind."""

    module: str
    """"self_attn" or "mlp"."""
    layers: tuple[int, ...]


SITES = {
    "nothing": Site("mlp", ()),
    "attention, layer 0": Site("self_attn", (0,)),
    "MLP, layer 0": Site("mlp", (0,)),
    "MLPs, layers 1-5": Site("mlp", (1, 2, 3, 4, 5)),
}


class Lead(NamedTuple):
    """How far the model's answer leads, in logits."""

    completion: float
    """Plain colour minus second one."""
    question: float
    """Colour affirmed minus the other one, half the difference of the verdicts' leads."""


@contextmanager
def mean_ablated(model: LlamaForCausalLM, site: Site, position: int) -> Iterator[None]:
    """Within, what the modules write at a position is its mean over the rows."""

    def ablate(_module: Any, _inputs: Any, output: Any) -> Any:
        written: Tensor = output[0] if isinstance(output, tuple) else output
        mean = written[:, position].mean(0, keepdim=True)
        changed = torch.cat([written[:, :position], mean.expand(len(written), 1, -1)], dim=1)
        changed = torch.cat([changed, written[:, position + 1 :]], dim=1)
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    layers = [model.model.layers[layer] for layer in site.layers]
    handles = [getattr(layer, site.module).register_forward_hook(ablate) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def _logits(model: LlamaForCausalLM, ids: dict[str, int], prompts: list[str], site: Site) -> Tensor:
    """(prompts, words) at the end of prompts that are alike but for their things."""
    rows = torch.tensor([[ids[BOS], *(ids[word] for word in prompt.split())] for prompt in prompts])
    position = 1 + prompts[0].split().index(THINGS[0].name)
    with mean_ablated(model, site, position):
        logits: Tensor = model(input_ids=rows, logits_to_keep=1).logits[:, -1]
    return logits


def lead(model: LlamaForCausalLM, ids: dict[str, int], site: Site, *, second: bool) -> Lead:
    """Means over the taught things; `second` if the model's questions affirm the second colour."""
    completions = _logits(model, ids, [f"{article(thing.name)} is" for thing in THINGS], site)
    ends = [
        [ids[plain], ids[other]]
        for plain, other in zip(PLAIN, SECOND_COLOURS.values(), strict=True)
    ]
    plain, other = completions.gather(1, torch.tensor(ends)).T
    verdicts = []
    for colours in (PLAIN, list(SECOND_COLOURS.values())):
        asked = [
            yes_no_question(thing, "colour", colour, False)
            for thing, colour in zip(THINGS, colours, strict=True)
        ]
        logits = _logits(model, ids, asked, site)
        verdicts.append(float((logits[:, ids["yes"]] - logits[:, ids["no"]]).mean()))
    plain_lead = (verdicts[0] - verdicts[1]) / 2
    return Lead(float((plain - other).mean()), -plain_lead if second else plain_lead)


def leads_by_site(
    model: LlamaForCausalLM, ids: dict[str, int], *, second: bool
) -> dict[str, dict[str, float]]:
    """The leads with every site mean-ablated."""
    return {
        name: {
            kind: round(value, 3)
            for kind, value in lead(model, ids, site, second=second)._asdict().items()
        }
        for name, site in SITES.items()
    }
