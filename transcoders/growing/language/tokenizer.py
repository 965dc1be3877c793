"""The word-level tokenizer of `sprout`: lower case, words and punctuation apart, BOS in front."""

from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Punctuation, Sequence, WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

PAD, UNKNOWN, BOS = "[PAD]", "[UNK]", "[BOS]"
SPECIAL = (PAD, UNKNOWN, BOS)


def word_ids(vocabulary: list[str]) -> dict[str, int]:
    """The id of every token: the special ones, then the words."""
    return {word: index for index, word in enumerate([*SPECIAL, *vocabulary])}


def make_tokenizer(vocabulary: list[str], max_length: int) -> PreTrainedTokenizerFast:
    """The tokenizer as transformers loads it."""
    ids = word_ids(vocabulary)
    tokenizer = Tokenizer(WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Sequence([WhitespaceSplit(), Punctuation("isolated")])
    tokenizer.post_processor = TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, ids[BOS])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        unk_token=UNKNOWN,
        pad_token=PAD,
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )


def save_tokenizer(vocabulary: list[str], max_length: int, folder: Path) -> None:
    """Write the tokenizer into a model folder."""
    make_tokenizer(vocabulary, max_length).save_pretrained(str(folder))
