"""How a prompt starts: its first token, a chat template, positions to leave out.

The conventions are those of the published tools. A prompt starts with a special token, since
position 0 is where attention parks what it has no use for: what the tokenizer puts there itself,
else BOS (which GPT-2's, Pythia's and OLMo 2's would not add), else the padding or end token (Qwen),
of those the first that the model has an embedding for; nothing is added where the prompt or its
template already starts with one. That position, and in chats with Gemma 3 the whole
`<bos><start_of_turn>user\\n`, carries no features and no errors: dictionaries are not trained to
describe it. A prompt that starts with a word, because there is no special token to start with,
leaves out nothing.

Special tokens written out in a prompt (`<|im_start|>`) are read as those tokens, as in every tool
of the field: a template can be typed by hand. With a chat template they are refused instead, for
they would end the user's turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from circuit_tracer.errors import PromptError, UsageError, reason
from circuit_tracer.models.token_names import plain_ids

_GEMMA_3_OPENING = ["<bos>", "<start_of_turn>", "user", "\n"]
_LLAMA_3_DATE = "26 Jul 2024"
"""What the template of Llama 3 writes where it has no clock: a prompt must not change overnight."""


def _leading(tokenizer: Any) -> tuple[int | None, ...]:
    """Special tokens that a prompt may start with, the best first."""
    named = tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id
    return own_first(tokenizer), *named


def own_first(tokenizer: Any) -> int | None:
    """The token that the tokenizer itself puts before a text, which it need not call its BOS."""
    with suppress(PromptError):
        bare = plain_ids(tokenizer, "a", "")
        whole = list(tokenizer("a")["input_ids"])
        return whole[0] if bare and whole[: len(bare)] != bare else None
    return None


def leading_id(tokenizer: Any, n_vocabulary: int) -> int | None:
    """The token every prompt starts with: BOS, else padding, else end, else None.

    Tokenizers may name tokens that the model's `n_vocabulary` embeddings do not reach.
    """
    for token_id in _leading(tokenizer):
        if token_id is not None and int(token_id) < n_vocabulary:
            return int(token_id)
    return None


def special_tokens(tokenizer: Any) -> dict[str, int]:
    """Text -> vocabulary id of the tokens that mark something instead of saying it."""
    added = tokenizer.added_tokens_decoder
    found = {str(token): int(token_id) for token_id, token in added.items() if token.special}
    named = zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True)
    return found | {str(token): int(token_id) for token, token_id in named}


def starts_whole(tokenizer: Any, token_ids: list[int], first: int, *, chat: bool) -> bool:
    """Whether a prompt already starts as the model saw texts start, so `first` is not added.

    Chat templates are trusted with any special token. A prompt typed by hand may start with one
    too, unless the tokenizer itself would have put BOS first (Gemma, Llama 3).
    """
    if token_ids[:1] == [first]:
        return True
    if not starts_special(tokenizer, token_ids):
        return False
    return chat or own_first(tokenizer) != first


def check_system(system: str | None, *, chat: bool) -> None:
    """Raise UsageError for a system turn before a prompt that is no turn of a chat."""
    if system is not None and not chat:
        raise UsageError("`system` is a turn of a chat; add `chat`, or leave it out")


def chat_text(tokenizer: Any, prompt: str, *, system: str | None = None) -> str:
    """The prompt as one user turn in the tokenizer's chat template, up to the answer.

    Raises PromptError when the tokenizer has no template, when the template refuses (Gemma 2 takes
    no system turn), and when `prompt` or `system` holds special tokens.
    """
    turns = [] if system is None else [{"role": "system", "content": system}]
    turns.append({"role": "user", "content": prompt})
    return turns_text(tokenizer, turns)


def turns_text(tokenizer: Any, turns: Sequence[Mapping[str, str]]) -> str:
    """Turns of a role and content in the tokenizer's chat template, up to the model's next.

    Raises PromptError as `chat_text`.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise PromptError(
            "this model has no chat template; leave out `chat`, or take the model's chat version "
            "(its name often ends in -Instruct or -it)"
        )
    for turn in turns:
        for token in special_tokens(tokenizer):
            if token and token in turn["content"]:
                raise PromptError(
                    f"the prompt holds {token}, which the chat template writes itself; leave it "
                    "out, or leave out `chat` and type the whole template"
                )
    try:
        text = tokenizer.apply_chat_template(
            list(turns), tokenize=False, add_generation_prompt=True, date_string=_LLAMA_3_DATE
        )
    except Exception as error:  # templates raise whatever they like
        has_system = any(turn["role"] == "system" for turn in turns)
        advice = "leave out `system`" if has_system else "leave out `chat`"
        raise PromptError(
            f"the model's chat template refuses this ({reason(error)}); {advice}"
        ) from error
    return str(text)


def starts_special(tokenizer: Any, token_ids: list[int]) -> bool:
    """Whether the first token marks something (BOS, padding, a turn) instead of being a word.

    The token for unknown words is special, too, but stands for a word.
    """
    unknown = None if tokenizer.unk_token_id in _leading(tokenizer) else tokenizer.unk_token_id
    marks = {*special_tokens(tokenizer).values(), own_first(tokenizer)} - {unknown}
    return bool(token_ids) and token_ids[0] in marks


def default_zeroed_positions(tokenizer: Any, token_ids: list[int], *, family: str = "") -> int:
    """How many leading positions of a prompt carry no features and no errors by default.

    4 for chats with Gemma 3 (`family` is its Hugging Face model type); else 1 where the prompt
    starts with a special token, whoever put it there, and 0 where it starts with a word.
    """
    opening = tokenizer.convert_ids_to_tokens(token_ids[: len(_GEMMA_3_OPENING)])
    if family.startswith("gemma3") and opening == _GEMMA_3_OPENING:
        return len(_GEMMA_3_OPENING)
    return int(starts_special(tokenizer, token_ids))
