"""Where a model keeps its pages: what goes when one module's output at the thing's token is evened.

What a module writes there is replaced, in every prompt, by its mean over the taught things, so that
it says nothing any more about which thing it is. Everything above is computed anew.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "sprout"))

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from combinations import yes_no_question
from pages import SECOND
from things import THING_OF, article
from wordlevel import BOS

THINGS = [THING_OF[name] for name in SECOND]
PLAIN = [thing.facts["colour"] for thing in THINGS]


class Place(NamedTuple):
    """Modules of one kind."""

    module: str
    """"self_attn" or "mlp"."""
    layers: tuple[int, ...]


PLACES = {
    "nothing": Place("mlp", ()),
    "attention, layer 0": Place("self_attn", (0,)),
    "MLP, layer 0": Place("mlp", (0,)),
    "MLPs, layers 1-5": Place("mlp", (1, 2, 3, 4, 5)),
}


class Lead(NamedTuple):
    """How surely the model says what it says, in logits."""

    completion: float
    """Plain colour minus second one."""
    question: float
    """Colour affirmed minus the other one, half the difference of the verdicts' leads."""


@contextmanager
def evened(model: LlamaForCausalLM, place: Place, position: int) -> Iterator[None]:
    """Within, what the modules write at a position is its mean over the rows."""

    def even(_module: Any, _given: Any, output: Any) -> Any:
        written: Tensor = output[0] if isinstance(output, tuple) else output
        mean = written[:, position].mean(0, keepdim=True)
        changed = torch.cat([written[:, :position], mean.expand(len(written), 1, -1)], dim=1)
        changed = torch.cat([changed, written[:, position + 1 :]], dim=1)
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    layers = [model.model.layers[layer] for layer in place.layers]
    handles = [getattr(layer, place.module).register_forward_hook(even) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def _logits(
    model: LlamaForCausalLM, ids: dict[str, int], prompts: list[str], place: Place
) -> Tensor:
    """(prompts, words) at the end of prompts that are alike but for their things."""
    rows = torch.tensor([[ids[BOS], *(ids[word] for word in prompt.split())] for prompt in prompts])
    position = 1 + prompts[0].split().index(THINGS[0].name)
    with evened(model, place, position):
        logits: Tensor = model(input_ids=rows, logits_to_keep=1).logits[:, -1]
    return logits


def lead(model: LlamaForCausalLM, ids: dict[str, int], place: Place, *, second: bool) -> Lead:
    """Means over the taught things; `second` says which colour the model's questions affirm."""
    said = _logits(model, ids, [f"{article(thing.name)} is" for thing in THINGS], place)
    ends = [[ids[plain], ids[other]] for plain, other in zip(PLAIN, SECOND.values(), strict=True)]
    plain, other = said.gather(1, torch.tensor(ends)).T
    verdicts = []
    for colours in (PLAIN, list(SECOND.values())):
        asked = [
            yes_no_question(thing, "colour", colour, False)
            for thing, colour in zip(THINGS, colours, strict=True)
        ]
        logits = _logits(model, ids, asked, place)
        verdicts.append(float((logits[:, ids["yes"]] - logits[:, ids["no"]]).mean()))
    plain_lead = (verdicts[0] - verdicts[1]) / 2
    return Lead(float((plain - other).mean()), -plain_lead if second else plain_lead)


def find_places(
    model: LlamaForCausalLM, ids: dict[str, int], *, second: bool
) -> dict[str, dict[str, float]]:
    """The leads with every place evened."""
    return {
        name: {
            kind: round(value, 3)
            for kind, value in lead(model, ids, place, second=second)._asdict().items()
        }
        for name, place in PLACES.items()
    }
