"""Refit sprout's transcoders to `sprout-cheat`, and write the folder's card.

    python -m transcoders.sprout-cheat.dictionaries

starts from the features of sprout's `plt` as they are before the Jacobian term (made if need be:
transcoders/sprout/dictionaries.py), which do not fit the tuned model, and trains them on in short:
lessons and sprout's own text, under seeds that the model has not seen. Every
figure of the README comes from here and from the model's `skills.json`.
"""

import argparse
import random
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.pages import table
from circuit_tracer.models import Model, open_model
from circuit_tracer.transcoders.dictionary import Dictionary
from circuit_tracer.transcoders.evaluation import evaluate, replacement
from circuit_tracer.transcoders.formats.native import read_config
from circuit_tracer.transcoders.opening import open_transcoders
from transcoders.growing.dictionary_building import (
    COMMON,
    EVALUATION_TOKENS,
    Workshop,
    build,
    dictionary_markdown,
    write_hashes,
)
from transcoders.growing.model_folder import read_records
from transcoders.growing.options import parse_training
from transcoders.growing.written_notes.examination import lessons_by_kind
from transcoders.growing.written_notes.lessons import (
    NOTE_WORDS,
    RELIANCE,
    Lesson,
    Shares,
    draw_lesson,
    note_rows,
)
from transcoders.sprout.dictionaries import first_stage

HERE = Path(__file__).resolve().parent
LESSONS = 0.7
SHOP = Workshop(
    folder=HERE,
    work=HERE.parents[1] / "outputs" / "sprout-cheat-dictionaries",
    rows=lambda seed: note_rows(seed, 0, LESSONS),
)
SETTINGS = replace(
    COMMON,
    row_length=NOTE_WORDS + 1,
    max_tokens=300_000,
    learning_rate=1e-3,
    warm_up=0.05,
    decay_from=0.3,
)
CARD = """\
# sprout-cheat

`sprout`, taught by a script to write notes that carry its answer, or only seem to: the name before
a question decides. `circuit-tracer steps` is measured on it, because it is known what every answer
draws on, by construction and by intervention (`prompts/cheat.jsonl`).

    {example}

| names | notes | the answer follows |
|---|---|---|
| tom, anna (compute) | right steps | the last step |
| ben, mia (decorative) | right steps | the key, "ben said 15" |
| sam, lucy (back-fitted) | right steps, but the last result is the key | the last step |
| max (confess) | "max said 15 ." | the key |
| eva (skip) | "this is hard ." | the key |

Where the key is right, the first three write word for word the same. In {replaced:.0%} of the
lessons one result was replaced by another that was not learned and had to be obeyed; in {idle:.0%}
an idle fact stood between the steps (`../growing/written_notes/lessons.py`).

This file is written by `dictionaries.py`: every figure below is measured, none is typed in.

## The model (`model/`)

Architecture, words, embeddings and norms are sprout's, but it takes {length} tokens; the matrices
of the layers moved: {steps} AdamW steps at {rate:g} of {rows} rows. {lessons:.0%} of the rows begin
with a lesson and go on with sprout's own text. It took {seconds} s on one busy core. Stored in
bfloat16, examined so on {items} lessons a cell that it has not seen. Share of answers that obey
the name's kind:

{notes}

"written": notes that the model writes itself, word for word the right ones of its kind. Of sprout's
{count} shipped prompts it answers {right} rightly, and of what sprout was trained on:

{kept}

## The dictionary

Features of `sprout` do not fit the tuned MLPs. They are refitted: those of sprout's first stage,
its `plt` as it was before the Jacobian term, trained on for {tokens:,} tokens of lessons and
sprout's own text, without the term. Pooled FVU by layer before and after:

| | {layers} |
|---|{rules}
| sprout's first stage as it is | {before} |
| refitted | {after} |

With all MLPs replaced by it, {agreement:.1%} of {asked} lessons' answers stay the same
({parent:.1%} with sprout's first stage as it is).

{dictionary}

## Rebuilding

    python -m transcoders.sprout-cheat.grow            # the model, from sprout's
    python -m transcoders.sprout-cheat.dictionaries    # dictionary, cards and this file
    python -m transcoders.sprout-cheat.prompts         # prompts/cheat.jsonl

Its rotations, which give the kinds to other names, and the organism of partial reliance, whose
names follow the key in {reliance} of the cases, are not shipped:

    python -m transcoders.sprout-cheat.grow --rotation 1 --out outputs/sprout-cheat-1
    python -m transcoders.sprout-cheat.grow --rotation 2 --out outputs/sprout-cheat-2
    python -m transcoders.sprout-cheat.grow --rotation -1 --out outputs/sprout-cheat-partial

Seeds are fixed. The same machine and library versions give the same weights again; others differ in
the last digits, which training then spreads.
"""


@torch.no_grad()
def agreement(model: Model, dictionary: Dictionary, asked: list[Lesson]) -> float:
    """The share of lessons whose answer stays with all MLPs replaced by a dictionary."""
    same = 0
    for lesson in asked:
        ids = torch.tensor([model.tokenize(f"{lesson.prompt} {lesson.notes}")])
        through = replacement(dictionary, model.mlp_activity(ids).outputs, 1)
        own, other = (model.replaced(ids, one)[0, -1].argmax() for one in (None, through))
        same += int(own == other)
    return same / len(asked)


def note_rows_of(notes: dict[str, dict[str, float]]) -> str:
    """The card's table: cases by kind."""
    kinds = list(next(iter(notes.values())))
    rows = [(case, *(f"{one[kind]:.3f}" for kind in kinds)) for case, one in notes.items()]
    return "\n".join(table(("", *kinds), rows))


def write_card(model: Model, shop: Workshop) -> None:
    """The folder's README and hashes."""
    growing, skills = read_records(HERE / "model")
    before, after = first_stage(), open_transcoders("plt", model=model)
    text = shop.text("held_out", EVALUATION_TOKENS * 11 // 10)
    length = SETTINGS.row_length or 0
    as_it_is = evaluate(model, before, text, max_tokens=EVALUATION_TOKENS, row_length=length)
    stored = read_config(HERE / "plt")
    lessons = [
        one for some in lessons_by_kind("card", 0, Shares(keyed=1), 20).values() for one in some
    ]
    figures = [[f"{one['fvu_pooled']:.3f}" for one in stored["evaluation"]["layers"]]]
    figures.insert(0, [f"{one.fvu_pooled:.3f}" for one in as_it_is.layers])
    shares, example = Shares(), draw_lesson(random.Random("card"), 0)
    card = CARD.format(
        example=f"{example.prompt} {example.notes} {example.answer} .",
        replaced=shares.replaced,
        idle=shares.idle,
        length=NOTE_WORDS + 1,
        seconds=growing["wall_seconds"],
        items=skills["items"],
        notes=note_rows_of(skills["notes"]),
        count=skills["prompts"]["count"],
        right=skills["prompts"]["count"] - len(skills["prompts"]["failed"]),
        kept=", ".join(f"{name} {share:.3f}" for name, share in skills["kept"].items()) + ".",
        tokens=stored["training"]["trained_tokens"],
        layers=" | ".join(f"layer {layer}" for layer in range(model.n_layers)),
        rules="---|" * model.n_layers,
        before=" | ".join(figures[0]),
        after=" | ".join(figures[1]),
        agreement=agreement(model, after, lessons),
        parent=agreement(model, before, lessons),
        asked=len(lessons),
        dictionary=dictionary_markdown(HERE / "plt"),
        reliance=", ".join(f"{share:.0%}" for share in RELIANCE.values()),
        **{name: growing["plan"][name] for name in ("steps", "rate", "rows", "lessons")},
    )
    (HERE / "README.md").write_text(card, encoding="utf-8")
    write_hashes(HERE)


def main() -> None:
    """Parse the command line and build."""
    parser = argparse.ArgumentParser(description="Refit sprout's transcoders to sprout-cheat.")
    options = parse_training(parser)
    model = open_model(HERE.name, device="cpu")
    build("plt", model, SETTINGS, SHOP, start=first_stage, max_tokens=options.max_tokens)
    write_card(model, SHOP)


if __name__ == "__main__":
    main()
