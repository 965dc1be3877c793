"""Notes on the tokens a caller names: which of two forms each was taken as."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from circuit_tracer.graphs.token_text import shown, split_tokens

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from circuit_tracer.attribution.settings import TraceSettings
    from circuit_tracer.models import Model

MOST_NOTED = 3


def note_forms(model: Model, texts: Iterable[str]) -> None:
    """Note which of two tokens a text names, where there is one with a leading blank, too."""
    both = [(text, model.token_names.other_form(text)) for text in dict.fromkeys(texts)]
    noted = [(text, other) for text, other in both if other is not None]
    for text, other in noted[:MOST_NOTED]:
        logger.info(
            f'"{shown(text)}" is the token without a leading blank; "{other}" is another one'
        )
    if len(noted) > MOST_NOTED:
        logger.info(f"and likewise {len(noted) - MOST_NOTED} more")


def given_tokens(settings: TraceSettings) -> list[str]:
    """Tokens that a trace's settings name."""
    contrast = [] if settings.contrast is None else split_tokens(settings.contrast)
    why_not = [] if settings.why_not is None else [settings.why_not]
    return [*settings.targets, *contrast, *why_not]
