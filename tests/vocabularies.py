"""Vocabularies of every kind, made in memory, with all that makes the name of a token hard."""

from __future__ import annotations

from functools import cache

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from circuit_tracer.graphs.token_text import join_tokens, shown, split_tokens
from circuit_tracer.models.token_names import TokenNames

TEXT = (
    "Answer: a banana is yellow yes no Yes No maybe, yes, no\n\nyes\tno\r\n 4 id:4 @4 🍌 日本語 "
    "\u200b \xa0 ↵ ␣yes \\n \\x5c <0x0A> 🍌"
)
PIECES = (
    *("▁", "▁▁", "\n", "↵", "▁↵", "yes", "▁yes", "▁no", "no", "▁France", "▁Answer", ":", "▁is"),
    *("A", "é", "▁é", ",", "▁a", "▁banana", "id:5", "id:270", "␣yes", "\\u21b5", "\\x5c", "@4"),
)


@cache
def byte_level() -> PreTrainedTokenizerFast:
    """As of GPT-2: pieces of bytes, a blank belongs to the word after it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<s>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT] * 4, trainer)
    whole = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>")
    whole.add_tokens(["id:9", "a - b", "🍌 split", "\\u21b5"])
    return whole


@cache
def sentencepiece() -> PreTrainedTokenizerFast:
    """As of Llama 2: ▁ for a blank, one put before every text, bytes as a fallback."""
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *PIECES]
    vocabulary = {name: number for number, name in enumerate(names)}
    whole_words = [piece for piece in PIECES if len(piece) > 1]
    letters = sorted({letter for piece in whole_words for letter in piece} - set(PIECES))
    vocabulary |= {letter: len(vocabulary) + i for i, letter in enumerate(letters)}
    merges: list[tuple[str, str]] = []
    for piece in whole_words:
        for end in range(1, len(piece)):
            vocabulary.setdefault(piece[: end + 1], len(vocabulary))
            pair = (piece[:end], piece[end])
            merges += [] if pair in merges else [pair]
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", byte_fallback=True)
    )
    steps = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


@cache
def word_level() -> PreTrainedTokenizerFast:
    """Whole words without blanks, some of which look like something else."""
    words = ["[BOS]", "[UNK]", "a", "banana", "is", "yes", "no", "4", "@4", "@-1", "id:2", "id:02"]
    words += ["␣yes", "↵", "\n", " ", "  ", "\\x5c", "\\", ",", "yes,no", "yes - no", "<0x0A>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="[BOS]", unk_token="[UNK]", pad_token="[BOS]"
    )


@cache
def word_pieces() -> PreTrainedTokenizerFast:
    """As of BERT: ## for what goes on a word, everything in lower case."""
    names = ["[CLS]", "[UNK]", "yes", "##yes", "no", "##no", "banana", "##s", "\n"]
    vocabulary = {name: number for number, name in enumerate(names)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="[CLS]", unk_token="[UNK]")


def assert_inverse(tokenizer: PreTrainedTokenizerFast) -> None:
    """Names and shown names are different for every token, and each is read back as its own."""
    names = TokenNames(tokenizer)
    ids = sorted({*tokenizer.get_vocab().values()})
    texts = [names.text(token_id) for token_id in ids]
    lines = [shown(text) for text in texts]
    assert len(set(texts)) == len(set(lines)) == len(ids)
    assert [names.token_id(text) for text in texts] == ids
    assert [names.token_id(line) for line in lines] == ids
    assert all(line and not any(c.isspace() for c in line) for line in lines)
    pairs = zip(texts, reversed(texts), strict=True)
    assert [tuple(map(names.token_id, split_tokens(join_tokens(pair)))) for pair in pairs] == list(
        zip(ids, reversed(ids), strict=True)
    )
