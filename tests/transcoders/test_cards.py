"""Feature cards: made from a tiny model, read back without torch."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from circuit_tracer.errors import DictionaryError
from circuit_tracer.graphs.files.exchange import cantor
from circuit_tracer.models import Model
from circuit_tracer.transcoders.card_making import make_cards
from circuit_tracer.transcoders.cards import (
    CardBook,
    feature_json,
    feature_path,
    load_cards,
)
from circuit_tracer.transcoders.dictionary import Dictionary
from circuit_tracer.transcoders.rows import RowReader, Rows
from tests.device import on_host
from tests.tiny import WORDS, random_dictionary, tiny_llama, tiny_model
from tests.transcoders.fakes import text_file


class Made:
    """A model, its dictionary, the text and the cards made from them."""

    def __init__(self, folder: Path) -> None:
        self.model: Model = tiny_llama()
        self.dictionary: Dictionary = random_dictionary(self.model, kind="clt")
        self.text = text_file(folder, documents=150)
        path = make_cards(self.model, self.dictionary, self.text, folder, row_length=16)
        self.book: CardBook = load_cards(path)
        rows = RowReader(self.text, self.model.tokenizer, bos_id=0, row_length=16).next_rows(9999)
        assert rows is not None
        self.rows: Rows = rows

    def activations(self, layer: int) -> torch.Tensor:
        """(R, T, F), zero at BOS and padding."""
        inputs = self.model.mlp_activity(self.rows.token_ids).inputs[layer]
        return on_host(self.dictionary.layers[layer].encode(inputs)) * self.rows.real()[..., None]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("cards"))


def test_frequency_and_largest_activation_are_exact(made: Made) -> None:
    total = int(made.rows.real().sum())
    for layer in range(3):
        activations = made.activations(layer)
        for feature in range(12):
            card = made.book.card(layer, feature)
            wanted = activations[..., feature]
            assert card.max_activation == pytest.approx(float(wanted.max()), rel=1e-5)
            assert card.frequency == pytest.approx(float((wanted > 0).sum()) / total, rel=1e-5)


def test_examples_show_the_true_activations_strongest_first(made: Made) -> None:
    activations = made.activations(1)
    feature = int(activations.amax((0, 1)).argmax())
    card = made.book.card(1, feature)
    top = [example for example in card.examples if example.quantile == "Top"]
    peaks = [max(example.activations) for example in top]
    assert peaks[0] == pytest.approx(card.max_activation, rel=1e-5)
    assert len({example.tokens for example in top}) == len(top) == 5
    assert {example.quantile for example in card.examples} > {"Top", "Subsample interval 2"}
    words = [
        [made.model.tokenizer.decode([i]) for i in row[:n]]
        for row, n in zip(made.rows.token_ids.tolist(), made.rows.lengths.tolist(), strict=True)
    ]
    row, position = divmod(int(activations[..., feature].argmax()), activations.shape[1])
    start = max(position - 10, 0)
    assert list(top[0].tokens) == words[row][start : position + 4]
    torch.testing.assert_close(
        torch.tensor(top[0].activations),
        activations[row, start : start + len(top[0].tokens), feature],
        rtol=0,
        atol=card.max_activation / 400,
    )


@pytest.mark.parametrize("family", ["gemma2", "olmo2", "gpt2"])
def test_promoted_tokens_are_those_that_the_norms_on_the_way_let_through(
    family: str, tmp_path: Path
) -> None:
    model = tiny_model(family)
    dictionary = random_dictionary(model)
    text = text_file(tmp_path, documents=60)
    book = load_cards(make_cards(model, dictionary, text, tmp_path, row_length=16))
    every = torch.arange(12, device=model.device)
    added, inner = dictionary.layers[1].decoder_rows(every, 1), model.module.base_model
    if family == "gpt2":
        added = (added - added.mean(1, keepdim=True)) * inner.ln_f.weight
    else:
        offset = float(family == "gemma2")
        added = added * (inner.layers[1].post_feedforward_layernorm.weight + offset)
        added = added * (inner.norm.weight + offset)
    for feature, logits in enumerate(added @ model.unembedding.T):
        ranked = logits.argsort(descending=True).tolist()
        words = [model.token_text(token) for token in ranked if 2 <= token < len(WORDS)]
        promotes = book.card(1, feature).promotes
        assert list(promotes) == words[: len(promotes)]


def test_promoted_tokens_are_those_of_the_summed_decoder(made: Made) -> None:
    model, transcoder = made.model, made.dictionary.layers[0]
    seen = sorted(set(made.rows.token_ids[made.rows.real()].tolist()))
    direction = transcoder.W_dec[3].sum(0) * model.wiring.final_norm().weight
    logits = (model.unembedding @ direction)[seen]
    order = [model.tokenizer.decode([seen[int(i)]]) for i in logits.argsort(descending=True)]
    card = made.book.card(0, 3)
    assert list(card.promotes) == order[:6]
    assert list(card.suppresses) == order[::-1][:6]


def test_the_feature_json_has_the_shape_viewers_read(made: Made) -> None:
    card = made.book.card(2, 4)
    found = feature_json(card, "scan-name")
    assert found["index"] == card.index == cantor(2, 4) == 25
    assert feature_path(card, "scan-name") == "features/scan-name/25.json"
    assert found["top_logits"] == list(card.promotes)
    assert found["bottom_logits"] == list(card.suppresses)
    for quantile in found["examples_quantiles"]:
        assert set(quantile) == {"quantile_name", "examples"}
        for example in quantile["examples"]:
            assert len(example["tokens"]) == len(example["tokens_acts_list"])


def test_cards_know_their_dictionary_and_their_bounds(made: Made) -> None:
    assert made.book.dictionary_sha256 == made.dictionary.identity.sha256
    assert made.book.labels([(0, 0), (9, 0), (0, 999)])[1:] == ["", ""]
    with pytest.raises(DictionaryError, match="features 0 to 11, not for 12"):
        made.book.card(0, 12)
    with pytest.raises(DictionaryError, match="layers 0 to 2, not for 3"):
        made.book.card(3, 0)


def test_the_same_text_gives_the_same_file(made: Made, tmp_path: Path) -> None:
    again = make_cards(made.model, made.dictionary, made.text, tmp_path, row_length=16)
    assert again.read_bytes() == made.book.path.read_bytes()


def test_reading_needs_no_torch_and_the_file_once(made: Made, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from circuit_tracer.transcoders.cards import load_cards\n"
        f"load_cards(Path({str(made.book.path)!r})).card(0, 1)\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    copied = tmp_path / made.book.path.name
    shutil.copyfile(made.book.path, copied)
    fresh, every = load_cards(copied), [(layer, i) for layer in range(3) for i in range(12)]
    first = fresh.labels(every)
    copied.write_bytes(b"")
    assert fresh.labels(every) == first == made.book.labels(every)


@pytest.mark.parametrize("content", [None, b"", b"PAR1 not really"])
def test_missing_and_damaged_cards_get_one_sentence(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "cards.parquet").write_bytes(content)
    with pytest.raises(DictionaryError, match="make the"):
        load_cards(tmp_path / "cards.parquet").card(0, 0)
