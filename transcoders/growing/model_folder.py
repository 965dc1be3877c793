"""The folder of a grown model: weights, tokenizer and how it was grown."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaForCausalLM

from transcoders.growing.language.corpus import ROW_WORDS
from transcoders.growing.language.tokenizer import save_tokenizer


def write_model(
    model: LlamaForCausalLM,
    words: list[str],
    growing: dict[str, Any],
    out: Path,
    *,
    row_words: int = ROW_WORDS,
) -> None:
    """Write the model with its weights rounded to bfloat16, and `growing` as growing.json; it takes
    `row_words` and BOS."""
    model.config.max_position_embeddings = row_words + 1
    out.mkdir(parents=True, exist_ok=True)
    shipped = LlamaForCausalLM(model.config)
    shipped.load_state_dict(model.state_dict())
    shipped.bfloat16().save_pretrained(str(out))
    (out / "model.safetensors").chmod(0o644)
    save_tokenizer(words, row_words + 1, out)
    (out / "growing.json").write_text(json.dumps(growing, indent=2) + "\n", encoding="utf-8")


def read_model(folder: Path) -> tuple[LlamaForCausalLM, dict[str, int]]:
    """The shipped model in float32 and the id of every word."""
    model = LlamaForCausalLM.from_pretrained(str(folder), dtype=torch.float32)
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    ids: dict[str, int] = tokenizer["model"]["vocab"]
    return model, ids
