"""Train the dictionaries of `sprout`, make their feature cards and write the folder's README.

    python -m transcoders.sprout.dictionaries

rebuilds `plt/` and `clt/` from the model in `model/` with fixed seeds
(growing/dictionary_building.py). `plt` is trained twice: from scratch, and then on with the
Jacobian term, which teaches its features to respond to a change as the MLP does
(benchmarks/jacobian.md has both). Every figure of the README comes from here.
"""

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from circuit_tracer.models import open_model
from circuit_tracer.transcoders.dictionary import Dictionary
from circuit_tracer.transcoders.formats.native import read_config
from circuit_tracer.transcoders.opening import open_transcoders
from transcoders.growing.dictionary_building import (
    COMMON,
    Workshop,
    build,
    dictionary_markdown,
    trained,
    write_hashes,
)
from transcoders.growing.examination.skills import skills_markdown
from transcoders.growing.language.corpus import rows
from transcoders.growing.model_folder import read_records
from transcoders.growing.options import parse_training

HERE = Path(__file__).resolve().parent
SHOP = Workshop(folder=HERE, work=HERE.parents[1] / "outputs" / "sprout-dictionaries", rows=rows)
FIRST = replace(COMMON, kind="plt")
"""Of `plt` before it is trained on; what ships of sprout-cheat goes on from there, too."""
SETTINGS = {
    "plt": replace(FIRST, max_tokens=256_000, seed=4, jacobian=0.1, jacobian_directions="mix"),
    "clt": replace(COMMON, kind="clt"),
}


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

A figure is the share of items (how many, in brackets) whose answer is right: the most likely next
word, or, where the model is to write its steps out, the word after its `so`. Steps are counted
apart: each must be word for word the one that follows from the question. What is held out of
training is decided in `../growing/language/combinations.py`.

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

    python -m transcoders.sprout.grow            # the model
    python -m transcoders.sprout.dictionaries    # dictionaries, cards and this file

Seeds are fixed. The same machine and library versions give the same weights again; others differ in
the last digits, which training then spreads.
"""


def first_stage(max_tokens: int | None = None) -> Dictionary:
    """`plt` from scratch, without the term: made but once, into the workshop."""
    model = open_model("sprout", device="cpu")
    config = replace(FIRST, max_tokens=max_tokens or FIRST.max_tokens)
    name = "plt-first" if max_tokens is None else f"plt-first-{max_tokens}"
    folder = trained(name, model, config, SHOP)
    return open_transcoders(folder.resolve(), model, dtype=torch.float32)


def write_readme() -> None:
    """The folder's card, from what the files say."""
    _, skills = read_records(HERE / "model")
    text = CARD.format(
        model=skills_markdown(skills),
        tokens=read_config(HERE / "plt")["evaluation"]["tokens"],
        dictionaries="\n\n".join(dictionary_markdown(HERE / kind) for kind in SETTINGS),
    )
    (HERE / "README.md").write_text(text, encoding="utf-8")


def main() -> None:
    """Parse the command line and build what was asked for."""
    parser = argparse.ArgumentParser(description="Rebuild sprout's dictionaries and README.")
    parser.add_argument("--kinds", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    options = parse_training(parser)
    model = open_model("sprout", device="cpu")
    for kind in options.kinds:
        start = partial(first_stage, options.max_tokens) if kind == "plt" else None
        build(kind, model, SETTINGS[kind], SHOP, start=start, max_tokens=options.max_tokens)
        found = read_config(HERE / kind)["evaluation"]
        worst = max(figures["fvu"] for figures in found["layers"])
        print(f"{kind}: worst FVU per token {worst:.4f}, recovered {found['recovered']:.4f}")
    if (HERE / "model" / "skills.json").is_file():
        write_readme()
    write_hashes(HERE)


if __name__ == "__main__":
    main()
