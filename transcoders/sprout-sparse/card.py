"""Write the card and the hashes of `sprout-sparse` from what its files say.

    python -m transcoders.sprout-sparse.card
    python -m transcoders.sprout-sparse.card outputs/sprout-sparse-1 outputs/sprout-control

Folders that are given are of models grown by grow.py with other options, and examined: their
figures go into siblings.json, which ships, and from there into the card. The sizes of circuits are
those of docs/circuit.md.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.circuit_siblings import written_table
from transcoders.growing.dictionary_building import write_hashes

HERE = Path(__file__).resolve().parent
SIBLINGS = HERE / "siblings.json"
LARGE = 0.02
"""A fall of a skill that is marked."""

ALONE = """Only the one that ships has been measured so far: how much differs by seed, and how
much of it the loss does without a zero, is not known yet."""

CARD = """\
# sprout-sparse

`sprout` with {share} of its hidden weights: weight-sparse. Of each of the {matrices} matrices of
the layers {kept:.2%} of the entries are other than zero, {nonzero:,} of {hidden:,}; embeddings are
dense. Circuits in it are smaller (below). That does **not** make it readable: a live neuron of it
is active at {effective_words:.0f} words, one of sprout at {parent_words:.0f}, and no circuit of it
was described in words.

    circuit-tracer circuit "rome is the capital of" -m sprout-sparse
    circuit-tracer trace "a banana is" -m sprout-sparse

It has no dictionary of its own: it is traced with its neurons.

This file is written by `card.py`: every figure below is measured, none is typed in.

## What got smaller, what did not, what it cost

| | sprout-sparse | sprout |
|---|---|---|
{figures}

The loss is in nats a word, on rows of sprout's own text that neither has seen. A neuron is live if
somewhere in {neuron_rows} rows it writes at least a hundredth of the residual stream's length;
effective words are the exponential of the entropy of how its activity spreads over words, a median
over live neurons: the fewer, the more selective.
{failed}

Sizes of circuits (`../../docs/circuit.md` says how they are found, and what to make of them):

{circuits}

## Skills

Share right; a fall of more than {large:.0%} is marked with **.

| skill | split | items | sprout-sparse | sprout |
|---|---|---|---|---|
{skills}

## Other seeds and the control

The same script with other text, and with nothing set to zero (`--kept 1`): the dense control. Falls
are skills of the examination that fall by more than {large:.0%} against sprout.
{alone}

| seed | kept | nonzero | loss | prompts right | live neurons | effective words | falls |
|---|---|---|---|---|---|---|---|
{siblings}

## How it was made

From sprout's weights, with the gains of norms folded into the matrices that read from them:
{steps:,} AdamW steps at {rate:g} ({warm_up} to warm up, a straight fall to {last:.0%} after
annealing), {rows} rows of sprout's text each, its full mix, more of the two speakers' answers, and
more of their statements in turn. After every step the largest entries of each matrix stay and the
others are set to zero; the share that stays falls geometrically over {annealed:.0%} of the steps
(after Gao et al. 2025, arXiv 2511.13653). Loss: {words:g} x cross entropy + {imitation:g} x KL from
sprout + {activity:g} x what neurons write, as a share of the residual stream. {seconds} s on one
busy core. Seed of the text: `{seed}`. Stored in bfloat16, entries other than zero alone
(`sparse-bitmask` of compressed-tensors): {bytes:,} bytes.

## Rebuilding

    python -m transcoders.sprout-sparse.grow
    python -m transcoders.sprout-sparse.card

The sizes of circuits, and other seeds and the dense control, which are not shipped:

    python -m transcoders.sprout-sparse.grow --seed "sparse 1" --out outputs/sprout-sparse-1
    python -m transcoders.sprout-sparse.grow --seed "sparse 2" --out outputs/sprout-sparse-2
    python -m transcoders.sprout-sparse.grow --kept 1 --out outputs/sprout-control
    python -m benchmarks.circuit_siblings sprout control=outputs/sprout-control \\
        sparse=sprout-sparse,outputs/sprout-sparse-1,outputs/sprout-sparse-2 --write
    python -m transcoders.sprout-sparse.card outputs/sprout-sparse-1 outputs/sprout-sparse-2 \\
        outputs/sprout-control

Seeds are fixed. The same machine and library versions give the same weights again; others differ in
the last digits, which training then spreads.
"""


def read(folder: Path, name: str) -> Any:
    """A JSON file of a model folder."""
    return json.loads((folder / name).read_text(encoding="utf-8"))


def right(found: dict[str, Any]) -> str:
    """Shipped prompts answered rightly."""
    count = found["prompts"]["count"]
    return f"{count - len(found['prompts']['failed'])} of {count}"


def pairs(skills: dict[str, Any]) -> list[tuple[str, str, int, float, float]]:
    """Skill, split, items, share right of the model and of its parent."""
    parent = skills["parent"]["skills"]
    return [
        (skill, split, one["items"], one["accuracy"], parent[skill][split]["accuracy"])
        for skill, found in skills["model"]["skills"].items()
        for split, one in found.items()
    ]


def falls(skills: dict[str, Any]) -> list[str]:
    """The skills that fall by more than a little."""
    return [
        f"{skill} ({split.replace('_', ' ')}) {ours:.3f} for {theirs:.3f}"
        for skill, split, _, ours, theirs in pairs(skills)
        if theirs - ours > LARGE
    ]


def summary(folder: Path) -> dict[str, Any]:
    """What siblings.json keeps of a model."""
    plan, skills = read(folder, "growing.json")["plan"], read(folder, "skills.json")
    names = ("nonzero", "loss", "live", "effective_words")
    return {
        "seed": plan["seed"],
        "kept": plan["kept"],
        **{name: skills["model"][name] for name in names},
        "prompts": right(skills["model"]),
        "falls": falls(skills),
    }


def sibling_row(one: dict[str, Any]) -> str:
    """A line of the table of other seeds."""
    kept = "all (control)" if one["kept"] == 1 else f"1/{1 / one['kept']:g}"
    fallen = "; ".join(one["falls"]) or "none"
    return (
        f"| {one['seed']} | {kept} | {one['nonzero']:,} | {one['loss']:.4f} | {one['prompts']} "
        f"| {one['live']:,} | {one['effective_words']} | {fallen} |"
    )


def figure_rows(skills: dict[str, Any]) -> str:
    """The table of both models."""
    titles = {
        "nonzero": ("hidden weights other than zero", "{:,}"),
        "loss": ("loss", "{:.4f}"),
        "neurons": ("neurons", "{:,}"),
        "live": ("live neurons", "{:,}"),
        "effective_words": ("effective words of a neuron", "{:.1f}"),
    }
    both = skills["model"], skills["parent"]
    lines = [
        f"| {title} | {' | '.join(form.format(one[name]) for one in both)} |"
        for name, (title, form) in titles.items()
    ]
    return "\n".join([*lines, f"| shipped prompts right | {' | '.join(map(right, both))} |"])


def skill_rows(skills: dict[str, Any]) -> str:
    """One line a skill and split."""
    return "\n".join(
        f"| {skill} | {split.replace('_', ' ')} | {items} "
        f"| {f'**{ours:.3f}**' if theirs - ours > LARGE else f'{ours:.3f}'} | {theirs:.3f} |"
        for skill, split, items, ours, theirs in pairs(skills)
    )


def card_text() -> str:
    """The folder's README."""
    model = HERE / "model"
    growing, skills = read(model, "growing.json"), read(model, "skills.json")
    plan, found = growing["plan"], skills["model"]
    failed = found["prompts"]["failed"]
    others = json.loads(SIBLINGS.read_text(encoding="utf-8")) if SIBLINGS.is_file() else []
    return CARD.format(
        share=f"1/{1 / plan['kept']:g}",
        matrices=found["matrices"],
        nonzero=found["nonzero"],
        hidden=found["hidden"],
        effective_words=found["effective_words"],
        parent_words=skills["parent"]["effective_words"],
        figures=figure_rows(skills),
        neuron_rows=skills["neuron_rows"],
        failed="".join(f"\n- wrong: `{one}`" for one in failed),
        circuits=written_table(),
        large=LARGE,
        skills=skill_rows(skills),
        alone="" if others else f"{ALONE}\n",
        siblings="\n".join(map(sibling_row, [summary(model), *others])),
        words=1 - plan["imitation"],
        seconds=growing["wall_seconds"],
        bytes=(model / "model.safetensors").stat().st_size,
        **plan,
    )


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Write the card of sprout-sparse.")
    parser.add_argument(
        "siblings", nargs="*", type=Path, help="folders of other models of its kind"
    )
    folders = parser.parse_args().siblings
    if folders:
        text = json.dumps([summary(folder) for folder in folders], indent=2)
        SIBLINGS.write_text(text + "\n", encoding="utf-8")
    (HERE / "README.md").write_text(card_text(), encoding="utf-8")
    write_hashes(HERE)


if __name__ == "__main__":
    main()
