"""What components are ablated to: their mean over a text, zero, or another prompt's activations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from circuit_tracer.bundled import shipped_folder
from circuit_tracer.errors import PromptError, UsageError, one_of
from circuit_tracer.experiments.circuit.components import Block, ComponentPass, Components
from circuit_tracer.experiments.circuit.judging import Asked, Reference
from circuit_tracer.experiments.circuit.results import ABLATIONS, Ablation
from circuit_tracer.transcoders.rows import RowReader, check_known

BUNDLED_TEXT = "bent-text.txt"
"""Ordinary text in the bundled models' own English."""
ROW_LENGTH, ROWS_AT_ONCE, MOST_TOKENS = 64, 16, 20_000
"""How the text of the means is read."""


def reference_of(
    components: Components, ablation: str, text: Path | None, contrast: str | None
) -> Reference:
    """What to put in the place of what is ablated.

    Means are over the text, or over what ships for a bundled model; `contrast` is a prompt with as
    many tokens, read as the prompt is: in a chat template where that is. Raises UsageError
    for what is missing or given and not used, PromptError for a contrast of another length.
    """
    how: Ablation = one_of("`ablation`", ablation, ABLATIONS)
    if text is not None and how != "mean":
        raise UsageError(f"`reference` is a text to take means over, and `ablation` is {how}")
    if (contrast is not None) != (how == "resample"):
        raise UsageError(
            "`ablation` resample takes activations from `contrast_prompt`; give both or neither"
        )
    if how == "zero":
        return _same(
            torch.zeros(len(components), dtype=components.dtype, device=components.model.device)
        )
    if contrast is not None:
        return _resampled(components, contrast)
    return _same(means(components, text or _bundled_text(components)))


@torch.no_grad()
def means(components: Components, text: Path) -> Float[Tensor, "N"]:
    """Mean activations over a text, its first tokens; what stands for BOS is not counted."""
    model, count = components.model, 0
    sums = torch.zeros(len(components), dtype=components.dtype, device=model.device)

    def reader() -> RowReader:
        return RowReader.of_model(text, model, ROW_LENGTH, pack=True)

    check_known(reader())
    for rows in reader().groups(ROWS_AT_ONCE, MOST_TOKENS):
        counted = rows.real().to(model.device)

        def add(block: Block, activation: Tensor, counted: Tensor = counted) -> None:
            sums[block.span] += activation[counted].sum(0)

        model.edited(rows.token_ids, ComponentPass(components, add))
        count += int(counted.sum())
    if not count:
        raise UsageError(f"`reference` {text} has no words to take means over")
    return sums / count


def _bundled_text(components: Components) -> Path:
    identity = components.model.identity
    if identity.source != "bundled":
        raise UsageError(
            f"means of {identity.name} have to be taken over a text; give one with `reference`, "
            "or choose `ablation` zero"
        )
    return shipped_folder("prompts") / BUNDLED_TEXT


def _same(values: Float[Tensor, "N"]) -> Reference:
    return lambda one: values


def _resampled(components: Components, contrast: str) -> Callable[[Asked], Float[Tensor, "T N"]]:
    found: dict[tuple[bool, str | None], Float[Tensor, "T N"]] = {}

    def of(one: Asked) -> Float[Tensor, "T N"]:
        turn = one.way.chat, one.way.system
        if turn not in found:
            ids = components.model.tokenize(contrast, chat=turn[0], system=turn[1])
            found[turn] = _activations(components, ids)
        if len(one.ids) != len(found[turn]):
            raise PromptError(
                f'`contrast_prompt` "{contrast}" has {len(found[turn])} tokens and "{one.prompt}" '
                f"{len(one.ids)}: activations are exchanged place by place, so give one as long"
            )
        return found[turn]

    return of


@torch.no_grad()
def _activations(components: Components, ids: list[int]) -> Float[Tensor, "T N"]:
    model, by_block = components.model, dict[Block, Tensor]()

    def keep(block: Block, activation: Tensor) -> None:
        by_block[block] = activation[0]

    model.edited(torch.tensor([ids], device=model.device), ComponentPass(components, keep))
    return torch.cat([by_block[block] for block in components.blocks], 1)
