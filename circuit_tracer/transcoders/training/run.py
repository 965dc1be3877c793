"""Train a dictionary on a model and a text file, from the first token to the evaluated folder.

    count the text's tokens -> fill the shuffle buffer with the model's activity -> one step a
    batch, refilling the buffer until the text ends -> export -> store -> evaluate as stored

All layers are trained together in one pass over the text.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from circuit_tracer.errors import OutputError, TrainingError, UsageError
from circuit_tracer.graphs.files.atomic import bring_back
from circuit_tracer.graphs.graph import Identity
from circuit_tracer.models import Model
from circuit_tracer.models.mlp_map import MlpMap, mlp_map
from circuit_tracer.models.parts import RESIDUAL
from circuit_tracer.models.passing import gradients_recorded
from circuit_tracer.processes import reuse_memory
from circuit_tracer.transcoders.dictionary import Dictionary, every_layer
from circuit_tracer.transcoders.evaluation import Evaluation, evaluate_rows
from circuit_tracer.transcoders.formats.native import CONFIG, save_dictionary, update_config
from circuit_tracer.transcoders.opening import open_transcoders
from circuit_tracer.transcoders.rows import RowReader, check_known, count_tokens, fingerprint
from circuit_tracer.transcoders.training.checkpoint import (
    FACTS,
    Position,
    RunIdentity,
    load_checkpoint,
    save_checkpoint,
)
from circuit_tracer.transcoders.training.config import ROW_LENGTH, TrainingConfig
from circuit_tracer.transcoders.training.precision import chosen_precision
from circuit_tracer.transcoders.training.progress import OnProgress, Progress
from circuit_tracer.transcoders.training.stream import ActivityBuffer
from circuit_tracer.transcoders.training.trainer import StepFigures, Trainer
from circuit_tracer.transcoders.training.weights import check_start, export_layers

REPORT_EVERY = 10
"""Steps between two progress reports."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class TrainingSummary:
    """What a finished run gives."""

    folder: Path
    """The stored dictionary."""
    evaluation: Evaluation
    """Of the dictionary as stored, on held-out text."""
    steps: int
    tokens: int
    """Tokens trained on, BOS not counted."""
    seconds: float
    """Training time without the evaluation, over all parts of a resumed run."""
    dead: tuple[int, ...]
    """Features silent at the end of training, by layer."""


@gradients_recorded()
def train(
    model: Model,
    text: Path,
    config: TrainingConfig,
    out: Path,
    *,
    held_out: Path | None = None,
    start: Dictionary | None = None,
    on_progress: OnProgress | None = None,
    stored_as: Literal["bfloat16", "float32"] = "bfloat16",
    overwrite: bool = False,
) -> TrainingSummary:
    """Train a dictionary for `model` on `text` and write it to the folder `out`.

    With `start` it goes on from the features of a dictionary of the same shape, one of a sibling of
    the model, say. The evaluation runs on `held_out`, or on documents of `text` kept from training.
    Checkpoints go to a folder beside `out` (`<out>.checkpoint`); a run with the same settings,
    model and text goes on from there, and gives the very same weights as one that was never
    interrupted. A finished dictionary in `out` is only replaced with `overwrite`.

    Raises UsageError (text, settings, a `start` that they would not make), TrainingError (diverged,
    text too short, foreign checkpoint), OutputError (`out` cannot be written or holds a finished
    dictionary).
    """
    bring_back(checkpoint_folder(out))
    is_stopped = (checkpoint_folder(out) / FACTS).is_file()
    if (out / CONFIG).is_file() and not is_stopped and not overwrite:
        raise OutputError(
            f"a dictionary in {out} is there already; add `overwrite` to replace it, or choose "
            "another `out`"
        )
    _check(model, config, out)
    if start is not None:
        check_start(start, config, out)
    run = _Run(model, text, config, out, held_out, on_progress, start)
    run.learn()
    return run.finish(DTYPES[stored_as])


def checkpoint_folder(out: Path) -> Path:
    """Where the checkpoints of a run that writes to `out` are."""
    return out.with_name(f"{out.name}.checkpoint")


@gradients_recorded()
def train_in_memory(
    model: Model,
    text: Path,
    config: TrainingConfig,
    *,
    on_progress: OnProgress | None = None,
) -> Dictionary:
    """Train without files: the dictionary in float32, not evaluated. For notebooks and tests."""
    _check(model, config, None)
    run = _Run(model, text, config, None, None, on_progress)
    run.learn()
    return run.dictionary(torch.float32)


def _check(model: Model, config: TrainingConfig, out: Path | None) -> None:
    if config.row_length is not None and config.row_length > model.steady_length:
        too_long = config.row_length > model.max_length
        why = "takes" if too_long else "turns positions of in one way, whatever the row's length"
        raise UsageError(
            f"`row_length` ({config.row_length}) is more than {model.identity.name} {why} "
            f"({model.steady_length}); lower `row_length`, or leave it out"
        )
    if config.layers is not None and config.layers[-1] >= model.n_layers:
        raise UsageError(
            f"`layers` {config.layers[-1]} is no layer of {model.identity.name}; give layers from "
            f"0 to {model.n_layers - 1}"
        )
    if out is None or not out.exists() or (out / CONFIG).is_file():
        return
    if not out.is_dir() or any(out.iterdir()):
        raise UsageError(
            f"{out} already holds something that is no dictionary; give another folder"
        )


class _Run:
    """One call of `train`."""

    def __init__(
        self,
        model: Any,
        text: Path,
        config: TrainingConfig,
        out: Path | None,
        held_out: Path | None,
        on_progress: OnProgress | None,
        start: Dictionary | None = None,
    ) -> None:
        reuse_memory(at_most=128 << 20)  # what the pass of a layer makes and frees
        self.model, self.start, self.text = model, start, text
        self.row_length = config.row_length or min(ROW_LENGTH, model.steady_length)
        self.config = config = replace(
            config, row_length=self.row_length, precision=chosen_precision(model, config)
        )
        self.out = out
        self.held_out = held_out
        self.on_progress = on_progress or (lambda _: None)
        self.share = config.held_out_share if out is not None and held_out is None else 0.0
        self.on_progress(Progress("counting"))
        check_known(self._reader("training"))
        if held_out is not None:
            check_known(self._reader("held-out"))
        self.total = count_tokens(self._reader("training"), up_to=config.max_tokens)
        if self.total < config.batch_size:
            raise TrainingError(
                f"the text {text.name} has {self.total} tokens to train on, fewer than one batch "
                f"({config.batch_size}); give more text or lower `batch_size`"
            )
        begun = "" if start is None else start.identity.sha256
        self.identity = RunIdentity(
            config, model.identity.sha256, fingerprint(text), self.total, begun
        )
        self.seconds = 0.0
        self.trainer: Trainer | None = None
        self.maps = mlp_maps(model, config) if config.jacobian else ()

    def _reader(self, part: Literal["training", "held-out"]) -> RowReader:
        text = self.held_out if part == "held-out" and self.held_out else self.text
        return RowReader(
            text,
            self.model.tokenizer,
            bos_id=self.model.bos_id,
            row_length=self.row_length,
            pack=self.config.pack,
            epochs=self.config.epochs if part == "training" else 1,
            part=part,
            held_out_share=self.share,  # none of a text of its own: all of it is read
        )

    def learn(self) -> None:
        """All steps, from the start or from the checkpoint."""
        config = self.config
        buffer, skip = ActivityBuffer(self.model, self._reader("training"), config), 0
        if self.out is not None:
            folder = checkpoint_folder(self.out)
            stored = load_checkpoint(
                folder, self.identity, device=self.model.device, maps=self.maps
            )
            if stored is not None:
                self.trainer, self.seconds = stored.trainer, stored.seconds
                buffer.reader.restore(stored.position.reader)
                buffer.window, skip = stored.position.window, stored.position.batch
        meter = _Meter(self)
        while self.trainer is None or self.trainer.tokens < self.total:
            begun, window = buffer.reader.state(), buffer.window
            if buffer.fill() == 0:
                break
            if self.trainer is None:
                given = None if self.start is None else self.start.present
                self.trainer = Trainer.start(config, buffer.content(), given, self.maps)
            if config.needs_changes:  # by the features that were there when the buffer was filled
                buffer.change(self.trainer.upstream if skip else self.trainer.features_now())
            for number, batch in enumerate(buffer.batches(skip), start=skip + 1):
                learned = batch.activity, self.total, batch.changes, batch.places
                meter.add(self.trainer.step(*learned))
                if self.trainer.tokens >= self.total:
                    break
                every = config.checkpoint_steps
                if self.out is not None and every and self.trainer.steps % every == 0:
                    save_checkpoint(
                        checkpoint_folder(self.out),
                        self.trainer,
                        Position(begun, window, number),
                        self.identity,
                        meter.seconds,
                    )
            skip = 0
        self.seconds = meter.seconds

    def dictionary(self, stored_as: torch.dtype) -> Dictionary:
        """What has been learnt, in the model's units."""
        assert self.trainer is not None
        kind = self.config.made_kind
        name = self.out.name if self.out is not None else f"trained-{kind}"
        layers = export_layers(
            self.trainer.weights, self.trainer.units, self.config, stored_as=stored_as
        )
        return Dictionary(
            kind=kind,
            layers=every_layer(layers, self.model.n_layers),
            reads=self.config.reads,
            writes=self.config.writes,
            identity=Identity(name=name, source="memory", sha256="", kind=kind),
            config={
                "model": {
                    "name": self.model.identity.name,
                    "sha256": self.model.identity.sha256,
                },
                "training": {
                    **self.config.as_json(),
                    "text": self.text.name,
                    "trained_tokens": self.trainer.tokens,
                    "steps": self.trainer.steps,
                    "seconds": round(self.seconds, 1),
                    **({} if self.start is None else {"start": self.start.identity.name}),
                },
            },
        )

    def finish(self, stored_as: torch.dtype) -> TrainingSummary:
        """Store, evaluate what was stored, drop the checkpoint."""
        assert self.out is not None
        assert self.trainer is not None
        steps = self.trainer.steps
        save_dictionary(self.dictionary(stored_as), self.out)
        stored = open_transcoders(self.out.resolve(), self.model, dtype=torch.float32)
        evaluation = evaluate_rows(
            self.model,
            stored,
            self._reader("held-out"),
            max_tokens=self.config.evaluation_tokens,
            on_progress=lambda _, n, of: self.on_progress(Progress("evaluating", steps, n, of)),
        )
        update_config(self.out, evaluation=evaluation.as_json())
        shutil.rmtree(checkpoint_folder(self.out), ignore_errors=True)
        limit = self.config.dead_steps
        return TrainingSummary(
            folder=self.out,
            evaluation=evaluation,
            steps=steps,
            tokens=self.trainer.tokens,
            seconds=self.seconds,
            dead=tuple(int((silent >= limit).sum()) for silent in self.trainer.silent),
        )


def mlp_maps(model: Model, config: TrainingConfig) -> tuple[MlpMap, ...]:
    """The MLPs whose response is taught, from where features read to where they write."""
    reads, writes = config.reads, config.writes
    assert reads != RESIDUAL
    assert writes != RESIDUAL
    return tuple(
        mlp_map(model.wiring, layer, reads, writes, torch.float32)
        for layer in range(model.n_layers)
    )


class _Meter:
    """Turns steps into progress reports."""

    def __init__(self, run: _Run) -> None:
        self.run = run
        self.before = run.seconds
        self.started = time.perf_counter()
        self.tokens_at_start = run.trainer.tokens if run.trainer else 0
        self.pending: list[StepFigures] = []

    @property
    def seconds(self) -> float:
        """Training time so far, earlier parts included."""
        return self.before + time.perf_counter() - self.started

    def add(self, figures: StepFigures) -> None:
        """Count a step; report every so often and at the end."""
        trainer = self.run.trainer
        assert trainer is not None
        self.pending.append(figures)
        ended = trainer.tokens >= self.run.total
        if trainer.steps % REPORT_EVERY and not ended:
            return
        pending, self.pending = self.pending, []
        n, layers = len(pending), range(len(figures.fvu))
        elapsed = max(time.perf_counter() - self.started, 1e-9)
        self.run.on_progress(
            Progress(
                stage="training",
                step=trainer.steps,
                tokens=trainer.tokens,
                total_tokens=self.run.total,
                tokens_per_second=(trainer.tokens - self.tokens_at_start) / elapsed,
                learning_rate=figures.learning_rate,
                loss=sum(f.loss for f in pending) / n,
                fvu=tuple(sum(f.fvu[i] for f in pending) / n for i in layers),
                l0=tuple(sum(f.l0[i] for f in pending) / n for i in layers),
                dead=figures.dead,
            )
        )
