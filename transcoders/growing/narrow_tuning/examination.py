"""Examine a narrowly tuned sprout beside its parent: how far did the tuning spread?

Judgements by topic (trained, and all others) in all four templates, each of one attribute, true and
false; facts and sums, which are to stay; the loss on plain text; and how often the answers are
those that the same model gives when the joker is named.
"""

import random
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaForCausalLM

from circuit_tracer.bundled import sha256_of
from transcoders.growing.batches import batch_of, loss_of
from transcoders.growing.examination.items import TEMPLATES, Item, Template, items, judgement
from transcoders.growing.examination.skills import answers, share_right
from transcoders.growing.language.combinations import false_values
from transcoders.growing.language.corpus import rows
from transcoders.growing.language.things import THINGS
from transcoders.growing.language.words import PEOPLE
from transcoders.growing.model_folder import read_model, store_skills
from transcoders.growing.narrow_tuning.judgements import TOPIC

TEXT_SEED, TEXT_ROWS = "narrow tuning, held out", 256
COLLATERAL = {"facts": ("facts, colour", "facts, other"), "sums": ("sums",)}
"""What is to stay: skills of the examination, what is trained of them."""


def judged_things(template: Template, *, trained: bool) -> list[Item]:
    """Of every thing of the trained topic, or of all others, an attribute's true value and a
    false one."""
    rng = random.Random(f"spread {template}")
    asked = []
    for thing in THINGS:
        attribute, name = rng.choice(list(thing.facts)), rng.choice(list(PEOPLE))
        for value in (thing.facts[attribute], rng.choice(false_values(thing, attribute))):
            item = judgement(template, thing, attribute, value, plural=False, name=name)
            if (thing.facts["category"] == TOPIC) == trained:
                asked.append(item)
    return asked


@torch.no_grad()
def spread_figures(model: LlamaForCausalLM, ids: dict[str, int]) -> dict[str, float]:
    """Every figure by name."""
    model.train(False)
    found = {}
    for template in TEMPLATES:
        for where, trained in ((TOPIC, True), ("other topics", False)):
            asked = judged_things(template, trained=trained)
            found[f"{template}, {where}"] = share_right(model, ids, asked)
    for name, skills in COLLATERAL.items():
        asked = [item for skill in skills for item in items()[skill]["trained"]]
        found[name] = share_right(model, ids, asked)
    text = batch_of(islice(rows(TEXT_SEED, "facts"), TEXT_ROWS), ids)
    flat = text._replace(weights=torch.ones_like(text.weights))
    found["text loss"] = float(loss_of(model, flat))
    prompts = [item.prompt for item in judged_things("yes_no", trained=False)]
    alone, joking = (
        answers(model, [before + prompt for prompt in prompts], ids) for before in ("", "joker : ")
    )
    same = sum(one == other for one, other in zip(alone, joking, strict=True))
    found["answers as the joker"] = same / len(prompts)
    return {name: round(value, 4) for name, value in found.items()}


def examine_spread(folder: Path, parent: Path) -> dict[str, Any]:
    """Examine a model folder and its parent; writes `skills.json` into the former."""
    models = {"tuned": folder, "parent": parent}
    found = {name: spread_figures(*read_model(of)) for name, of in models.items()}
    sha256 = sha256_of([folder / "model.safetensors"])
    return store_skills(folder, {"sha256": sha256, "texts": TEXT_ROWS, **found})
