"""What a caller of Python may have set, and how it may call: gradients off, several threads, ..."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

import circuit_tracer as ct
from circuit_tracer.errors import DictionaryError, GraphFileError, OutputError, UsageError
from circuit_tracer.transcoders.training import train_in_memory
from circuit_tracer.workbench import circuiting
from circuit_tracer.workbench.opening import Opened, open_pair
from tests.device import DEVICE, HOST
from tests.tiny import random_dictionary, tiny_llama, tiny_tokenizer
from tests.transcoders.fakes import FakeSource, small_config, text_file

YELLOW = np.array(["yellow"])


@contextmanager
def float64_by_default() -> Iterator[None]:
    """As somebody sets it who wants more digits everywhere."""
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def opened() -> Opened:
    return open_pair("sprout", device=str(DEVICE))


def circuit_of(opened: Opened) -> list[str]:
    """The names in a circuit, in their order."""
    ask = {"basis": "neurons", "ablation": "zero", "random": 1}
    found = ct.circuit("rome is the capital of", model=opened.model, **ask)
    return [one.name for one in found.components]


@pytest.fixture(scope="module")
def usual(opened: Opened) -> list[str]:
    return circuit_of(opened)


@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode, float64_by_default])
def test_a_circuit_is_found_whatever_is_set_around_it(
    around: type[AbstractContextManager[None]], opened: Opened, usual: list[str]
) -> None:
    with around():
        assert circuit_of(opened) == usual != []


@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode])
def test_a_dictionary_is_trained_whatever_is_set_around_it(
    around: type[AbstractContextManager[None]], tmp_path: Path
) -> None:
    text, config = text_file(tmp_path), small_config(epochs=1)
    usual = train_in_memory(FakeSource(), text, config)
    with around():
        found = train_in_memory(FakeSource(), text, config)
    torch.testing.assert_close(found.layers[1].W_enc, usual.layers[1].W_enc)


def test_a_model_opened_in_inference_mode_can_be_differentiated() -> None:
    """And one opened and run while tensors are made on no device at all has numbers."""
    with torch.inference_mode(), torch.device("meta"):
        model = ct.open_model("sprout", device=str(DEVICE))
        logits = model.capture(model.tokenize("a banana is")).logits
    assert not any(one.is_inference() for one in model.module.parameters())
    assert model.token_text(int(logits[-1].argmax())).strip() == "yellow"


def test_numbers_of_numpy_and_paths_as_text_are_taken(opened: Opened, tmp_path: Path) -> None:
    traced = ct.trace("a banana is", model=opened, max_feature_nodes=np.int64(9), targets=YELLOW)
    assert traced.pruned.graph.info.settings["max_feature_nodes"] == 9
    found = ct.steps("a banana is", "yellow", model=opened, exact=str(tmp_path / "exact"))
    assert found.exact
    (tmp_path / "text.txt").write_text("a banana is yellow\n")
    ask = {"basis": "neurons", "random": np.int64(1), "reference": str(tmp_path / "text.txt")}
    assert ct.circuit("a banana is", model=tiny_llama(), **ask).components


def test_a_circuit_is_found_of_a_graph_in_memory_or_by_its_path(tmp_path: Path) -> None:
    """In memory the model may be one that lies nowhere."""
    model = tiny_llama()
    traced = ct.trace("a banana is", model=model)
    ask = {"basis": "neurons", "ablation": "zero", "random": 1}
    alone = ct.circuit("a banana is", model=model, **ask)
    assert ct.circuit(traced, **ask).components == alone.components
    place = traced.save(tmp_path / "graph")
    assert ct.circuit(place, model=model, **ask).prompts[0].prompt == "a banana is"
    traced.save(tmp_path / "another")
    with pytest.raises(GraphFileError, match="is not itself a stored trace"):
        ct.circuit(tmp_path, model=model, **ask)


def test_a_circuit_of_a_graph_has_nothing_where_the_graph_has_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def asked(*_: object, n_zeroed: int, **__: object) -> None:
        raise UsageError(f"{n_zeroed} zeroed")

    monkeypatch.setattr(circuiting, "find_circuit", asked)
    traced = ct.trace("a banana is", model=tiny_llama(), zeroed_positions=3)
    with pytest.raises(UsageError, match="3 zeroed"):
        ct.circuit(traced, basis="neurons", ablation="zero")


def test_one_name_stands_for_a_list_of_one(opened: Opened, tmp_path: Path) -> None:
    found = ct.steps("a banana is", "yellow . so", model=opened, decided="yellow")
    assert [one.decided for one in found.steps if one.decided] == [(4,)]
    with pytest.raises(DictionaryError, match='no dictionary "nosuch"'):
        ct.diff("sprout", "sprout-bent", "bent", transcoders="nosuch", quick=True, out=tmp_path)


def test_a_spec_may_be_a_path(opened: Opened, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no file .*mine\.toml"):
        ct.edits(tmp_path / "mine.toml", model=opened)


def test_places_are_text_or_paths(opened: Opened, tmp_path: Path) -> None:
    """Every call that takes a place takes both."""
    tiny_llama(device=HOST).module.save_pretrained(tmp_path / "model")
    tiny_tokenizer(24).save_pretrained(tmp_path / "model")
    output = ct.FolderSettings(formats=("json",), trust=False)
    for kind in (str, Path):
        assert ct.open_model(kind(tmp_path / "model"), device="cpu").n_layers == 3
        assert ct.open_pair(kind(tmp_path / "model"), device="cpu").dictionary.kind == "neurons"
        folder = kind(tmp_path / kind.__name__)
        ct.trace_into(folder, opened, "a banana is", output=output)
        assert ct.graph_svg(folder, ct.View(routes=1)).startswith("<?xml")
        assert ct.write_page(folder).name == "graph.html"
        assert ct.write_page(folder, folder, out=kind(f"{folder}.html")).is_file()
        assert ct.load_graph(folder).graph.info.prompt == "a banana is"
        with pytest.raises(OutputError, match=r"steps\.json is missing"):
            ct.read_steps(folder)


def test_weights_that_changed_in_memory_are_not_taken_for_the_graph_s(tmp_path: Path) -> None:
    """They have no hash: the logits tell."""
    model = tiny_llama()
    traced = ct.trace("a banana is", model=model)
    place = traced.save(tmp_path / "graph")
    assert ct.load(place).reopen(model).ablate(top=1).rows
    other = ct.load(place).reopen(tiny_llama(seed=1))
    with pytest.raises(UsageError, match="its weights are not those that the graph was traced"):
        other.ablate(top=1)
    with pytest.raises(UsageError, match="its weights are not those that the graph was traced"):
        ct.load(place).reopen(tiny_llama(seed=1)).heads()
    dictionary = random_dictionary(model)
    featured = ct.trace("a banana is", model=model, transcoders=dictionary)
    again = ct.load(featured.save(tmp_path / "featured"))
    assert again.reopen(model, dictionary).ablate(top=1).rows
    with pytest.raises(UsageError, match="the dictionary is not the one"):
        again.reopen(model, random_dictionary(model, seed=9)).ablate(top=1)
    with torch.no_grad():
        model.module.model.layers[0].mlp.down_proj.weight.mul_(2)
    with pytest.raises(UsageError, match="trace the prompt again"):
        traced.trust(quick=True)


def test_a_position_is_a_number_or_named(opened: Opened) -> None:
    traced = ct.trace("a banana is", model=opened)
    by_number, by_name = traced.qk("3.2", 3, -2), traced.qk("3.2", "is", "banana")
    assert by_number.parts.value == by_name.parts.value


def test_a_traced_graph_is_copied_and_pickled(opened: Opened) -> None:
    """The open model is not: it is opened again."""
    traced = ct.trace("a banana is", model=opened)
    assert copy.copy(traced).opened is opened
    for one in (copy.deepcopy(traced), pickle.loads(pickle.dumps(traced))):
        assert one.scores == traced.scores
        assert one.opened.model.identity == opened.model.identity
    heads = traced.heads(top=2)
    for found in (copy.deepcopy(heads), pickle.loads(pickle.dumps(heads))):
        assert (found.record(), repr(found)) == (heads.record(), repr(heads))


def test_threads_may_share_a_model(opened: Opened) -> None:
    prompts = ["a banana is", "the sky is", "a lemon is", "is a banana yellow ?"] * 2
    alone = [ct.trace(one, model=opened).scores for one in prompts]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda one: ct.trace(one, model=opened).scores, prompts))
    for one, other in zip(alone, together, strict=True):
        assert other.replacement == pytest.approx(one.replacement, rel=1e-4)
        assert other.completeness == pytest.approx(one.completeness, rel=1e-4)
