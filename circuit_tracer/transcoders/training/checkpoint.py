"""Checkpoints: a folder with one safetensors file and one JSON file, replaced as a whole.

A resumed run continues bit for bit as the uninterrupted one: weights, optimiser moments, counters
and penalties are stored, and the shuffle buffer is filled again from where it was begun.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from circuit_tracer.errors import TrainingError
from circuit_tracer.graphs.files.atomic import new_folder
from circuit_tracer.models.mlp_map import MlpMap
from circuit_tracer.reading import readable
from circuit_tracer.transcoders.training.config import TrainingConfig
from circuit_tracer.transcoders.training.trainer import Trainer

FACTS = "checkpoint.json"
TENSORS = "checkpoint.safetensors"
FREE = ("checkpoint_steps",)
"""Settings that may change between the parts of a run: the weights do not depend on them."""


class Position(NamedTuple):
    """Where in the text and in the buffer a run is."""

    reader: dict[str, Any]
    """State of the row reader when the buffer was begun."""
    window: int
    """How often the buffer had been filled before."""
    batch: int
    """Batches of the buffer already learnt from."""


class RunIdentity(NamedTuple):
    """What must not change between the parts of a run."""

    config: TrainingConfig
    model: str
    """sha256 of the model's weights."""
    text: str
    """Fingerprint of the text."""
    total_tokens: int
    start: str = ""
    """sha256 of the dictionary that is trained on; none of a run from scratch."""


class Checkpoint(NamedTuple):
    """A run as it was stored."""

    trainer: Trainer
    position: Position
    seconds: float
    """Training time so far."""


def save_checkpoint(
    folder: Path, trainer: Trainer, position: Position, identity: RunIdentity, seconds: float
) -> None:
    """Write or replace the checkpoint in `folder`."""
    facts = {
        "config": identity.config.as_json(),
        "model": identity.model,
        "text": identity.text,
        "total_tokens": identity.total_tokens,
        "start": identity.start,
        "position": position._asdict(),
        "trainer": trainer.facts(),
        "seconds": seconds,
    }
    with new_folder(folder, overwrite=True, marker=FACTS) as fresh:
        save_file({k: v.contiguous() for k, v in trainer.tensors().items()}, fresh / TENSORS)
        (fresh / FACTS).write_text(json.dumps(facts), encoding="utf-8")


def load_checkpoint(
    folder: Path,
    identity: RunIdentity,
    *,
    device: torch.device | str = "cpu",
    maps: Sequence[MlpMap] = (),
) -> Checkpoint | None:
    """The checkpoint in `folder`, None if there is none; `maps` are the trainer's.

    Raises TrainingError if it is damaged or belongs to a run with other settings, another model
    or another text.
    """
    if not (folder / FACTS).is_file():
        return None
    again = f"delete {folder} to start from the beginning"
    place, damage = f"the checkpoint in {folder}", (SafetensorError,)
    with readable(place, TrainingError, again, problem="is damaged", also=damage):
        facts = json.loads((folder / FACTS).read_bytes())
        stored_tensors = load_file(folder / TENSORS)  # safetensors knows few devices by name
        tensors = {name: tensor.to(device) for name, tensor in stored_tensors.items()}
        stored = RunIdentity(
            TrainingConfig.from_json(facts["config"]),
            facts["model"],
            facts["text"],
            facts["total_tokens"],
            facts.get("start", ""),  # versions without a choice went on from none
        )
        position = Position(**facts["position"])
    if differences := _differences(stored, identity):
        before, now = (" and ".join(one) for one in zip(*differences, strict=True))
        raise TrainingError(
            f"the checkpoint in {folder} is of a run with {before}, and this one has {now}; give "
            f"the earlier settings to go on from there, or {again}"
        )
    return Checkpoint(
        Trainer.restored(identity.config, tensors, facts["trainer"], maps),
        position,
        facts["seconds"],
    )


def _differences(stored: RunIdentity, now: RunIdentity) -> list[tuple[str, str]]:
    """What a stored run was made with and this one is not, each in words."""
    theirs, ours = stored.config.as_json(), now.config.as_json()
    differences = [
        (_setting(name, theirs[name]), _setting(name, ours[name]))
        for name in ours
        if theirs[name] != ours[name] and name not in FREE
    ]
    for what, before, after in (
        ("a model of sha256", stored.model, now.model),
        ("a text of fingerprint", stored.text, now.text),
        ("a `start` of sha256", stored.start, now.start),
    ):
        if before != after:
            said = (f"{what} {one[:12]}" if one else "no `start`" for one in (before, after))
            differences.append((next(said), next(said)))
    if not differences and stored.total_tokens != now.total_tokens:
        before, after = (f"{one.total_tokens:,} tokens to train on" for one in (stored, now))
        differences.append((before, f"{after} (`held_out` decides whether a part of them is kept)"))
    return differences


def _setting(name: str, value: Any) -> str:
    """A setting as it is given."""
    if value is None or value is False:
        return f"no `{name}`"
    return f"`{name}`" if value is True else f"`{name}` {value}"
