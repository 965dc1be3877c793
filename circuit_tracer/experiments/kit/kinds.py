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
LIKE = 0.4
"""Mean cosine, of the two ways, that the most alike token must have for `close` kin."""
AS_LIKE = 0.75
"""Part of that which the others must have."""


def of_its_kind(
    model: Model,
    token: int,
    logits: Float[Tensor, "V"],
    *,
    without: Collection[int] = (),
    fits: Callable[[str], bool] = lambda text: True,
    count: int = 1,
    close: bool = False,
) -> list[int]:
    """Of the `KIN` tokens most like a token the likeliest, at most `count`; no other spelling of
    it, none of `without`.

    `logits` are those of the place where it stands; `fits` says of a token's text whether it may
    stand there. With `close` there may be none: most signs and small words have no like.
    """
    text, read = model.token_text, model.module.get_input_embeddings().weight
    alike = [
        torch.cosine_similarity(rows, rows[token][None], dim=1)
        for rows in (model.unembedding, read)
    ]
    likeness = alike[0] + alike[1]
    own = text(token).strip().casefold()
    fitting = (
        one
        for one in likeness.argsort(descending=True, stable=True).tolist()
        if one not in without and text(one).strip().casefold() not in ("", own) and fits(text(one))
    )
    kin = list(islice(fitting, KIN))
    if close and kin:
        most = float(likeness[kin[0]])
        kin = [one for one in kin if most >= 2 * LIKE and float(likeness[one]) >= AS_LIKE * most]
    return sorted(kin, key=lambda one: -float(logits[one]))[:count]
