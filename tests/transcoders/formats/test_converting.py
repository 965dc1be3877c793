"""Every format turns into ours and into circuit-tracer's and back without a bit changing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from circuit_tracer.errors import DictionaryError, OutputError, UsageError
from circuit_tracer.transcoders.converting import convert
from circuit_tracer.transcoders.decoders import DecoderFile
from circuit_tracer.transcoders.dictionary import Dictionary
from circuit_tracer.transcoders.formats.circuit_tracer_writer import save_circuit_tracer
from circuit_tracer.transcoders.formats.native import save_dictionary
from circuit_tracer.transcoders.formats.plan import load_plan
from circuit_tracer.transcoders.opening import find_dictionary, open_transcoders, plan_dictionary
from tests.transcoders.formats.published import CASES, inputs, raw_layers


def as_stored(folder: Path) -> Dictionary:
    place = find_dictionary(folder)
    return load_plan(plan_dictionary(place), name="x", source="folder", dtype=None)


def same(first: Dictionary, second: Dictionary) -> None:
    assert (first.kind, first.reads, first.writes) == (second.kind, second.reads, second.writes)
    for a, b in zip(first.layers, second.layers, strict=True):
        assert (a.layer, a.activation, a.k) == (b.layer, b.activation, b.k)
        for name in ("W_enc", "b_enc", "W_dec", "b_dec", "threshold", "W_skip"):
            x, y = getattr(a, name), getattr(b, name)
            assert (x is None) == (y is None), name
            if x is not None:
                assert x.dtype == y.dtype
                assert torch.equal(x, y), name
        rng = inputs()[a.layer].to(a.W_enc.dtype)
        assert torch.equal(a.encode(rng), b.encode(rng))


BOTH = [
    (name, dtype)
    for name in CASES
    for dtype in (torch.float32, torch.bfloat16)
    if (name, dtype) != ("gemma-scope", torch.bfloat16)  # numpy has none
]


@pytest.mark.parametrize(("name", "dtype"), BOTH)
def test_every_format_goes_to_both_and_back_bit_for_bit(
    name: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    case = CASES[name]
    case.write(tmp_path / "set", raw_layers(dtype=dtype))
    source = as_stored(tmp_path / "set")
    assert source.layers[0].W_enc.dtype == (dtype if case.exact else torch.float32)
    convert(tmp_path / "set", tmp_path / "ours", "ours")
    convert(tmp_path / "ours", tmp_path / "theirs", "circuit-tracer")
    convert(tmp_path / "theirs", tmp_path / "again", "ours")
    for folder in ("ours", "theirs", "again"):
        same(as_stored(tmp_path / folder), source)
    for file in (tmp_path / "ours").glob("*.safetensors"):
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()


def test_circuit_tracers_files_are_as_it_writes_them(tmp_path: Path) -> None:
    raw = raw_layers()
    for name in ("circuit-tracer, skip", "circuit-tracer, clt"):
        CASES[name].write(tmp_path / name, raw)
        convert(tmp_path / name, tmp_path / f"{name} again", "circuit-tracer")
        for file in (tmp_path / name).glob("*.safetensors"):
            written = load_file(tmp_path / f"{name} again" / file.name)
            read = load_file(file)
            assert written.keys() == read.keys()
            assert all(torch.equal(written[key], read[key]) for key in read)


def test_k_may_differ_by_layer(tmp_path: Path) -> None:
    CASES["sparsify"].write(tmp_path / "set", raw_layers())
    cfg = tmp_path / "set/layers.1.mlp/cfg.json"
    cfg.write_text(json.dumps({**json.loads(cfg.read_text()), "k": 2}))
    source = as_stored(tmp_path / "set")
    assert [t.k for t in source.layers] == [4, 2, 4]
    save_dictionary(source, tmp_path / "ours")
    assert json.loads((tmp_path / "ours/dictionary.json").read_text())["k"] == [4, 2, 4]
    same(as_stored(tmp_path / "ours"), source)
    said = save_circuit_tracer(source, tmp_path / "theirs")
    assert any("one k for all layers" in line for line in said)
    same(as_stored(tmp_path / "theirs"), source)


def test_decoders_on_disk_are_copied_without_being_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("circuit_tracer.transcoders.decoders.ROWS_AT_ONCE", 2)
    monkeypatch.setattr(DecoderFile, "whole", lambda self: pytest.fail("read as a whole"))
    CASES["circuit-tracer, clt"].write(tmp_path / "set", raw_layers())
    convert(tmp_path / "set", tmp_path / "ours", "ours")
    convert(tmp_path / "ours", tmp_path / "theirs", "circuit-tracer")
    same(as_stored(tmp_path / "theirs"), as_stored(tmp_path / "set"))


def test_what_circuit_tracer_would_read_otherwise_is_reported(tmp_path: Path) -> None:
    CASES["circuit-tracer, clt"].write(tmp_path / "set", raw_layers())
    found = as_stored(tmp_path / "set")
    topk = replace(
        found,
        layers=tuple(replace(t, activation="topk", threshold=None, k=2) for t in found.layers),
        config={},
    )
    said = save_circuit_tracer(topk, tmp_path / "theirs")
    assert "reads cross-layer dictionaries as ReLU" in said[0]
    assert "the model's name is not known" in said[1]


def test_nothing_is_overwritten_or_half_written(tmp_path: Path) -> None:
    CASES["sparsify"].write(tmp_path / "set", raw_layers())
    with pytest.raises(UsageError, match="ours, circuit-tracer or saelens, not to"):
        convert(tmp_path / "set", tmp_path / "out", "npz")
    with pytest.raises(OutputError, match="is the dictionary itself"):
        convert(tmp_path / "set", tmp_path / "set", "ours")
    for to in ("ours", "circuit-tracer"):
        convert(tmp_path / "set", tmp_path / to, to)
        with pytest.raises(OutputError, match="`overwrite`"):
            convert(tmp_path / "set", tmp_path / to, to)
        convert(tmp_path / "set", tmp_path / to, to, overwrite=True)
    (tmp_path / "set/layers.2.mlp/sae.safetensors").write_bytes(b"short")
    with pytest.raises(DictionaryError):
        convert(tmp_path / "set", tmp_path / "late", "ours")
    assert sorted(f.name for f in tmp_path.iterdir()) == ["circuit-tracer", "ours", "set"]
    assert open_transcoders(tmp_path / "ours").layers[0].k == 4
