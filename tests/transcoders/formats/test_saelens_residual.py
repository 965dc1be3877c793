"""SAELens' sparse autoencoders of the residual stream: written by hand and read, and the way back.

What is read is compared with what SAELens itself defines, computed here from the raw tensors.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from circuit_tracer.errors import DictionaryError
from circuit_tracer.transcoders.converting import convert
from circuit_tracer.transcoders.dictionary import Dictionary, every_layer
from circuit_tracer.transcoders.formats.native import save_dictionary
from circuit_tracer.transcoders.opening import find_dictionary, open_transcoders, plan_dictionary
from tests.tiny import random_dictionary, tiny_llama
from tests.transcoders.formats.published import FakeModel

F, D, K = 7, 6, 3
CENTRED = {"apply_b_dec_to_input": True}


def raw(seed: int, *, threshold: bool = False) -> dict[str, Tensor]:
    """Random tensors as SAELens stores them."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"W_enc": (D, F), "W_dec": (F, D), "b_enc": (F,), "b_dec": (D,)}
    found = {name: torch.randn(*shape, generator=generator) for name, shape in shapes.items()}
    return found | ({"threshold": torch.rand(F, generator=generator)} if threshold else {})


def write(folder: Path, tensors: dict[str, Tensor], **config: Any) -> None:
    """One folder in SAELens' layout; `hook` goes into the metadata."""
    folder.mkdir(parents=True)
    save_file(tensors, folder / "sae_weights.safetensors")
    hook = config.pop("hook")
    stored = {
        "d_in": D,
        "d_sae": F,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": False,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {"model_name": "tiny", "hook_name": hook, "prepend_bos": True},
        **config,
    }
    (folder / "cfg.json").write_text(json.dumps(stored))


def defined(tensors: dict[str, Tensor], x: Tensor, config: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Activations and reconstruction as SAELens computes them, in float64."""
    w = {name: tensor.double() for name, tensor in tensors.items()}
    centred = config.get("apply_b_dec_to_input")
    pre = (x - w["b_dec"] if centred else x) @ w["W_enc"] + w["b_enc"]
    lengths = w["W_dec"].norm(dim=-1)
    scaled = config.get("rescale_acts_by_decoder_norm")
    if scaled:
        pre = pre * lengths
    if config["architecture"] == "jumprelu":
        acts = pre.relu() * (pre > w["threshold"])
    elif config["architecture"] == "topk":
        best = pre.topk(config["k"])
        acts = torch.zeros_like(pre).scatter(-1, best.indices, best.values.relu())
    else:
        acts = pre.relu()
    decoder = w["W_dec"] / lengths[:, None] if scaled else w["W_dec"]
    return acts, acts @ decoder + w["b_dec"]


@pytest.mark.parametrize(
    "config",
    [
        {"architecture": "topk", "k": K},
        {"architecture": "topk", "k": K, "rescale_acts_by_decoder_norm": True, **CENTRED},
        {"architecture": "standard", **CENTRED},
        {"architecture": "jumprelu"},
    ],
    ids=lambda c: "-".join(map(str, c.values())),
)
@pytest.mark.parametrize("hook", ["blocks.1.hook_resid_post", "blocks.2.hook_resid_pre"])
def test_it_computes_what_saelens_defines(
    tmp_path: Path, config: dict[str, Any], hook: str
) -> None:
    tensors = raw(0, threshold=config["architecture"] == "jumprelu")
    write(tmp_path / "sae", tensors, hook=hook, **config)
    found = open_transcoders(tmp_path / "sae", FakeModel())  # type: ignore[arg-type]
    assert (found.kind, found.numbers, found.n_layers) == ("sae", (1,), FakeModel.n_layers)
    x = torch.randn(5, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    acts, rebuilt = defined(tensors, x, config)
    torch.testing.assert_close(found.layers[1].encode(x), acts)
    torch.testing.assert_close(found.reconstruct([x] * FakeModel.n_layers)[1], rebuilt)


def test_b_dec_is_taken_off_what_is_read_unless_the_config_says_otherwise(tmp_path: Path) -> None:
    tensors, hook = raw(0), "blocks.1.hook_resid_post"
    write(tmp_path / "sae", tensors, hook=hook, architecture="standard")
    config = json.loads((tmp_path / "sae/cfg.json").read_text())
    del config["apply_b_dec_to_input"]
    (tmp_path / "sae/cfg.json").write_text(json.dumps(config))
    found = open_transcoders(tmp_path / "sae", FakeModel())  # type: ignore[arg-type]
    x = torch.randn(5, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    acts, _ = defined(tensors, x, {"architecture": "standard", **CENTRED})
    torch.testing.assert_close(found.layers[1].encode(x), acts)


def test_several_layers_are_several_folders(tmp_path: Path) -> None:
    for layer in (2, 0):
        hook = f"blocks.{layer}.hook_resid_post"
        write(tmp_path / "set" / hook, raw(layer), hook=hook, architecture="topk", k=K)
    found = open_transcoders(tmp_path / "set")
    assert found.numbers == (0, 2)
    for layer in (0, 2):
        assert torch.equal(found.layers[layer].W_enc, raw(layer)["W_enc"].T)
    plan = plan_dictionary(find_dictionary(tmp_path / "set"))
    assert plan.reads == plan.writes == "hook_resid_post"


@pytest.mark.parametrize("layers", [(1,), (0, 2)])
def test_the_way_to_saelens_and_back_keeps_every_bit(
    tmp_path: Path, layers: tuple[int, ...]
) -> None:
    model, point = tiny_llama(), "hook_resid_post"
    given = random_dictionary(model, kind="sae", reads=point, writes=point)
    kept = every_layer([given.layers[layer] for layer in layers], model.n_layers)
    dictionary = Dictionary("sae", kept, given.reads, given.identity, given.writes)
    identity = save_dictionary(dictionary, tmp_path / "ours")
    notes = convert(tmp_path / "ours", tmp_path / "theirs", "saelens")
    assert notes == ("the model's name is not known; write it into each cfg.json",)
    homes = [""] if len(layers) == 1 else [f"blocks.{layer}.hook_resid_post" for layer in layers]
    for home, layer in zip(homes, layers, strict=True):
        config = json.loads((tmp_path / "theirs" / home / "cfg.json").read_text())
        assert config["architecture"] == "topk"
        assert config["k"] == 4
        assert config["metadata"]["hook_name"] == f"blocks.{layer}.hook_resid_post"
        stored = load_file(tmp_path / "theirs" / home / "sae_weights.safetensors")
        x = torch.randn(5, model.d_model).double()
        acts, rebuilt = defined(stored, x, config)
        transcoder = dictionary.to(device="cpu", dtype=torch.float64).layers[layer]
        torch.testing.assert_close(transcoder.encode(x), acts)
        torch.testing.assert_close(transcoder.write(acts, layer) + transcoder.b_dec, rebuilt)
    convert(tmp_path / "theirs", tmp_path / "again", "ours")
    again = open_transcoders(tmp_path / "again", model)
    assert again.identity.sha256 == identity.sha256
    for layer in layers:
        for name, tensor in again.layers[layer].tensors().items():
            assert torch.equal(tensor, dictionary.layers[layer].tensors()[name])
    convert(tmp_path / "ours", tmp_path / "theirs", "saelens", overwrite=True)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"architecture": "topk", "k": K, "hook": "blocks.0.hook_resid_pre"}, "before the first"),
        ({"architecture": "topk", "k": K, "hook": "blocks.0.hook_mlp_out"}, "plain sparse auto"),
        ({"architecture": "gated", "hook": "blocks.0.hook_resid_post"}, '"gated", where'),
        ({"architecture": "topk", "hook": "blocks.0.hook_resid_post"}, "does not say its k"),
        ({"architecture": "batchtopk", "hook": "blocks.0.hook_resid_post"}, "is BatchTopK as"),
        (
            {"architecture": "topk", "k": K, "hook": "blocks.7.hook_resid_post"},
            "has 8 layers and the model",
        ),
    ],
)
def test_what_cannot_be_taken_is_refused(
    tmp_path: Path, config: dict[str, Any], words: str
) -> None:
    write(tmp_path / "sae", raw(0), **config)
    with pytest.raises(DictionaryError, match=words):
        open_transcoders(tmp_path / "sae", FakeModel())  # type: ignore[arg-type]


def test_transcoders_do_not_go_into_saelens_nor_autoencoders_to_circuit_tracer(
    tmp_path: Path,
) -> None:
    model = tiny_llama()
    save_dictionary(random_dictionary(model), tmp_path / "plt")
    with pytest.raises(DictionaryError, match="holds transcoders, and only sparse"):
        convert(tmp_path / "plt", tmp_path / "out", "saelens")
    write(tmp_path / "sae", raw(0), hook="blocks.1.hook_resid_post", architecture="topk", k=K)
    with pytest.raises(DictionaryError, match="is for transcoders"):
        convert(tmp_path / "sae", tmp_path / "out", "circuit-tracer")
    assert not (tmp_path / "out").exists()
