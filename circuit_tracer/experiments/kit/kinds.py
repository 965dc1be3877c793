"""Another token of a token's kind: one that is read and said like it, and likely where it stands.

Shapes: V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import islice

import torch
from jaxtyping import Float
from torch import Tensor

from circuit_tracer.models import Model

KIN = 16
"""Tokens most like a token, as they are read and as they are said, of which some replace it."""


def of_its_kind(
    model: Model,
    token: int,
    logits: Float[Tensor, "V"],
    *,
    without: Collection[int] = (),
    fits: Callable[[str], bool] = lambda text: True,
    count: int = 1,
) -> list[int]:
    """Of the `KIN` tokens most like a token the likeliest, at most `count`; no other spelling of
    it, none of `without`.

    `logits` are those of the place where it stands; `fits` says of a token's text whether it may
    stand there.
    """
    text, read = model.token_text, model.module.get_input_embeddings().weight
    alike = [
        torch.cosine_similarity(rows, rows[token][None], dim=1)
        for rows in (model.unembedding, read)
    ]
    own = text(token).strip().casefold()
    kin = list(
        islice(
            (
                one
                for one in (alike[0] + alike[1]).argsort(descending=True, stable=True).tolist()
                if one not in without
                and text(one).strip().casefold() not in ("", own)
                and fits(text(one))
            ),
            KIN,
        )
    )
    return sorted(kin, key=lambda one: -float(logits[one]))[:count]
