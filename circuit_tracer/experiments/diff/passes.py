"""Passes over ordinary text and over prompts that are to stay, with edits or without."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from circuit_tracer.experiments.diff.spec import Collateral
from circuit_tracer.experiments.kit.passes import EditsOf, Recording, equally_long
from circuit_tracer.graphs.graph import Floats
from circuit_tracer.models import Model
from circuit_tracer.models.devices import as_floats


@torch.no_grad()
def text_losses(
    model: Model, texts: Sequence[Sequence[int]], edits_of: EditsOf | None = None
) -> Floats:
    """(documents,) mean cross entropy of the next token, in nats."""
    found = np.zeros(len(texts))
    for rows in equally_long(model, texts):
        ids = torch.tensor([texts[row] for row in rows], device=model.device)
        edits = Recording() if edits_of is None else edits_of(rows)
        logits = model.edited(ids, edits)[:, :-1]
        capped = model.probabilities(logits).clamp_min(1e-30).log()
        losses = -capped.gather(2, ids[:, 1:, None])[..., 0]
        found[rows] = as_floats(losses.mean(1))
    return found


@torch.no_grad()
def rightly_continued(
    model: Model, asked: Sequence[Collateral], edits_of: EditsOf | None = None
) -> Floats:
    """(prompts,) 1 where the likeliest next token is the answer, else 0."""
    texts = [model.tokenize(one.prompt) for one in asked]
    found = np.zeros(len(texts))
    for rows in equally_long(model, texts):
        ids = torch.tensor([texts[row] for row in rows], device=model.device)
        edits = Recording() if edits_of is None else edits_of(rows)
        last = torch.tensor([ids.shape[1] - 1], device=model.device)
        likeliest = model.edited(ids, edits, positions=last)[:, 0].argmax(-1).tolist()
        answers = [model.token_id(asked[row].answer, continues=True) for row in rows]
        found[rows] = np.equal(likeliest, answers)
    return found
