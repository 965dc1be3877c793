"""A tokenizer with a chat template: one token a character, and nothing added by itself."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }} {{ m['content'] }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant {% endif %}"
)
MARKS = ["<bos>", "<|im_start|>", "<|im_end|>", "<pad>"]


def byte_tokenizer(
    template: str | None = CHATML,
    merges: Sequence[tuple[str, str]] = (),
    **named: str | None,
) -> PreTrainedTokenizerFast:
    """One token a character, four special tokens; nothing is put in front by itself. `merges` are
    pairs of characters, as ByteLevel writes them, that are one token together."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = ["".join(pair) for pair in merges]
    vocabulary = {text: i for i, text in enumerate([*MARKS, *alphabet, *pairs])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [*merges]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(MARKS)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named)
    fast.chat_template = template
    return fast
