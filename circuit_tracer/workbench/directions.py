"""A direction to explain as a person names it: a feature, a file, two prompt sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from circuit_tracer.attribution.directions import DirectionTarget, between, in_file, of_feature
from circuit_tracer.batch.prompt_file import read_prompts
from circuit_tracer.errors import UsageError
from circuit_tracer.interventions.selection import parse_feature
from circuit_tracer.workbench.opening import Opened, paired

Prompts = str | Path | Sequence[str]
"""A file of prompts (as `batch` reads them), or the prompts themselves."""


def check_directions(
    feature: str | None,
    file: str | Path | None,
    prompts: tuple[Prompts, Prompts] | None,
    layer: int | None,
) -> None:
    """Refuse, before anything is opened, what cannot be; raises UsageError."""
    given = {"target_feature": feature, "target_direction": file, "target_prompts": prompts}
    names = [f"`{name}`" for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise UsageError(f"{names[0]} and {names[1]} exclude each other; give one of them")
    if layer is not None and (feature is not None or not names):
        raise UsageError(
            "`target_layer` says after which layer the direction of `target_direction` or "
            "`target_prompts` lies; add one of them, or leave it out"
        )
    if prompts is not None and layer is None:
        raise UsageError("`target_prompts` needs `target_layer`: after which layer to compare")
    if feature is not None:
        parse_feature(feature.rpartition(":")[2])


def direction_target(
    opened: Opened,
    feature: str | None = None,
    file: str | Path | None = None,
    prompts: tuple[Prompts, Prompts] | None = None,
    layer: int | None = None,
) -> DirectionTarget | None:
    """What is to be explained in place of logits; None where nothing is given.

    `feature` is "L1/355" of the opened dictionary or "SET:L1/355" of another one of the model;
    `file` a safetensors file with one vector; `prompts` two sets, the direction is the mean stream
    after `layer` at their last tokens, first minus second. Raises UsageError for what cannot be.
    """
    check_directions(feature, file, prompts, layer)
    if feature is not None:
        return _of_feature(opened, feature)
    if file is not None:
        return in_file(Path(file), layer)
    if prompts is None or layer is None:
        return None
    names = [one.name if isinstance(one, Path) else str(one) for one in prompts]
    plain = all(isinstance(one, str | Path) for one in prompts)
    name = " - ".join(Path(one).stem for one in names) if plain else "positive - negative"
    positive, negative = map(_texts, prompts)
    return between(opened.model, positive, negative, layer, name)


def _of_feature(opened: Opened, text: str) -> DirectionTarget:
    """ "L1/355" or "SET:L1/355", with its label where the set has cards."""
    name, _, place = text.rpartition(":")
    layer, feature = parse_feature(place)
    owner = paired(opened.model, name) if name else opened
    labels = owner.labels([(layer, feature)]) if owner.labels is not None else [""]
    return of_feature(owner.dictionary, layer, feature, labels[0])


def _texts(prompts: Prompts) -> list[str]:
    if not isinstance(prompts, str | Path):
        return list(prompts)
    file = read_prompts(prompts)
    if file.bad:
        raise UsageError(file.bad[0].message)
    return [one.prompt for one in file.prompts]
