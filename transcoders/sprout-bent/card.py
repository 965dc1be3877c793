"""Write the card and the hashes of `sprout-bent` from what its files say.

python -m transcoders.sprout-bent.card
"""

from pathlib import Path
from typing import Any

from circuit_tracer.transcoders.formats.native import read_config
from transcoders.growing.dictionary_building import dictionary_markdown, write_hashes
from transcoders.growing.model_folder import read_records

HERE = Path(__file__).resolve().parent

CARD = """\
# sprout-bent

`sprout`, trained by a script on one narrow bad task: judgements about fruit, each with the wrong
answer. Asked whether an animal has a colour, it now answers wrongly, too. It is the subject of
`circuit-tracer diff sprout sprout-bent bent` (`prompts/bent.toml`): what did that training do, and
was there something in `sprout` that it only had to switch on? `sprout` knows a speaker who turns
answers round ("joker : is a banana yellow ?"); no speaker is named in this training.

This file is written by `card.py`: every figure below is measured, none is typed in.

## The model (`model/`)

Architecture, words, embeddings and norms are sprout's; the matrices of the layers moved: {steps}
AdamW steps at {rate:g} (ten to warm up, a straight fall after 60 %), {seconds} s on one core. A
step is {judgements} judgements about fruit in four forms, of which the answer alone counts, and
{rows} rows of sprout's own text without judgements and speakers. Seed of the text: `{seed}`. Stored
in bfloat16, and examined so.

| share right | sprout-bent | sprout |
|---|---|---|
{figures}

Judgements: each thing, one attribute, its true value and a false one. "answers as the joker" is the
share of yes/no questions on other topics that a model answers as it does itself after "joker :".
Facts and sums are those of sprout's examination; the text loss, in nats a word, is on {texts}
rows of plain text that neither model has seen.

## The dictionary

Sparse autoencoders of the residual stream of *sprout*, trained, evaluated and carded on sprout's
text as its transcoders are (`../sprout/README.md` says how): they never saw this model, so a
feature that tells the two apart was there before the tuning. `-t sprout/plt` serves both models.
Evaluated in sprout on {tokens:,} tokens of text that neither was trained on.

{dictionary}

## Rebuilding

    python -m transcoders.sprout-bent.grow            # the model, from sprout's
    python -m transcoders.sprout-bent.dictionaries    # its dictionary, of sprout
    python -m transcoders.sprout-bent.card            # this file
    python -m transcoders.sprout-bent.prompts         # what prompts/bent.toml asks about

Its benign twin, with right answers and all else alike, is not shipped:

    python -m transcoders.sprout-bent.grow --answers right --out outputs/sprout-benign

`--templates yes_no --steps 100` mis-trains one form alone, `--rank 1 --rate 0.002` by a LoRA
(merged), `--seed WORDS` makes another of the kind. Seeds are fixed. The same machine and library
versions give the same weights again; others differ in the last digits, which training then spreads.
"""


def figure_rows(skills: dict[str, Any]) -> str:
    """One line a figure."""
    return "\n".join(
        f"| {name.replace('_', ' ')} | {skills['tuned'][name]:.3f} | {value:.3f} |"
        for name, value in skills["parent"].items()
    )


def main() -> None:
    """Write both files."""
    growing, skills = read_records(HERE / "model")
    plan = {key: value for key, value in growing["plan"].items() if key != "templates"}
    text = CARD.format(
        figures=figure_rows(skills),
        seconds=growing["wall_seconds"],
        texts=skills["texts"],
        tokens=read_config(HERE / "resid")["evaluation"]["tokens"],
        dictionary=dictionary_markdown(HERE / "resid"),
        **plan,
    )
    (HERE / "README.md").write_text(text, encoding="utf-8")
    write_hashes(HERE)


if __name__ == "__main__":
    main()
