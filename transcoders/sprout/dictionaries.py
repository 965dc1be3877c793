"""Train the dictionaries of `sprout`, make their feature cards and write the folder's README.

    python transcoders/sprout/dictionaries.py

rebuilds `plt/` and `clt/` from the model in `model/` with fixed seeds: text from corpus.py (seeds
the model has not seen), training, evaluation of the files as stored on text of a third seed,
cards, README. A run that was stopped goes on from its checkpoint; a dictionary that is already
there for this very model with these very settings is kept. Every figure of the README comes from
here.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from circuit_tracer.bundled import CARDS_FILE, DICTIONARY_FILE, sha256_of
from circuit_tracer.errors import CircuitTracerError
from circuit_tracer.graphs.folder import new_folder
from circuit_tracer.models import Model, open_model
from circuit_tracer.transcoders.card_making import make_cards
from circuit_tracer.transcoders.cards import FILE, load_cards
from circuit_tracer.transcoders.formats.native import read_config, update_config
from circuit_tracer.transcoders.opening import open_transcoders
from circuit_tracer.transcoders.training import Progress, TrainingConfig, train
from corpus import ROW_WORDS
from skills import skills_markdown

HERE = Path(__file__).resolve().parent
WORK = HERE.parents[1] / "outputs" / "sprout-dictionaries"
NAMES = {"plt": "per-layer transcoders", "clt": "cross-layer transcoders"}

CARD_TOKENS = 150_000
EVALUATION_TOKENS = 40_000
SEEDS = {"train": "dictionaries", "held_out": "dictionaries-held-out", "cards": "cards"}
"""Seeds of the three texts; the model grew on others."""

COMMON = TrainingConfig(
    n_features=1024,
    k=16,
    row_length=ROW_WORDS + 1,
    rows_per_forward=64,
    max_tokens=2_400_000,
    evaluation_tokens=EVALUATION_TOKENS,
    seed=1,
)
SETTINGS = {"plt": replace(COMMON, kind="plt"), "clt": replace(COMMON, kind="clt")}


def text_file(name: str, tokens: int) -> Path:
    """A text of the corpus, written by corpus.py unless it is already there."""
    path = WORK / f"{name}-{tokens}.txt"
    if not path.is_file():
        WORK.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        command = [sys.executable, str(HERE / "corpus.py"), "--tokens", str(tokens)]
        subprocess.run([*command, "--seed", SEEDS[name], "--out", str(partial)], check=True)
        partial.replace(path)
    return path


def is_up_to_date(folder: Path, model: Model, config: TrainingConfig) -> bool:
    """Whether the folder holds a dictionary of this model made with these settings."""
    try:
        stored = read_config(folder)
    except (CircuitTracerError, FileNotFoundError):
        return False
    settings = stored.get("training", {})
    wanted = json.loads(json.dumps(config.as_json()))
    same_model = bool(stored.get("model", {}).get("sha256") == model.identity.sha256)
    return same_model and wanted == {name: settings.get(name) for name in wanted}


def show(progress: Progress) -> None:
    """One line a hundred steps on stderr."""
    if progress.stage == "training" and progress.step % 100 == 0:
        fvu = " ".join(f"{value:.4f}" for value in progress.fvu)
        print(
            f"step {progress.step} of about {progress.total_tokens // 1024}, "
            f"{progress.tokens_per_second:.0f} tokens/s, {progress.seconds_left:.0f} s left, "
            f"pooled FVU {fvu}, dead {sum(progress.dead)}",
            file=sys.stderr,
            flush=True,
        )


def build(kind: str, model: Model, config: TrainingConfig) -> None:
    """Train one dictionary, evaluate it as stored, make its cards, and put it in its place."""
    folder, made = HERE / kind, WORK / kind
    if is_up_to_date(folder, model, config) and (folder / FILE).is_file():
        return
    if not is_up_to_date(made, model, config):
        rows = -(-(config.max_tokens or 0) // ROW_WORDS) + 1
        text = text_file("train", rows * (ROW_WORDS + 1))
        held_out = text_file("held_out", EVALUATION_TOKENS * 11 // 10)
        summary = train(
            model, text, config, made, held_out=held_out, on_progress=show, overwrite=True
        )
        print(f"{kind}: {summary.steps} steps in {summary.seconds:.0f} s", file=sys.stderr)
    started = time.perf_counter()
    make_cards(
        model,
        open_transcoders(made.resolve(), model),
        text_file("cards", CARD_TOKENS * 11 // 10),
        made,
        max_tokens=CARD_TOKENS,
        row_length=ROW_WORDS + 1,
    )
    update_config(made, card_seconds=round(time.perf_counter() - started, 1))
    with new_folder(folder, overwrite=True, marker=DICTIONARY_FILE) as fresh:
        for file in made.iterdir():
            shutil.copyfile(file, fresh / file.name)
    shutil.rmtree(made)


# The README


def dictionary_markdown(kind: str) -> str:
    """What `dictionary.json` and the cards say of one dictionary."""
    folder = HERE / kind
    config = read_config(folder)
    training, found = config["training"], config["evaluation"]
    labels = load_cards(folder)
    n_features = config["n_features"][0]
    labelled = sum(
        bool(label)
        for layer in range(config["n_layers"])
        for label in labels.labels([(layer, f) for f in range(n_features)])
    )
    size = sum(file.stat().st_size for file in folder.iterdir())
    rows = [
        ("features", f"{n_features:,} a layer, {sum(config['n_features']):,} in all"),
        ("activation", f"{config['activation']}, k = {config['k']}"),
        ("trained on", f"{training['trained_tokens']:,} tokens, {training['steps']:,} steps"),
        ("training time", f"{training['seconds'] / 60:.1f} min"),
        ("cards", f"{labelled:,} features seen to fire, {config['card_seconds']:.0f} s"),
        ("files", f"{size / 1e6:.1f} MB"),
        ("loss of the model", f"{found['loss_original']:.4f} nats a token"),
        ("loss with all MLPs replaced", f"{found['loss_replaced']:.4f}"),
        ("loss with all MLPs mean-ablated", f"{found['loss_mean_ablated']:.4f}"),
        ("recovered", f"{found['recovered']:.4f}"),
    ]
    lines = [f"### `{kind}`: {NAMES[kind]}", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in rows]
    lines += [
        "",
        "| layer | FVU per token | median | pooled | L0 | dead |",
        "|---|---|---|---|---|---|",
    ]
    for layer, figures in enumerate(found["layers"]):
        lines.append(
            f"| {layer} | {figures['fvu']:.4f} | {figures['fvu_median']:.4f} "
            f"| {figures['fvu_pooled']:.4f} | {figures['l0']:.1f} | {figures['dead']:.1%} |"
        )
    return "\n".join(lines)


CARD = """\
# sprout

A small Llama-architecture language model, grown for `circuit-tracer` on a synthetic English of
facts about things, questions, judgements, geography, opposites in three languages, sums and
stories, with two dictionaries to trace it by. It exists so that the whole tool runs in seconds,
offline, on something that has really learned something; it knows nothing but its few hundred
words.

This file is written by `dictionaries.py`: every figure below is measured, none is typed in.

## The model (`model/`)

{model}

A figure is the share of items (how many, in brackets) whose most likely next word is right; what
is held out of training is decided in `combinations.py`.

## The dictionaries

Evaluated as stored (bfloat16 matrices, computed with in float32) on {tokens:,} tokens of text
neither the model nor the dictionaries were trained on. FVU is |y - r|^2 / |y - mean y|^2 of a
token's MLP output y and its reconstruction r, averaged over tokens; *pooled* divides the sums
instead, so that a few tokens of huge norm decide it. Dead features fired on none of these tokens.
The loss with all MLPs replaced uses no error term; *recovered* is (mean-ablated - replaced) /
(mean-ablated - original). The first position (BOS) is left out and passes its true output through.

{dictionaries}

`cards.parquet` in each folder holds, for every feature, a short automatic label (where it fires and
what it promotes: a summary of counts, not an understanding), how often it fires, the words it
promotes and suppresses directly, and examples.

## Rebuilding

    python transcoders/sprout/grow.py            # the model
    python transcoders/sprout/dictionaries.py    # dictionaries, cards and this file

Seeds are fixed. The same machine and library versions give the same weights again; others differ in
the last digits, which training then spreads.
"""


def write_readme() -> None:
    """The folder's card, from what the files say."""
    skills: dict[str, Any] = json.loads((HERE / "model" / "skills.json").read_text("utf-8"))
    text = CARD.format(
        model=skills_markdown(skills),
        tokens=read_config(HERE / "plt")["evaluation"]["tokens"],
        dictionaries="\n\n".join(dictionary_markdown(kind) for kind in SETTINGS),
    )
    (HERE / "README.md").write_text(text, encoding="utf-8")


def write_hashes() -> None:
    """SHA256SUMS over everything that ships, in the form of `sha256sum`; `doctor` compares."""
    files = [*HERE.glob("*/*.safetensors"), *HERE.glob("*/*.json"), *HERE.glob(f"*/{CARDS_FILE}")]
    lines = [f"{sha256_of([file])}  {file.relative_to(HERE).as_posix()}" for file in sorted(files)]
    (HERE / "SHA256SUMS").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Parse the command line and build what was asked for."""
    parser = argparse.ArgumentParser(description="Rebuild sprout's dictionaries and README.")
    parser.add_argument("--kinds", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--max-tokens", type=int, help="train shorter, to try something")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = open_model("sprout", device="cpu")
    for kind in options.kinds:
        config = SETTINGS[kind]
        if options.max_tokens:
            config = replace(config, max_tokens=options.max_tokens)
        build(kind, model, config)
        found = read_config(HERE / kind)["evaluation"]
        worst = max(figures["fvu"] for figures in found["layers"])
        print(f"{kind}: worst FVU per token {worst:.4f}, recovered {found['recovered']:.4f}")
    if (HERE / "model" / "skills.json").is_file():
        write_readme()
    write_hashes()


if __name__ == "__main__":
    main()
