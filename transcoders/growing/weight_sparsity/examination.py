"""Examine a weight-sparse sibling of sprout beside its parent: what got smaller, what did not?

Weights of the layers other than zero; the loss on rows that neither has seen; every skill of
sprout's examination; the shipped prompts; and how selective neurons are. A neuron's words are how
its activity (absolute values) spreads over the words it is active at: effective words are the
exponential of that spread's entropy, one for a neuron of one word. A neuron is live if somewhere in
the text it writes at least a hundredth of the residual stream's length.
"""

from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from circuit_tracer.bundled import sha256_of
from transcoders.growing.batches import batch_of, loss_of
from transcoders.growing.examination.items import items
from transcoders.growing.examination.skills import PROMPTS, check_prompts, examine
from transcoders.growing.language.corpus import rows
from transcoders.growing.model_folder import read_model, store_skills
from transcoders.growing.weight_sparsity.activity import Activity
from transcoders.growing.weight_sparsity.training import hidden_matrices

TEXT_SEED, TEXT_ROWS = "weight sparsity, held out", 1024
NEURON_ROWS = 256
LIVE = 0.01


@torch.no_grad()
def neuron_figures(model: LlamaForCausalLM, tokens: Tensor) -> dict[str, float]:
    """Live neurons, and the median of their effective words, on rows of tokens."""
    activity = Activity(model)
    words = torch.nn.functional.one_hot(tokens.flatten(), model.config.vocab_size).float()
    model(input_ids=tokens)
    live, effective = 0, []
    for layer in activity.layers:
        alive = layer.shares.flatten(0, 1).amax(0) >= LIVE
        by_word = words.T @ layer.sizes.flatten(0, 1)[:, alive]
        spread = by_word / by_word.sum(0)
        effective.append(torch.special.entr(spread).sum(0).exp())
        live += int(alive.sum())
    activity.remove()
    return {"live": live, "effective_words": round(float(torch.cat(effective).median()), 1)}


@torch.no_grad()
def figures_of(folder: Path) -> dict[str, Any]:
    """Every figure of a model folder."""
    model, ids = read_model(folder)
    model.train(False)
    text = batch_of(islice(rows(TEXT_SEED, "full"), TEXT_ROWS), ids)
    plain = text._replace(weights=torch.ones_like(text.weights))
    matrices = hidden_matrices(model)
    count, failed = check_prompts(model, ids, PROMPTS)
    return {
        "sha256": sha256_of([folder / "model.safetensors"]),
        "matrices": len(matrices),
        "hidden": sum(one.numel() for one in matrices),
        "nonzero": sum(int(one.count_nonzero()) for one in matrices),
        "neurons": sum(layer.mlp.up_proj.out_features for layer in model.model.layers),
        "loss": round(float(loss_of(model, plain)), 4),
        **neuron_figures(model, text.tokens[:NEURON_ROWS]),
        "prompts": {"count": count, "failed": failed},
        "skills": {
            skill: {
                split: {name: one[name] for name in ("accuracy", "items")}
                for split, one in found.items()
            }
            for skill, found in examine(model, ids, items()).items()
        },
    }


def examine_sparse(folder: Path, parent: Path) -> dict[str, Any]:
    """Examine a model folder and its parent; writes `skills.json` into the former."""
    both = {"model": figures_of(folder), "parent": figures_of(parent)}
    return store_skills(folder, {"rows": TEXT_ROWS, "neuron_rows": NEURON_ROWS, **both})
