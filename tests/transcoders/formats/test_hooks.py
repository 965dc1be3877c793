"""Names of places in both vocabularies, and readers by name."""

from __future__ import annotations

import re

import pytest

from circuit_tracer.errors import DictionaryError
from circuit_tracer.transcoders.formats.hooks import (
    ambiguity,
    read_places,
    read_point,
    write_places,
    write_point,
)
from circuit_tracer.transcoders.formats.registry import READERS, recognise
from tests.tiny import tiny_model
from tests.transcoders.formats.published import CASES


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mlp.hook_in", "mlp.hook_in"),
        ("blocks.5.mlp.hook_in", "mlp.hook_in"),
        ("blocks.{layer}.ln2.hook_normalized", "ln2.hook_normalized"),
        ("hook_resid_mid", "hook_resid_mid"),
        ("blocks.5.hook_mlp_in", "hook_resid_mid"),
        ("model.layers.5.mlp.input", "mlp.hook_in"),
        ("layers.5.mlp", "mlp.hook_in"),
        ("h.5.mlp", "mlp.hook_in"),
        ("transformer.h.5.ln_2.output", "mlp.hook_in"),
        ("gpt_neox.layers.5.mlp", "mlp.hook_in"),
        ("model.layers.5.post_attention_layernorm.output", "mlp.hook_in"),
        ("layers.{layer}.post_attention_layernorm", "mlp.hook_in"),
        ("model.layers[5].post_attention_layernorm.input", "hook_resid_mid"),
        ("model.language_model.layers.5.pre_feedforward_layernorm.output", "mlp.hook_in"),
    ],
)
def test_reading_points(name: str, expected: str) -> None:
    assert read_point(name, layer=5) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("blocks.0.hook_mlp_out", "hook_mlp_out"),
        ("mlp.hook_out", "mlp.hook_out"),
        ("layers.0.mlp", "mlp.hook_out"),
        ("model.layers.0.mlp.output", "mlp.hook_out"),
        ("model.layers.0.post_feedforward_layernorm.output", "hook_mlp_out"),
    ],
)
def test_writing_points(name: str, expected: str) -> None:
    assert write_point(name, layer=0) == expected


@pytest.mark.parametrize(
    "name",
    ["blocks.5.hook_resid_post", "model.layers.5.output", "", None, 7, "blocks.5.attn.hook_z"],
)
def test_other_places_are_refused_with_the_known_ones(name: object) -> None:
    with pytest.raises(DictionaryError, match=r"known: .*ln2.hook_normalized"):
        read_point(name)
    with pytest.raises(DictionaryError, match=r"known: hook_mlp_out, mlp"):
        write_point(name)


def test_the_layer_in_a_name_has_to_be_the_layer() -> None:
    with pytest.raises(DictionaryError, match=r"layer 4 of the dictionary .* in another"):
        read_point("blocks.5.mlp.hook_in", layer=4)


def test_a_norm_is_the_mlps_only_where_the_architecture_has_it_there() -> None:
    """post_attention_layernorm ends the attention block in Gemma 2 and OLMo 2."""
    name = "model.layers.5.post_attention_layernorm.output"
    for model in ("google/gemma-2-2b", "google/gemma-3-4b-it", "allenai/OLMo-2-1B"):
        with pytest.raises(DictionaryError, match="is not before the MLP"):
            read_point(name, model=model)
    for model in ("meta-llama/Llama-3.2-1B", "Qwen/Qwen3-4B", "EleutherAI/pythia-70m", "unheard"):
        assert read_point(name, model=model) == "mlp.hook_in"
    with pytest.raises(DictionaryError, match="pre_feedforward_layernorm is"):
        read_point(name, wiring=tiny_model("gemma2").wiring, model="a fine-tuned llama")
    with pytest.raises(DictionaryError, match="no norm is"):
        read_point(name, wiring=tiny_model("olmo2").wiring)
    assert read_point(name, wiring=tiny_model("gpt_neox").wiring) == "mlp.hook_in"
    with pytest.raises(DictionaryError, match="post_attention_layernorm is"):
        read_point("model.layers.5.pre_feedforward_layernorm.output", model="Llama")


def test_places_are_shown_as_the_models_wiring_has_them() -> None:
    norm = "model.layers.2.post_attention_layernorm"
    for reads, module in (
        ("mlp.hook_in", f"{norm}.output"),
        ("ln2.hook_normalized", f"{norm}.output without its weight"),
        ("hook_resid_mid", f"{norm}.input"),
    ):
        place = read_places(reads, "meta-llama/x", layer="2")  # type: ignore[arg-type]
        assert place == (f"blocks.2.{reads}", module)
    assert write_places("hook_mlp_out", "llama", "2").module == "model.layers.2.mlp.output"
    assert write_places("hook_mlp_out", "google/gemma-2-2b").module.endswith(
        "post_feedforward_layernorm.output"
    )
    assert read_places("mlp.hook_in", "olmo-2").module == "model.layers.{layer}.mlp.input"
    assert ambiguity("blocks.0.hook_mlp_in")
    assert not ambiguity("blocks.0.mlp.hook_in")


def test_every_format_has_one_reader_and_a_case() -> None:
    assert set(READERS) == {"ours", *(case.format for case in CASES.values())}
    with pytest.raises(DictionaryError, match=re.escape("one of gemma-scope, gemma-scope-2")):
        recognise(["readme.md"], "somewhere")
