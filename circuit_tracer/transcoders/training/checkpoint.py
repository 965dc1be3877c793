"""Checkpoints: a folder with one safetensors file and one JSON file, replaced as a whole.

A resumed run continues bit for bit as the uninterrupted one: weights, optimiser moments, counters
and penalties are stored, and the shuffle buffer is filled again from where it was begun.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from circuit_tracer.errors import TrainingError
from circuit_tracer.graphs.folder import new_folder
from circuit_tracer.transcoders.training.config import TrainingConfig, called
from circuit_tracer.transcoders.training.trainer import Trainer

FACTS = "checkpoint.json"
TENSORS = "checkpoint.safetensors"


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
        "position": position._asdict(),
        "trainer": trainer.facts(),
        "seconds": seconds,
    }
    with new_folder(folder, overwrite=True, marker=FACTS) as fresh:
        save_file({k: v.contiguous() for k, v in trainer.tensors().items()}, fresh / TENSORS)
        (fresh / FACTS).write_text(json.dumps(facts), encoding="utf-8")


def load_checkpoint(
    folder: Path, identity: RunIdentity, *, device: torch.device | str = "cpu"
) -> Checkpoint | None:
    """The checkpoint in `folder`, None if there is none.

    Raises TrainingError if it is damaged or belongs to a run with other settings, another model
    or another text.
    """
    if not (folder / FACTS).is_file():
        return None
    again = f"delete {folder} to start afresh"
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        tensors = load_file(folder / TENSORS, device=str(device))
        stored = RunIdentity(
            TrainingConfig.from_json(facts["config"]),
            facts["model"],
            facts["text"],
            facts["total_tokens"],
        )
        position = Position(**facts["position"])
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise TrainingError(f"the checkpoint in {folder} is damaged; {again}") from error
    if stored.model != identity.model:
        raise TrainingError(f"the checkpoint in {folder} belongs to another model; {again}")
    if stored.text != identity.text or stored.total_tokens != identity.total_tokens:
        raise TrainingError(f"the checkpoint in {folder} belongs to another text; {again}")
    if stored.config != identity.config:
        theirs, ours = stored.config.as_json(), identity.config.as_json()
        name = next(n for n in ours if theirs[n] != ours[n])
        raise TrainingError(
            f"the checkpoint in {folder} was made with {called(name)} {theirs[name]} and this run "
            f"has {ours[name]}; use the same settings or {again}"
        )
    return Checkpoint(
        Trainer.restored(identity.config, tensors, facts["trainer"]), position, facts["seconds"]
    )
