"""Is this what a graph was traced with? Its model, its dictionary and its prompt, checked."""

from __future__ import annotations

from typing import Any

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.graph import GraphInfo
from circuit_tracer.models import Model
from circuit_tracer.transcoders.neurons import AnyDictionary


def check_same(info: GraphInfo, model: Model, dictionary: AnyDictionary) -> None:
    """Raise UsageError where model or dictionary have other weights than the graph's."""
    for what, flag, theirs, ours in (
        ("model", "--model", info.model, model.identity),
        ("dictionary", "--transcoders", info.dictionary, dictionary.identity),
    ):
        if theirs.sha256 and theirs.sha256 != ours.sha256:
            raise UsageError(
                f"the graph was traced with another {what} ({theirs.name}, sha256 "
                f"{theirs.sha256[:12]}) than {ours.name} ({ours.sha256[:12] or 'unknown'}); give "
                f"the same with {flag}, or trace the prompt again"
            )


def prompt_ids(info: GraphInfo, model: Model) -> list[int]:
    """The graph's prompt as tokens, as many as have to be run, chat template included.

    Raises UsageError when this tokenizer makes other tokens of it than the graph has.
    """
    settings: Any = info.settings
    ids = model.tokenize(
        info.prompt, chat=bool(settings.get("chat", False)), system=settings.get("system")
    )
    if info.token_ids and tuple(ids) != tuple(info.token_ids):
        raise UsageError(
            f"{model.identity.name} makes other tokens of the prompt than the graph has; trace the "
            "prompt again"
        )
    return model.needed(ids, max(target.position for target in info.targets) + 1)


def zeroed_positions(info: GraphInfo) -> int | None:
    """Leading positions the graph has no features at; None where it does not say."""
    found = info.settings.get("zeroed_positions")
    return None if found is None else int(found)
