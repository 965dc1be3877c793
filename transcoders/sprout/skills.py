"""Examine `sprout` and write down what it can do.

    python transcoders/sprout/skills.py

reads the shipped weights (bfloat16, computed with in float32), takes the top word after every
prompt of items.py, checks the prompts in prompts/, and writes `skills.json` into the model folder.
Where an answer is to be written out, the model writes all steps itself and its last `so ...`
counts.
"""

import argparse
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

from items import WRITTEN_OUT, Item, Skills, Split, items
from model_folder import read_model
from wordlevel import BOS

HERE = Path(__file__).resolve().parent
PROMPTS = HERE.parents[1] / "prompts"
SPLITS: tuple[Split, ...] = ("trained", "held_out", "held_out_values")
CHUNK = 256


@torch.no_grad()
def top_words(model: LlamaForCausalLM, rows: Tensor) -> Tensor:
    """The most likely next token after each row of (rows, tokens)."""
    parts = [
        model(input_ids=part, logits_to_keep=1).logits[:, -1].argmax(-1)
        for part in torch.split(rows, CHUNK)
    ]
    return torch.cat(parts)


def answers(
    model: LlamaForCausalLM, prompts: list[str], ids: dict[str, int], *, written_out: bool = False
) -> list[str]:
    """The model's answer to each prompt: its next word, or the word after its `so`."""
    words = {index: word for word, index in ids.items()}
    by_length: defaultdict[int, list[int]] = defaultdict(list)
    tokens = [[ids[BOS], *(ids[word] for word in prompt.split())] for prompt in prompts]
    for index, row in enumerate(tokens):
        by_length[len(row)].append(index)
    found = [""] * len(prompts)
    for length, group in by_length.items():
        rows = torch.tensor([tokens[index] for index in group])
        room = model.config.max_position_embeddings - length if written_out else 1
        for _ in range(room):
            rows = torch.cat([rows, top_words(model, rows)[:, None]], dim=1)
        for index, row in zip(group, rows[:, length:].tolist(), strict=True):
            said = [words[token] for token in row]
            found[index] = after_so(said) if written_out else said[0]
    return found


def after_so(said: list[str]) -> str:
    """The word after the first `so`, or nothing."""
    place = said.index("so") + 1 if "so" in said else len(said)
    return said[place] if place < len(said) else ""


def share_right(
    model: LlamaForCausalLM, ids: dict[str, int], asked: list[Item], *, written_out: bool = False
) -> float:
    """The share of items answered rightly."""
    given = answers(model, [item.prompt for item in asked], ids, written_out=written_out)
    right = sum(item.accepts(said) for said, item in zip(given, asked, strict=True))
    return right / len(asked)


Found = dict[str, dict[str, dict[str, float]]]
"""Accuracy and number of items per skill and split."""


def examine(model: LlamaForCausalLM, ids: dict[str, int], asked: Skills) -> Found:
    """What a model can do of what it is asked."""
    model.train(False)
    return {
        skill: {
            split: {
                "accuracy": round(
                    share_right(model, ids, lists[split], written_out=skill in WRITTEN_OUT), 4
                ),
                "items": len(lists[split]),
            }
            for split in SPLITS
            if split in lists
        }
        for skill, lists in asked.items()
    }


def quick_accuracy(model: LlamaForCausalLM, ids: dict[str, int]) -> str:
    """One line on a growing model: up to 80 items a skill, trained / held out."""
    model.train(False)
    parts: list[str] = []
    for skill, lists in items().items():
        if skill in WRITTEN_OUT:
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
    (folder / "skills.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(skills_markdown(result))
    print(f"\nexamined in {time.perf_counter() - started:.0f} s")
    for line in failed:
        print(f"wrong prompt: {line}")
    return result


def _cell(figures: dict[str, float] | None) -> str:
    """One accuracy with its number of items."""
    return f"{figures['accuracy']:.3f} ({figures['items']})" if figures else ""


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
    lines = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows), ""]
    lines += ["| skill | trained | held out | held-out false values |", "|---|---|---|---|"]
    for skill, found in skills["skills"].items():
        cells = " | ".join(_cell(found.get(split)) for split in SPLITS)
        lines.append(f"| {skill} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Examine sprout and write its skills.json.")
    parser.add_argument("--model", type=Path, default=HERE / "model")
    parser.add_argument("--prompts", type=Path, default=PROMPTS)
    options = parser.parse_args()
    write_skills(options.model, options.prompts)


if __name__ == "__main__":
    main()
