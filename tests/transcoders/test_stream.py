"""The shuffle buffer: fixed size, every token once, the same again after a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from circuit_tracer.errors import TrainingError
from circuit_tracer.models.capture import MlpActivity
from circuit_tracer.transcoders.rows import RowReader
from circuit_tracer.transcoders.training import TrainingConfig
from circuit_tracer.transcoders.training.stream import ActivityBuffer
from tests.rounding import rounding
from tests.transcoders.fakes import FakeSource, text_file


def buffer_on(path: Path, model: FakeSource, tokens: int = 512) -> ActivityBuffer:
    reader = RowReader(path, model.tokenizer, bos_id=0, row_length=16)
    size = min(tokens, 100)
    config = TrainingConfig(
        batch_size=size, buffer_tokens=tokens, rows_per_forward=8, seed=3, precision="float32"
    )
    return ActivityBuffer(model, reader, config)


def handed_out(buffer: ActivityBuffer) -> list[MlpActivity]:
    return [batch.activity.at(batch.places) for batch in buffer.batches()]


def test_memory_does_not_grow_with_the_text(tmp_path: Path) -> None:
    buffer = buffer_on(text_file(tmp_path, documents=2000), FakeSource())
    size, place = buffer.activity.inputs.nbytes, buffer.activity.inputs.data_ptr()
    windows = 0
    while buffer.fill():
        windows += 1
        assert buffer.filled <= buffer.capacity
        for _ in buffer.batches():
            pass
    assert windows > 20
    assert (buffer.activity.inputs.nbytes, buffer.activity.inputs.data_ptr()) == (size, place)


def test_every_token_is_handed_out_once_in_batches_of_about_the_size(tmp_path: Path) -> None:
    buffer = buffer_on(text_file(tmp_path), FakeSource())
    buffer.fill()
    batches = [batch.inputs for batch in handed_out(buffer)]
    assert all(90 <= batch.shape[1] <= 110 for batch in batches)
    given = torch.cat(batches, dim=1)[0].sum(-1).sort().values
    torch.testing.assert_close(given, buffer.content().inputs[0].sum(-1).sort().values)
    assert not torch.equal(torch.cat(batches, dim=1), buffer.content().inputs)


def test_inputs_and_outputs_stay_together(tmp_path: Path) -> None:
    model = FakeSource()
    buffer = buffer_on(text_file(tmp_path), model)
    buffer.fill()
    for batch in handed_out(buffer):
        hidden = torch.einsum("lfd,lbd->lbf", model.up, batch.inputs).relu()
        expected = torch.einsum("ldf,lbf->lbd", model.down, hidden) + 1.0
        largest = float(expected.abs().max())
        near = rounding(torch.float32) * largest
        torch.testing.assert_close(batch.outputs, expected, rtol=0, atol=near)


def test_a_buffer_smaller_than_a_forward_pass_still_works(tmp_path: Path) -> None:
    buffer = buffer_on(text_file(tmp_path), FakeSource(), tokens=10)
    assert buffer.fill() > 0


def test_nan_activity_is_refused(tmp_path: Path) -> None:
    class Broken(FakeSource):
        def mlp_activity(self, token_ids: torch.Tensor, *points: Any) -> MlpActivity:
            found = super().mlp_activity(token_ids, *points)
            return MlpActivity(found.inputs, found.outputs / 0.0)

    with pytest.raises(TrainingError, match="NaN"):
        buffer_on(text_file(tmp_path), Broken()).fill()
