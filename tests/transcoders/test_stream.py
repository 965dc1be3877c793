"""The shuffle buffer: fixed size, every token once, the same again after a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from circuit_tracer.errors import TrainingError
from circuit_tracer.models.capture import MlpActivity
from circuit_tracer.transcoders.rows import RowReader
from circuit_tracer.transcoders.training import TrainingConfig
from circuit_tracer.transcoders.training.stream import ActivityBuffer
from tests.rounding import rounding
from tests.tiny import tiny_llama
from tests.transcoders.fakes import FakeSource, small_config, text_file


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


class _Largest(TorchDispatchMode):
    """The most numbers that one operation put into memory of its own."""

    most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if isinstance(found, torch.Tensor) and not func.is_view and "out" not in (kwargs or {}):
            self.most = max(self.most, found.numel())
        return found


@pytest.mark.parametrize("reads", ["mlp.hook_in", "hook_resid_post"])
def test_filling_makes_no_second_set_of_all_layers(reads: Any, tmp_path: Path) -> None:
    model = tiny_llama(n_layers=12)
    writes = "mlp.hook_out" if reads == "mlp.hook_in" else reads
    config = small_config(buffer_tokens=128, reads=reads, writes=writes)
    reader = RowReader(text_file(tmp_path), model.tokenizer, bos_id=model.bos_id, row_length=16)
    buffer, start = ActivityBuffer(model, reader, config), reader.state()
    with _Largest() as seen:
        tokens = buffer.fill()
    assert tokens > 64
    assert seen.most < buffer.content().inputs.numel() / 2

    reader.restore(start)
    rows = reader.next_rows(config.rows_per_forward)
    assert rows is not None
    wanted = model.mlp_activity(rows.token_ids, reads, writes).at(rows.real())
    for found, whole in zip(buffer.content(), wanted, strict=True):
        assert torch.equal(found[:, : whole.shape[1]], whole)


@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf])
def test_nan_activity_is_refused(number: float, tmp_path: Path) -> None:
    class Broken(FakeSource):
        def mlp_activity(self, *arguments: Any, **where: Any) -> MlpActivity:
            found = super().mlp_activity(*arguments, **where)
            found.outputs[1, 3, 5] = number
            return found

    with pytest.raises(TrainingError, match="NaN"):
        buffer_on(text_file(tmp_path), Broken()).fill()
