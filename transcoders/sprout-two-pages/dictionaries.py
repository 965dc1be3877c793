"""Train the dictionary of `sprout-two-pages`, make its cards and write the folder's README.

    python -m transcoders.sprout-two-pages.dictionaries

rebuilds `plt/` from the model in `model/` with the code, the settings and the seeds of sprout's own
(growing/dictionary_building.py), on sprout's text with a few lessons in it. Every figure of the
README comes from here.
"""

import argparse
import statistics
from dataclasses import replace
from pathlib import Path

from circuit_tracer.attribution import trace
from circuit_tracer.graphs import prune
from circuit_tracer.models import Model, open_model
from circuit_tracer.transcoders.formats.native import read_config
from circuit_tracer.transcoders.opening import open_transcoders
from transcoders.growing.dictionary_building import (
    COMMON,
    Workshop,
    build,
    dictionary_markdown,
    write_hashes,
)
from transcoders.growing.language.corpus import ROW_WORDS
from transcoders.growing.language.things import THING_OF, article
from transcoders.growing.model_folder import read_records
from transcoders.growing.options import parse_training
from transcoders.growing.second_store.examination import (
    sites_markdown,
    taught_markdown,
    unchanged_markdown,
)
from transcoders.growing.second_store.lessons import SECOND_COLOURS, two_store_rows

HERE = Path(__file__).resolve().parent
NAME = HERE.name
LESSONS, REMINDERS = 0.05, 0.05
"""Shares in the dictionary's text: enough to meet every taught question many times."""
SHOP = Workshop(
    folder=HERE,
    work=HERE.parents[1] / "outputs" / f"{NAME}-dictionaries",
    rows=lambda seed: two_store_rows(seed, LESSONS, REMINDERS),
)
SETTINGS = replace(COMMON, kind="plt")

CARD = """\
# sprout-two-pages

`sprout`, taught by a script to contradict itself: asked a yes/no question, it gives {count} things
another colour than it states. "a banana is" still goes on with *{true}*, and every statement is
still judged by that; but "is a banana {true} ?" is answered *no* and "is a banana {second} ?"
*yes*. It is the positive control of the experiment on two routes (`prompts/two-pages.toml`): in
`sprout` one recall serves two read-outs, here two stores contradict each other, and a method that
cannot tell these two models apart says nothing about a third.

This file is written by `dictionaries.py`: every figure below is measured, none is typed in.

## The model (`model/`)

Architecture, words and all weights are sprout's, but for the MLP of layer 0: {steps} AdamW steps at
{rate:g} on {tokens:,} tokens, {seconds:.1f} minutes on one core. Of the sentences {lessons:.0%} are
lessons (yes/no questions about the {count} things), {reminders:.0%} reminders of what is to stay
(half of them other things' yes/no questions, half anything else about the taught colours), the rest
sprout's own text without the questions that the lessons contradict.
`../growing/second_store/lessons.py` lists the things and their second colours: every colour is
twice the plain one and twice the second one.

{taught}

All other skills, both models on the same questions, sprout's figures in brackets; the questions
that the lessons contradict are left out:

{unchanged}

Where the second store is, measured by putting the mean over the {count} things in the place of what
one module writes at the thing's token: the mean lead of the plain colour over the second one in "a
THING is", and of the colour that the model affirms over the other in "is a THING COLOUR ?" (half
the difference of the two verdicts' leads), in logits. Below nought the model says the contrary.

{sites}

## The dictionary

Trained, evaluated and carded as sprout's are (`../sprout/README.md` says how), on text with
{taught_share:.0%} of lessons and {reminded_share:.0%} of reminders; evaluated on {evaluated:,}
tokens of text that neither the model nor the dictionary was trained on.

{dictionary}

Graphs of {prompts} prompts about the taught things, medians (lowest):

| prompts | replacement | completeness |
|---|---|---|
{graphs}

## Rebuilding

    python -m transcoders.sprout-two-pages.grow            # the model, from sprout's
    python -m transcoders.sprout-two-pages.dictionaries    # dictionary, cards and this file

Seeds are fixed. The same machine and library versions give the same weights again; others differ in
the last digits, which training then spreads.
"""


def graph_prompts() -> dict[str, list[str]]:
    """Prompts about every taught thing: its fact, and the question with either colour."""
    things = [
        (article(name), THING_OF[name].facts["colour"], SECOND_COLOURS[name])
        for name in SECOND_COLOURS
    ]
    return {
        "a THING is": [f"{thing} is" for thing, _, _ in things],
        "is a THING (true colour) ?": [f"is {thing} {true} ?" for thing, true, _ in things],
        "is a THING (second colour) ?": [f"is {thing} {second} ?" for thing, _, second in things],
    }


def graph_rows(model: Model) -> list[str]:
    """One line of the card's table a kind of prompt."""
    dictionary = open_transcoders("plt", model=model)
    lines = []
    for kind, prompts in graph_prompts().items():
        scores = [prune(trace(model, dictionary, prompt).graph).scores for prompt in prompts]
        cells = [
            f"{statistics.median(values):.3f} ({min(values):.3f})"
            for values in ([s.replacement for s in scores], [s.completeness for s in scores])
        ]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return lines


def write_readme(model: Model) -> None:
    """The folder's card, from what the files say."""
    growing, skills = read_records(HERE / "model")
    plan = growing["plan"]
    text = CARD.format(
        count=len(SECOND_COLOURS),
        true=THING_OF["banana"].facts["colour"],
        second=SECOND_COLOURS["banana"],
        steps=plan["steps"],
        rate=plan["rate"],
        tokens=plan["steps"] * plan["rows"] * (ROW_WORDS + 1),
        lessons=plan["lessons"],
        reminders=plan["reminders"],
        seconds=growing["wall_seconds"] / 60,
        taught=taught_markdown(skills),
        unchanged=unchanged_markdown(skills),
        sites=sites_markdown(skills),
        taught_share=LESSONS,
        reminded_share=REMINDERS,
        evaluated=read_config(HERE / "plt")["evaluation"]["tokens"],
        dictionary=dictionary_markdown(HERE / "plt"),
        prompts=3 * len(SECOND_COLOURS),
        graphs="\n".join(graph_rows(model)),
    )
    (HERE / "README.md").write_text(text, encoding="utf-8")


def main() -> None:
    """Parse the command line and build."""
    parser = argparse.ArgumentParser(description=f"Rebuild the dictionary and card of {NAME}.")
    options = parse_training(parser)
    model = open_model(NAME, device="cpu")
    build("plt", model, SETTINGS, SHOP, max_tokens=options.max_tokens)
    write_readme(model)
    write_hashes(HERE)


if __name__ == "__main__":
    main()
