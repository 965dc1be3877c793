"""A model's activity as shuffled training batches, from a buffer of fixed size.

The buffer is filled with the activity of consecutive rows, shuffled, handed out batch by batch,
and filled again. Nothing of it has to be saved: a resumed run puts the reader where the buffer
was begun and refills it, which gives the same numbers.

Shapes: L layers that are trained, N tokens in the buffer, B tokens a batch, d model width.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from circuit_tracer.errors import TrainingError
from circuit_tracer.models import Model
from circuit_tracer.models.capture import MlpActivity
from circuit_tracer.transcoders.rows import RowReader
from circuit_tracer.transcoders.training.config import TrainingConfig

BUFFER_BYTES = 1 << 30
"""Size of the buffer when no number of tokens is given."""


class ActivityBuffer:
    """A fixed block of memory with what is read and written at many tokens."""

    def __init__(
        self,
        model: Model,
        reader: RowReader,
        config: TrainingConfig,
    ) -> None:
        self.model = model
        self.reader = reader
        self.config = config
        self.window = 0
        """How often the buffer has been filled before."""
        self.layers = config.layers or range(model.n_layers)
        blocks = 1 if config.is_residual else 2
        per_token = blocks * len(self.layers) * model.d_model * 4
        wanted = config.buffer_tokens or max(4 * config.batch_size, BUFFER_BYTES // per_token)
        # One forward pass has to fit in whole, however small the buffer was asked to be.
        self.capacity = max(wanted, config.rows_per_forward * reader.row_length)
        shape = (len(self.layers), self.capacity, model.d_model)
        inputs = torch.empty(shape, device=model.device)
        same = config.is_residual
        self.activity = MlpActivity(
            inputs, inputs if same else torch.empty(shape, device=model.device)
        )
        self.filled = 0

    def fill(self) -> int:
        """Fill with the next rows of the text; the number of tokens, 0 at its end."""
        self.filled, at_once = 0, self.config.rows_per_forward
        while self.filled + at_once * self.reader.row_length <= self.capacity:
            rows = self.reader.next_rows(at_once)
            if rows is None:
                break
            activity = self.model.mlp_activity(
                rows.token_ids, self.config.reads, self.config.writes, self.config.layers
            )
            some = activity.at(rows.real())
            end = self.filled + some.inputs.shape[1]
            self.activity.inputs[:, self.filled : end] = some.inputs
            if some.outputs is not some.inputs:
                self.activity.outputs[:, self.filled : end] = some.outputs
            self.filled = end
        if not bool(self.content().outputs.isfinite().all()):
            outputs = "residual streams" if self.config.is_residual else "MLP outputs"
            raise TrainingError(
                f"the model's {outputs} hold NaN or infinity on this text; open it in float32"
            )
        return self.filled

    def content(self) -> MlpActivity:
        """All tokens in the buffer, in the order of the text."""
        return self.activity.at(slice(self.filled))

    def batches(self, skip: int = 0) -> Iterator[MlpActivity]:
        """The buffer's tokens in random order, in batches of nearly `batch_size`, all of them.

        `skip` leaves out the first batches (those a resumed run has seen).
        """
        count = max(round(self.filled / self.config.batch_size), 1)
        generator = torch.Generator(device="cpu").manual_seed(
            self.config.seed * 1_000_003 + self.window
        )
        order = torch.randperm(self.filled, generator=generator, device="cpu")
        for places in order.tensor_split(count)[skip:]:
            yield self.activity.at(places)
        self.window += 1
