"""A model's activity as shuffled training batches, from a buffer of fixed size.

The buffer is filled with the activity of consecutive rows, shuffled, handed out batch by batch,
and filled again. Nothing of it has to be saved: a resumed run puts the reader where the buffer
was begun and refills it, which gives the same numbers.

Shapes: L layers that are trained, N tokens in the buffer, B tokens a batch, d model width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit_tracer.errors import TrainingError
from circuit_tracer.models import Model
from circuit_tracer.models.capture import MlpActivity
from circuit_tracer.transcoders.dictionary import LayerTranscoder
from circuit_tracer.transcoders.rows import RowReader, Rows
from circuit_tracer.transcoders.training.config import TrainingConfig
from circuit_tracer.transcoders.training.precision import quick_pass
from circuit_tracer.transcoders.training.upstream_changes import read_when_changed

BUFFER_BYTES = 1 << 30
"""Size of the buffer when no number of tokens is given."""
BATCHES_A_CHANGE = 32
"""Batches in the buffer when no number of tokens is given and features are changed in it: those
that were when it was filled."""


SAME = 1e-2
"""Fused attention may differ from the model's own by so much of the outputs' norm: rounding of a
model in bfloat16 does, and what is left out differs by more."""


class Batch(NamedTuple):
    """What a step learns from."""

    activity: MlpActivity
    """Of the whole buffer: a step takes out each layer's part where it works on it."""
    places: Int[Tensor, "B"]
    """The batch's tokens in it."""
    changes: Float[Tensor, "L B d"] | None
    """Of what is read, when features of earlier layers change; only where it was asked for."""


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
        blocks += config.needs_changes
        per_token = blocks * len(self.layers) * model.d_model * 4
        most = BUFFER_BYTES // per_token
        if config.needs_changes:
            most = min(most, BATCHES_A_CHANGE * config.batch_size)
        wanted = config.buffer_tokens or max(4 * config.batch_size, most)
        # One forward pass has to fit in whole, however small the buffer was asked to be.
        self.capacity = max(wanted, config.rows_per_forward * reader.row_length)
        shape = (len(self.layers), self.capacity, model.d_model)
        inputs = torch.empty(shape, device=model.device)
        same = config.is_residual
        self.activity = MlpActivity(
            inputs, inputs if same else torch.empty(shape, device=model.device)
        )
        self.changes = torch.empty(shape, device=model.device) if config.needs_changes else None
        self.rows: list[Rows] = []
        """The rows in the buffer, where they are run a second time."""
        self.filled = 0

    def fill(self) -> int:
        """Fill with the next rows of the text; the number of tokens, 0 at its end."""
        self.filled, at_once = 0, self.config.rows_per_forward
        self.rows = []
        while self.filled + at_once * self.reader.row_length <= self.capacity:
            rows = self.reader.next_rows(at_once)
            if rows is None:
                break
            places = rows.real().flatten().nonzero().squeeze(1)
            end = self.filled + len(places)
            self._activity(rows.token_ids, places, self.activity.at(slice(self.filled, end)))
            self.filled = end
            if self.changes is not None:
                self.rows.append(rows)
        # A sum is not finite where a number is not; a mask of all would need as much memory again.
        if not bool(self.content().outputs.sum((1, 2)).isfinite().all()):
            outputs = "residual streams" if self.config.is_residual else "MLP outputs"
            raise TrainingError(
                f"the model's {outputs} hold NaN or infinity on this text; open it in float32"
            )
        return self.filled

    def _activity(
        self, token_ids: Int[Tensor, "B T"], places: Int[Tensor, "n"], into: MlpActivity
    ) -> None:
        """Put `into` what is read and written at places of rows, the quickest way allowed."""
        if not self.is_quick:
            self._plain_activity(token_ids, places=places, into=into)
            return
        products = torch.bfloat16 if self.config.precision == "bfloat16" else None
        with quick_pass(self.model.module, products, self.model.device):
            self._plain_activity(token_ids, places=places, into=into)

    def _plain_activity(self, token_ids: Int[Tensor, "B T"], **where: Any) -> MlpActivity:
        config = self.config
        points = config.reads, config.writes, config.layers
        return self.model.mlp_activity(token_ids, *points, **where)

    @cached_property
    def is_quick(self) -> bool:
        """Whether passes may use fused attention: asked for, and it gives what the model's own does
        (some kinds cap or extend their scores, which it leaves out)."""
        if self.config.precision == "float32":
            return False
        generator = torch.Generator(device="cpu").manual_seed(0)
        size, words = (1, self.reader.row_length), self.model.wiring.n_vocabulary
        ids = torch.randint(words, size, generator=generator, device="cpu")
        own = self._plain_activity(ids).outputs
        try:
            with quick_pass(self.model.module, None, self.model.device):
                fused = self._plain_activity(ids).outputs
        except (ValueError, ImportError):
            return False
        return bool((fused - own).norm() <= SAME * own.norm())

    def change(self, features: Sequence[LayerTranscoder]) -> None:
        """Run the rows again with features changed, and keep the changes of what is read."""
        if self.changes is None:
            return
        generator = torch.Generator(device="cpu")
        generator.manual_seed(self.config.seed * 1_000_003 + self.window + 500_009)
        reads, writes, end = self.config.reads, self.config.writes, 0
        for rows in self.rows:
            changed = read_when_changed(self.model, rows, features, reads, writes, generator)
            some = changed[:, rows.real().to(changed.device)]
            here = slice(end, end + some.shape[1])
            self.changes[:, here] = some - self.activity.inputs[:, here]
            end = here.stop

    def content(self) -> MlpActivity:
        """All tokens in the buffer, in the order of the text."""
        return self.activity.at(slice(self.filled))

    def batches(self, skip: int = 0) -> Iterator[Batch]:
        """The buffer's tokens in random order, in batches of nearly `batch_size`, all of them.

        `skip` leaves out the first batches (those a resumed run has seen).
        """
        count = max(round(self.filled / self.config.batch_size), 1)
        generator = torch.Generator(device="cpu").manual_seed(
            self.config.seed * 1_000_003 + self.window
        )
        order = torch.randperm(self.filled, generator=generator, device="cpu")
        for places in order.to(self.activity.inputs.device).tensor_split(count)[skip:]:
            some = None if self.changes is None else self.changes[:, places]
            yield Batch(self.activity, places, some)
        self.window += 1
