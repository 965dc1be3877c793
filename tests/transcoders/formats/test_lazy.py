"""Decoders on disk give the same rows as decoders in memory, and only those that are asked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from circuit_tracer.errors import DictionaryError
from circuit_tracer.transcoders import opening
from circuit_tracer.transcoders.decoders import DecoderFile, memory_budget
from circuit_tracer.transcoders.formats.native import save_dictionary
from circuit_tracer.transcoders.opening import open_transcoders
from tests.transcoders.formats.published import CASES, FakeModel, inputs, raw_layers

FOLDED = ("saelens, flat", "saelens, topk", "sparsify, early", "llama-scope")
LAZY = [name for name in CASES if name not in FOLDED]


@pytest.mark.parametrize("name", LAZY)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_rows_on_disk_equal_rows_in_memory_bit_for_bit(
    name: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    CASES[name].write(tmp_path / "set", raw_layers())
    eager = open_transcoders(tmp_path / "set", FakeModel(), dtype=dtype)
    lazy = open_transcoders(tmp_path / "set", FakeModel(), dtype=dtype, lazy=True)
    assert lazy.identity == eager.identity
    assert all(isinstance(t.W_dec, Tensor) for t in eager.layers)
    for ours, theirs in zip(lazy.layers, eager.layers, strict=True):
        assert isinstance(ours.W_dec, DecoderFile)
        assert ours.W_dec.shape == tuple(theirs.W_dec.shape)
        assert torch.equal(ours.W_dec.whole(), theirs.W_dec)
        assert torch.equal(ours.summed_decoder(), theirs.summed_decoder())
        index = torch.tensor([4, 0, 4, 3])
        for written in range(ours.layer, ours.layer + ours.n_written):
            rows = ours.decoder_rows(index, written)
            assert torch.equal(rows, theirs.decoder_rows(index, written))
        empty = ours.decoder_rows(torch.zeros(0, dtype=torch.long), ours.layer)
        assert empty.shape == (0, 6)
    xs = [x.to(dtype) for x in inputs()]
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5  # sums of fewer terms round otherwise
    for out, expected in zip(lazy.reconstruct(xs), eager.reconstruct(xs), strict=True):
        torch.testing.assert_close(out, expected, rtol=0, atol=tolerance)


def test_only_active_rows_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    CASES["circuit-tracer, clt"].write(tmp_path / "set", raw_layers())
    found = open_transcoders(tmp_path / "set", FakeModel(), lazy=True)
    asked: list[tuple[int, list[int]]] = []
    rows = DecoderFile.rows

    def counted(self: DecoderFile, index: Tensor, written: int) -> Tensor:
        asked.append((self.shape[0], index.tolist()))
        return rows(self, index, written)

    monkeypatch.setattr(DecoderFile, "rows", counted)
    monkeypatch.setattr(DecoderFile, "whole", lambda self: pytest.fail("read as a whole"))
    monkeypatch.setattr(DecoderFile, "chunks", lambda self: pytest.fail("read as a whole"))
    xs = [x[:1] for x in inputs()]
    expected = []
    for layer, (t, x) in enumerate(zip(found.layers, xs, strict=True)):
        expected += [t.encode(x)[0].nonzero().squeeze(1).tolist()] * (3 - layer)
    found.reconstruct(xs)
    assert [index for _, index in asked] == expected
    assert any(len(index) < features for features, index in asked)


def test_our_own_files_stay_on_disk_too_and_move_between_dtypes(tmp_path: Path) -> None:
    CASES["circuit-tracer, clt"].write(tmp_path / "set", raw_layers(dtype=torch.bfloat16))
    save_dictionary(open_transcoders(tmp_path / "set", dtype=torch.bfloat16), tmp_path / "ours")
    lazy = open_transcoders(tmp_path / "ours", FakeModel(), lazy=True)
    moved = lazy.to(device="cpu", dtype=torch.float32)
    rows = moved.layers[0].decoder_rows(torch.tensor([1]), 2)
    assert rows.dtype == torch.float32
    assert torch.equal(rows.double(), lazy.layers[0].decoder_rows(torch.tensor([1]), 2))


def test_a_decoder_too_big_for_memory_stays_on_disk_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    CASES["sparsify"].write(tmp_path / "set", raw_layers())
    monkeypatch.setattr(opening, "memory_budget", lambda device: 100)
    assert isinstance(open_transcoders(tmp_path / "set").layers[0].W_dec, DecoderFile)
    assert isinstance(open_transcoders(tmp_path / "set", lazy=False).layers[0].W_dec, Tensor)
    monkeypatch.setattr(opening, "memory_budget", memory_budget)
    assert isinstance(open_transcoders(tmp_path / "set").layers[0].W_dec, Tensor)


@pytest.mark.parametrize("name", ["saelens, flat", "llama-scope"])
def test_what_cannot_be_read_by_rows_is_refused(name: str, tmp_path: Path) -> None:
    CASES[name].write(tmp_path / "set", raw_layers())
    with pytest.raises(DictionaryError, match=r"cannot be read row by row .* convert"):
        open_transcoders(tmp_path / "set", lazy=True)


def test_a_file_that_changes_or_holds_nan_is_refused_when_read(tmp_path: Path) -> None:
    raw = raw_layers()
    raw[0]["decs"][2, 1] = float("nan")
    CASES["circuit-tracer, clt"].write(tmp_path / "set", raw)
    found = open_transcoders(tmp_path / "set", lazy=True)
    found.layers[0].decoder_rows(torch.tensor([1]), 1)
    with pytest.raises(DictionaryError, match="holds NaN"):
        found.layers[0].decoder_rows(torch.tensor([2]), 1)
    found.to(device="cpu", dtype=torch.float64).layers[1].decoder_rows(torch.tensor([1]), 1)
    file = tmp_path / "set/W_dec_1.safetensors"
    content, written_at = file.read_bytes(), file.stat().st_mtime_ns
    file.write_bytes(content[:-8] + bytes(8))  # another dictionary's, of the same size
    os.utime(file, ns=(written_at + 10**9, written_at + 10**9))
    with pytest.raises(DictionaryError, match="changed while it was in use"):
        found.layers[1].decoder_rows(torch.tensor([1]), 1)
    file.write_bytes(content[:-8])
    os.utime(file, ns=(written_at, written_at))
    with pytest.raises(DictionaryError, match="changed while it was in use"):
        found.layers[1].decoder_rows(torch.tensor([2]), 1)
