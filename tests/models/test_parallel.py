"""A model over two processes gives the graph that one process gives."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import torch

from circuit_tracer.__main__ import main
from circuit_tracer.errors import ModelError, UsageError
from circuit_tracer.graphs import load_graph
from circuit_tracer.models import open_model, parallel
from circuit_tracer.models.wiring import Wiring
from circuit_tracer.processes import Processes, is_first, processes
from circuit_tracer.transcoders.formats.native import save_dictionary
from tests.cli.conftest import run_command
from tests.forked import Forked
from tests.models import spread
from tests.tiny import random_dictionary, tiny_llama, tiny_model

TRACE = ("trace", "the banana is yellow yes a lemon is", "--dtype", "float64", "--threads", "1")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model with biases and grouped heads, and a dictionary for it."""
    model = tiny_llama(attention_bias=True)
    model.module.save_pretrained(tmp_path / "model")
    model.tokenizer.save_pretrained(tmp_path / "model")
    save_dictionary(random_dictionary(model, skip=True), tmp_path / "plt")
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Ended(NamedTuple):
    """What a process left behind."""

    code: int
    out: str
    err: str


def together(
    count: int, *arguments: str, cwd: Path, work: Callable[[], None] = main
) -> list[Ended]:
    """The command line, or other work, in several processes as torchrun starts them."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    started = [
        Forked(arguments, cwd, work, **shared, RANK=str(rank), LOCAL_RANK=str(rank))
        for rank in range(count)
    ]
    return [Ended(*process.finished()) for process in started]


def test_two_processes_give_the_graph_of_one_and_only_the_first_speaks(files: Path) -> None:
    given = (*TRACE, "--model", "model", "--transcoders", "plt")
    first, second = together(2, *given, "--slug", "two", cwd=files)
    assert first.code == second.code == 0, (first.err, second.err)
    assert "conservation" in first.out
    assert second.out == second.err == ""
    assert run_command(*given, "--slug", "one", "--device", "cpu").code == 0
    one, two = (load_graph(files / "outputs" / slug) for slug in ("one", "two"))
    for column in ("kind", "layer", "position", "feature", "expanded"):
        wanted = getattr(one.graph.nodes, column)
        np.testing.assert_array_equal(getattr(two.graph.nodes, column), wanted)
    for column in ("activation", "value", "constant"):
        wanted = getattr(one.graph.nodes, column)
        np.testing.assert_allclose(getattr(two.graph.nodes, column), wanted, atol=1e-12)
    np.testing.assert_array_equal(two.graph.edges.source, one.graph.edges.source)
    np.testing.assert_array_equal(two.graph.edges.target, one.graph.edges.target)
    np.testing.assert_allclose(two.graph.edges.weight, one.graph.edges.weight, atol=1e-12)
    np.testing.assert_array_equal(two.node_kept, one.node_kept)
    assert two.graph.info.model == one.graph.info.model


def test_every_way_of_cutting_gives_whole_activations_and_weights(tmp_path: Path) -> None:
    """Norms on queries, norms over all queries, fused projections: each is cut in its own way."""
    families = ("qwen3", "gemma3", "gpt_neox", "olmo2")
    for family in families:
        model = tiny_model(family)
        model.module.save_pretrained(tmp_path / family)
        model.tokenizer.save_pretrained(tmp_path / family)
    folders = [str(tmp_path / family) for family in families]
    for ended in together(2, *folders, cwd=tmp_path, work=spread.main):
        assert ended.code == 0, ended.err
        assert len(ended.out.split()) == len(families)
        assert all(float(largest) < 1e-12 for largest in ended.out.split()), ended.out


def test_a_wrong_call_is_reported_once(tmp_path: Path) -> None:
    first, second = together(2, "trace", "", cwd=tmp_path)
    assert first.code == second.code == 2
    assert "prompt is empty" in first.err
    assert second.err == ""


def test_stdin_is_not_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    torchrun(monkeypatch, rank=0, count=2)
    outcome = run_command("trace", "-")
    assert outcome.code == 2
    assert "cannot share one stdin" in outcome.err


def torchrun(monkeypatch: pytest.MonkeyPatch, *, rank: int, count: int) -> None:
    values = {"RANK": rank, "WORLD_SIZE": count, "LOCAL_RANK": rank, "MASTER_PORT": 29500}
    for name, value in {**values, "MASTER_ADDR": "localhost"}.items():
        monkeypatch.setenv(name, str(value))


def test_who_is_first(monkeypatch: pytest.MonkeyPatch) -> None:
    assert processes() == Processes(rank=0, count=1)
    torchrun(monkeypatch, rank=1, count=4)
    assert processes() == Processes(rank=1, count=4)
    assert not is_first()
    monkeypatch.delenv("LOCAL_RANK")  # a cluster's own variables are not torchrun
    assert processes() == Processes(rank=0, count=1)
    monkeypatch.setenv("LOCAL_RANK", "x")
    assert is_first()


@pytest.mark.parametrize(
    ("heads", "kv_heads", "plan", "says"),
    [
        (9, 3, {"layers.*": "colwise"}, "allow 3; start as many"),
        (4, 1, {"layers.*": "colwise"}, "allow none; start one"),
        (4, 2, None, "allow none; start one"),
    ],
)
def test_what_cannot_be_cut_evenly_is_refused(
    heads: int, kv_heads: int, plan: object, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torchrun(monkeypatch, rank=0, count=2)
    config = SimpleNamespace(
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        intermediate_size=48,
        base_model_tp_plan=plan,
    )
    with pytest.raises(ModelError, match=says):
        parallel.tensor_parallel_options(config, Wiring.paths, "auto")


def test_ways_of_spreading_that_cannot_be_get_a_sentence(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="torchrun --nproc-per-node"):
        open_model("model", tensor_parallel=True)
    with pytest.raises(UsageError, match="leave out one of them"):
        open_model("model", tensor_parallel=True, device_map="auto")
    with pytest.raises(UsageError, match='unknown device map "everywhere"'):
        open_model("model", device_map="everywhere")
    torchrun(monkeypatch, rank=0, count=2)
    with pytest.raises(UsageError, match='so "mps:3"'):
        open_model("model", tensor_parallel=True, device="mps:3")
    monkeypatch.setattr(parallel.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="pip install accelerate"):
        open_model("model", device_map="auto")


@pytest.mark.parametrize("places", [{"a": 0, "b": "disk"}, {"a": 0, "b": "cpu"}])
def test_layers_left_outside_the_gpus_are_refused(places: dict[str, object]) -> None:
    with pytest.raises(ModelError, match="does not fit into the GPUs"):
        parallel.check_loaded(SimpleNamespace(hf_device_map=places), "big")
    parallel.check_loaded(SimpleNamespace(hf_device_map={"a": 0, "b": 1}), "big")
    parallel.check_loaded(SimpleNamespace(hf_device_map={"": "cpu"}), "big")


def test_a_device_map_gives_the_same_pass(files: Path) -> None:
    pytest.importorskip("accelerate")
    spread, plain = open_model("model", device_map="auto"), open_model("model", device="cpu")
    ids = plain.tokenize("a lemon is")
    seen = spread.capture(ids).logits.cpu()
    assert torch.allclose(seen, plain.capture(ids).logits, atol=1e-5)


def test_finite_means_every_element() -> None:
    values = torch.ones(10)
    assert parallel.is_finite(values)
    assert parallel.is_finite(values * 3e38)  # their sum is not
    for wrong in (float("nan"), float("inf"), -float("inf")):
        values[3] = wrong
        assert not parallel.is_finite(values)
