"""Examine a grown model: the top word after every prompt of items.py, and the shipped prompts.

The weights are read as they ship (bfloat16, computed with in float32). Where an answer is to be
written out, the model writes all steps itself: its `so ...` is the answer, and every step counts as
well (written_steps.py).
"""

import hashlib
import json
import random
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from benchmarks.pages import table
from circuit_tracer.bundled import shipped_folder
from transcoders.growing.examination.items import Item, Skills, Split, items
from transcoders.growing.examination.written_steps import read_steps, step_figures, steps_markdown
from transcoders.growing.language.tokenizer import BOS
from transcoders.growing.model_folder import read_model, store_skills

PROMPTS = shipped_folder("prompts")
SPLITS: tuple[Split, ...] = ("trained", "held_out", "held_out_values")
SKILL_COLUMNS = ("skill", "trained", "held out", "held-out false values")
CHUNK = 256


@torch.no_grad()
def top_words(model: LlamaForCausalLM, rows: Tensor) -> Tensor:
    """The most likely next token after each row of (rows, tokens)."""
    parts = [
        model(input_ids=part, logits_to_keep=1).logits[:, -1].argmax(-1)
        for part in torch.split(rows, CHUNK)
    ]
    return torch.cat(parts)


def answers(model: LlamaForCausalLM, prompts: list[str], ids: dict[str, int]) -> list[str]:
    """The model's next word after each prompt."""
    return [said[0] for said in continuations(model, prompts, ids, room=1)]


def continuations(
    model: LlamaForCausalLM,
    prompts: list[str],
    ids: dict[str, int],
    *,
    room: int | None = None,
) -> list[list[str]]:
    """The words that the model writes after each prompt: `room` of them, or all that fit."""
    words = {index: word for word, index in ids.items()}
    by_length: defaultdict[int, list[int]] = defaultdict(list)
    tokens = [[ids[BOS], *(ids[word] for word in prompt.split())] for prompt in prompts]
    for index, row in enumerate(tokens):
        by_length[len(row)].append(index)
    found: list[list[str]] = [[] for _ in prompts]
    for length, group in by_length.items():
        rows = torch.tensor([tokens[index] for index in group])
        for _ in range(room or model.config.max_position_embeddings - length):
            rows = torch.cat([rows, top_words(model, rows)[:, None]], dim=1)
        for index, row in zip(group, rows[:, length:].tolist(), strict=True):
            found[index] = [words[token] for token in row]
    return found


def after_so(said: list[str]) -> str:
    """The word after the first `so`, or nothing."""
    place = said.index("so") + 1 if "so" in said else len(said)
    return said[place] if place < len(said) else ""


def share_right(model: LlamaForCausalLM, ids: dict[str, int], asked: list[Item]) -> float:
    """The share of items whose next word is right."""
    given = answers(model, [item.prompt for item in asked], ids)
    right = sum(item.accepts(said) for said, item in zip(given, asked, strict=True))
    return right / len(asked)


def figures_of(model: LlamaForCausalLM, ids: dict[str, int], asked: list[Item]) -> dict[str, Any]:
    """Accuracy and number of items; where answers are written out, their steps, too."""
    if not asked[0].steps:
        return {"accuracy": round(share_right(model, ids, asked), 4), "items": len(asked)}
    said = continuations(model, [item.prompt for item in asked], ids)
    pairs = list(zip(asked, said, strict=True))
    right = sum(item.accepts(after_so(words)) for item, words in pairs)
    return {
        "accuracy": round(right / len(asked), 4),
        "items": len(asked),
        **step_figures([read_steps(item, words) for item, words in pairs]),
    }


Found = dict[str, dict[str, dict[str, Any]]]
"""Figures per skill and split."""


def examine(model: LlamaForCausalLM, ids: dict[str, int], asked: Skills) -> Found:
    """What a model can do of what it is asked."""
    model.train(False)
    return {
        skill: {split: figures_of(model, ids, lists[split]) for split in SPLITS if split in lists}
        for skill, lists in asked.items()
    }


def quick_accuracy(model: LlamaForCausalLM, ids: dict[str, int]) -> str:
    """One line on a growing model: up to 80 items a skill, trained / held out."""
    model.train(False)
    parts: list[str] = []
    for skill, lists in items().items():
        if any(item.steps for asked in lists.values() for item in asked):
            continue
        shares = []
        for split in SPLITS:
            asked = lists.get(split, [])
            few = random.Random(skill).sample(asked, min(80, len(asked)))
            shares.append(f"{share_right(model, ids, few):.2f}" if few else "-")
        parts.append(f"{skill} {'/'.join(shares)}")
    model.train()
    return "; ".join(parts)


def check_prompts(
    model: LlamaForCausalLM, ids: dict[str, int], folder: Path
) -> tuple[int, list[str]]:
    """How many shipped prompts there are, and those the model gets wrong."""
    asked: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*.jsonl")):
        asked += [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    asked = [entry for entry in asked if "reasoning" not in entry]  # transcripts of another model
    given = answers(model, [entry["prompt"] for entry in asked], ids)
    failed = [
        f"{entry['id']}: {entry['prompt']} -> {said}, not {entry['answer']}"
        for entry, said in zip(asked, given, strict=True)
        if said != entry["answer"]
    ]
    return len(asked), failed


def write_skills(folder: Path, prompts: Path = PROMPTS) -> dict[str, Any]:
    """Examine a model folder and write `skills.json` into it."""
    started = time.perf_counter()
    model, ids = read_model(folder)
    count, failed = check_prompts(model, ids, prompts)
    result: dict[str, Any] = {
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "sha256": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        "growing": json.loads((folder / "growing.json").read_text(encoding="utf-8")),
        "skills": examine(model, ids, items()),
        "prompts": {"count": count, "failed": failed},
    }
    store_skills(folder, result)
    print(skills_markdown(result))
    print(f"\nexamined in {time.perf_counter() - started:.0f} s")
    for line in failed:
        print(f"wrong prompt: {line}")
    return result


def _cell(figures: dict[str, Any] | None) -> str:
    """One accuracy with its number of items, and the share with every step right."""
    if not figures:
        return ""
    steps = f", every step {figures['every_step']:.3f}" if "every_step" in figures else ""
    return f"{figures['accuracy']:.3f}{steps} ({figures['items']})"


def skills_markdown(skills: dict[str, Any]) -> str:
    """The card's tables, from what `skills.json` holds."""
    growing = skills["growing"]
    plan = growing["plan"]
    rows = [
        ("parameters", f"{skills['parameters']:,}"),
        ("layers, width, MLP width, heads", "{layers}, {hidden}, {mlp}, {heads}".format(**plan)),
        ("words", f"{growing['vocabulary']:,}"),
        ("tokens seen", f"{growing['tokens_seen']:,}"),
        ("steps", f"{growing['steps']:,}"),
        ("wall time of the steps", f"{growing['wall_seconds'] / 60:.0f} min"),
        ("seeds (text, weights)", "{seed}, {weight_seed}".format(**plan)),
        (
            "shipped prompts answered rightly",
            f"{skills['prompts']['count'] - len(skills['prompts']['failed'])} "
            f"of {skills['prompts']['count']}",
        ),
    ]
    shares = [
        (skill, *(_cell(found.get(split)) for split in SPLITS))
        for skill, found in skills["skills"].items()
    ]
    lines = [*table(("", ""), rows), "", *table(SKILL_COLUMNS, shares), ""]
    return "\n".join([*lines, steps_markdown(skills["skills"])])
