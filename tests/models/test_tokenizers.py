"""A folder's tokenizer is the one that its tokenizer.json describes, whatever its class is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tokenizers
from transformers import PreTrainedTokenizerFast

from circuit_tracer.errors import PromptError
from circuit_tracer.models import Model, open_model
from tests.tiny import WORDS, tiny_module, tiny_tokenizer
from tests.vocabularies import byte_level, sentencepiece

MAKERS = {"bytes": byte_level, "pieces": sentencepiece}
CLASSES = ("Qwen2TokenizerFast", "GPT2TokenizerFast", "LlamaTokenizerFast")


def saved(folder: Path, family: str, kind: str, named: str) -> Path:
    """A tiny model's folder with a tokenizer of a kind that calls itself one of a class."""
    tokenizer = MAKERS[kind]()
    tiny_module(family, n_layers=1, n_words=len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "tokenizer_class": named}))
    return folder


@pytest.mark.parametrize("family", ["llama", "qwen2"])
@pytest.mark.parametrize(
    ("kind", "named"),
    [*((kind, named) for kind in MAKERS for named in CLASSES), ("pieces", "GemmaTokenizerFast")],
)
def test_texts_fall_into_the_tokens_of_tokenizer_json(
    tmp_path: Path, family: str, kind: str, named: str
) -> None:
    model = open_model(str(saved(tmp_path, family, kind, named)), device="cpu")
    stored = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in ("Answer: a banana  is yellow\nyes 4", "no 🍌é\t12"):
        ids = stored.encode(text, add_special_tokens=False).ids
        assert model.tokenize(text)[-len(ids) :] == ids
        assert model.tokenizer.decode(ids) == stored.decode(ids)
        assert len(model.tokenize(text)) == len(ids) + (model.bos_id is not None)


def test_a_token_that_only_the_tokenizer_itself_puts_in_front_is_in_front(tmp_path: Path) -> None:
    """As in a folder without tokenizer_config.json, which would call it BOS."""
    tiny_module("llama", n_layers=1).save_pretrained(tmp_path)
    tiny_tokenizer(24).save_pretrained(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    model: Model = open_model(str(tmp_path), device="cpu")
    ids = model.tokenize("a banana is")
    assert ids == [0, *map(WORDS.index, ("a", "banana", "is"))]
    assert model.zeroed_positions(ids) == 1


def test_a_vocabulary_with_nothing_for_unknown_words_gets_a_sentence(tmp_path: Path) -> None:
    words = tokenizers.models.WordLevel({"[BOS]": 0, "yes": 1, "no": 2}, unk_token="[UNK]")
    whole = tokenizers.Tokenizer(words)
    whole.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tiny_module("llama", n_layers=1, n_words=3).save_pretrained(tmp_path)
    PreTrainedTokenizerFast(tokenizer_object=whole, bos_token="[BOS]").save_pretrained(tmp_path)
    model = open_model(str(tmp_path), device="cpu")
    assert model.tokenize("yes no") == [0, 1, 2]
    with pytest.raises(PromptError, match=r"does not know all of these words .*--vocabulary"):
        model.tokenize("yes zebra")
    with pytest.raises(PromptError, match=r'"zebra" is not one token'):
        model.token_id("zebra")
