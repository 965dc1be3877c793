"""The folder of a grown model: weights, tokenizer and how it was grown."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from circuit_tracer.models.bitmask import SETTINGS, find_bitmask, packed
from circuit_tracer.models.weight_files import read_headers
from transcoders.growing.language.corpus import ROW_WORDS
from transcoders.growing.language.tokenizer import save_tokenizer


def write_model(
    model: LlamaForCausalLM,
    words: list[str],
    growing: dict[str, Any],
    out: Path,
    *,
    row_words: int = ROW_WORDS,
    sparse: bool = False,
) -> None:
    """Write the model with its weights rounded to bfloat16, and `growing` as growing.json; it takes
    `row_words` and BOS. `sparse` stores of the layers' matrices the entries other than zero."""
    model.config.max_position_embeddings = row_words + 1
    out.mkdir(parents=True, exist_ok=True)
    shipped = LlamaForCausalLM(model.config)
    shipped.load_state_dict(model.state_dict())
    shipped.bfloat16().save_pretrained(str(out))
    if sparse:
        _store_sparsely(shipped, out)
    (out / "model.safetensors").chmod(0o644)
    save_tokenizer(words, row_words + 1, out)
    (out / "growing.json").write_text(json.dumps(growing, indent=2) + "\n", encoding="utf-8")


def _store_sparsely(model: LlamaForCausalLM, out: Path) -> None:
    """Replace the weights of a folder by those that are not zero, and say so in its config."""
    tensors: dict[str, torch.Tensor] = {}
    for name, weight in model.state_dict().items():
        in_layers = name.startswith("model.layers.") and weight.ndim == 2
        tensors |= packed(name, weight) if in_layers else {name: weight}
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"] = SETTINGS
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def store_skills(folder: Path, skills: dict[str, Any]) -> dict[str, Any]:
    """Write what an examination found into a model folder, and give it back."""
    (folder / "skills.json").write_text(json.dumps(skills, indent=2) + "\n", encoding="utf-8")
    return skills


def read_records(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """How a model was grown, and what its examination found."""
    names = ("growing.json", "skills.json")
    growing, skills = (json.loads((folder / name).read_text("utf-8")) for name in names)
    return growing, skills


def read_model(folder: Path) -> tuple[LlamaForCausalLM, dict[str, int]]:
    """The shipped model in float32 and the id of every word."""
    config, weights = LlamaConfig.from_pretrained(str(folder)), None
    if hasattr(config, "quantization_config"):
        headers = read_headers([folder / "model.safetensors"])
        weights = find_bitmask(headers, folder.name).weights(headers, torch.float32)
        del config.quantization_config
    model = LlamaForCausalLM.from_pretrained(
        None if weights else str(folder), config=config, state_dict=weights, dtype=torch.float32
    )
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    ids: dict[str, int] = tokenizer["model"]["vocab"]
    return model, ids
