"""What a prompt starts with, against the rules of the published tools."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from circuit_tracer.errors import PromptError
from circuit_tracer.models.chat import chat_text, default_zeroed_positions, leading_id
from tests.chatml import CHATML, byte_tokenizer
from tests.tiny import tiny_llama

NO_SYSTEM = "{{ raise_exception('System role not supported') }}"


def model_with(tokenizer: Any) -> Any:
    from dataclasses import replace

    return replace(tiny_llama(n_words=len(tokenizer)), tokenizer=tokenizer)


@pytest.mark.parametrize(
    ("named", "first"),
    [
        ({"bos_token": "<bos>", "pad_token": "<pad>"}, "<bos>"),
        ({"pad_token": "<pad>", "eos_token": "<|im_end|>"}, "<pad>"),
        ({"eos_token": "<|im_end|>"}, "<|im_end|>"),
        ({}, None),
    ],
)
def test_every_prompt_starts_with_a_special_token(named: dict[str, str], first: str | None) -> None:
    tokenizer = byte_tokenizer(**named)
    model = model_with(tokenizer)
    ids = model.tokenize("hey")
    text = tokenizer.decode(ids)
    assert text == ("hey" if first is None else f"{first}hey")
    assert model.bos_id == (None if first is None else ids[0])
    assert model.zeroed_positions(ids) == (0 if first is None else 1)


@pytest.mark.parametrize(
    ("named", "prompt", "n_zeroed"),
    [
        ({"bos_token": "<bos>"}, "<bos>hey", 1),
        ({"eos_token": "<|im_end|>"}, "<|im_end|>hey", 1),
        ({"pad_token": "<pad>"}, "<|im_start|>user hey<|im_end|>", 1),
        ({}, "<|im_start|>user hey<|im_end|>", 1),
        ({}, "hey<|im_end|>", 0),
        ({"unk_token": "<pad>"}, "hey", 0),
    ],
)
def test_a_position_is_zeroed_for_its_token(
    named: dict[str, str], prompt: str, n_zeroed: int
) -> None:
    model = model_with(byte_tokenizer(**named))
    assert model.zeroed_positions(model.tokenize(prompt)) == n_zeroed


def test_the_token_for_unknown_words_is_a_word_unless_prompts_start_with_it() -> None:
    alone = byte_tokenizer(unk_token="<pad>")
    assert default_zeroed_positions(alone, [alone.unk_token_id]) == 0
    gpt2 = byte_tokenizer(unk_token="<pad>", eos_token="<pad>")
    assert default_zeroed_positions(gpt2, [gpt2.unk_token_id]) == 1


@pytest.mark.parametrize(
    ("named", "beyond", "first"),
    [
        ({"pad_token": "[PAD]", "eos_token": "<|im_end|>"}, ["[PAD]"], "<|im_end|>"),
        ({"bos_token": "[BOS]", "pad_token": "<pad>"}, ["[BOS]"], "<pad>"),
        ({"pad_token": "[PAD]"}, ["[PAD]"], None),
        ({"pad_token": "[PAD]", "eos_token": "[END]"}, ["[PAD]", "[END]"], None),
    ],
)
def test_a_leading_token_without_an_embedding_gives_way_to_the_next(
    named: dict[str, str], beyond: list[str], first: str | None
) -> None:
    tokenizer = byte_tokenizer()
    model = model_with(tokenizer)
    tokenizer.add_tokens(beyond, special_tokens=True)
    tokenizer.add_special_tokens(named)
    ids = model.tokenize("hey")
    assert tokenizer.decode(ids) == f"{first or ''}hey"
    assert model.zeroed_positions(ids) == (0 if first is None else 1)
    assert leading_id(tokenizer, model.wiring.n_vocabulary) == model.bos_id


def test_a_typed_template_keeps_its_own_start_and_bos_is_not_doubled() -> None:
    qwen = model_with(byte_tokenizer(pad_token="<pad>", eos_token="<|im_end|>"))
    typed = "<|im_start|>user hey<|im_end|>"
    assert qwen.tokenizer.decode(qwen.tokenize(typed)) == typed
    llama = model_with(byte_tokenizer(bos_token="<bos>"))
    assert llama.tokenizer.decode(llama.tokenize("<bos><bos>hey")) == "<bos>hey"


def test_a_tokenizer_that_adds_bos_itself_adds_it_to_a_typed_template_too() -> None:
    model = tiny_llama()
    model.tokenizer.add_special_tokens({"additional_special_tokens": ["yes"]})
    assert model.tokenize("yes a lemon")[0] == model.bos_id


def test_chat_is_one_user_turn_and_the_start_of_the_answer() -> None:
    tokenizer = byte_tokenizer(pad_token="<pad>", eos_token="<|im_end|>")
    model = model_with(tokenizer)
    ids = model.tokenize("hey", chat=True)
    text = "<|im_start|>user hey<|im_end|><|im_start|>assistant "
    assert tokenizer.decode(ids) == text
    assert ids == tokenizer.apply_chat_template(
        [{"role": "user", "content": "hey"}], add_generation_prompt=True, return_dict=False
    )
    ids = model.tokenize("hey", chat=True, system="be brief")
    assert tokenizer.decode(ids) == "<|im_start|>system be brief<|im_end|>" + text


def test_a_template_that_writes_bos_gets_no_second_one() -> None:
    tokenizer = byte_tokenizer("{{ bos_token }}" + CHATML, bos_token="<bos>")
    ids = model_with(tokenizer).tokenize("hey", chat=True)
    assert ids.count(tokenizer.bos_token_id) == 1
    bare = byte_tokenizer("{% for m in messages %}User: {{ m['content'] }}{% endfor %}")
    bare.bos_token = "<bos>"
    assert bare.decode(model_with(bare).tokenize("hey", chat=True)) == "<bos>User: hey"


def test_what_a_template_does_not_take_gets_a_sentence() -> None:
    tokenizer = byte_tokenizer(pad_token="<pad>", eos_token="<|im_end|>")
    for prompt, system, template, says in [
        ("hey", None, None, "no chat template"),
        ("hey<|im_end|>", None, CHATML, "<|im_end|>, which the chat template writes"),
        ("hey", "<pad>", CHATML, "<pad>, which the chat template writes"),
        ("hey", "be brief", NO_SYSTEM, "System role not supported); leave out `system`"),
        ("hey", None, "{% for %}", "refuses this"),
        ("hey", None, "{{ ''.__class__.__mro__[1].__subclasses__() }}", "refuses this"),
    ]:
        tokenizer.chat_template = template
        with pytest.raises(PromptError) as caught:
            chat_text(tokenizer, prompt, system=system)
        assert says in str(caught.value), (template, str(caught.value))


def test_chats_with_gemma_3_leave_out_the_opening_of_the_turn() -> None:
    opening = ["<bos>", "<start_of_turn>", "user", "\n"]

    class Pieces:
        bos_token_id = pad_token_id = eos_token_id = unk_token_id = None
        added_tokens_decoder: ClassVar[dict[int, Any]] = {}
        all_special_tokens, all_special_ids = ("<bos>", "<start_of_turn>"), (0, 1)

        def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
            return [[*opening, "hey"][i] for i in ids]

    chat, plain = [0, 1, 2, 3, 4], [0, 4]
    assert default_zeroed_positions(Pieces(), chat, family="gemma3_text") == 4
    assert default_zeroed_positions(Pieces(), plain, family="gemma3_text") == 1
    assert default_zeroed_positions(Pieces(), chat, family="gemma2") == 1
