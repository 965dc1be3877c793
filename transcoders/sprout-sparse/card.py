"""Write the card and the hashes of `sprout-sparse` from what its files say.

    python -m transcoders.sprout-sparse.card
    python -m transcoders.sprout-sparse.card outputs/sprout-sparse-1 outputs/sprout-control

Folders that are given are of models grown by grow.py with other options, and examined: their
figures go into siblings.json, which ships, and from there into the card. The sizes of circuits are
those of docs/circuit.md.
"""

import argparse
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.circuit_siblings import written_table
from benchmarks.pages import table
from benchmarks.steps_tables import wilson
from transcoders.growing.dictionary_building import write_hashes
from transcoders.growing.model_folder import read_records

HERE = Path(__file__).resolve().parent
SIBLINGS = HERE / "siblings.json"
LARGE = 0.02
"""A fall of a skill that is marked."""
BARS = (
    ("components: sprout's at least 2 times as many, KL", 2.0, "components, KL", "sprout"),
    ("the same, 80 % of the difference", 2.0, "components, 80", "sprout"),
    ("components: the control's at least 1.4 times as many, KL", 1.4, "components, KL", "control"),
    ("the same, 80 % of the difference", 1.4, "components, 80", "control"),
    (
        "weights that connect them: sprout's at least 5 times as many, KL",
        5.0,
        "weights of these, KL",
        "sprout",
    ),
    ("the same by the stricter measure, weights needed", 5.0, "weights needed", "sprout"),
)
"""What was asked of circuits before they were measured: how many times as many those of another
model have, and by which row and column of their table that is judged."""
LOSS = 0.01
"""What loss was to rise by at most."""

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

## What was asked of it

Set before it was made. A ratio is reached where its median is at least that and its interval leaves
out 1; circuits are those of three seeds, averaged prompt by prompt.

{bars}

## Skills

Share right; a fall of more than {large:.0%} is marked with **.

| skill | split | items | sprout-sparse | sprout |
|---|---|---|---|---|
{skills}

## Other seeds and the control

The same script with other text, and with nothing set to zero (`--kept 1`): the dense control. Falls
are skills of the examination that fall by more than {large:.0%} against sprout.
{alone}

{siblings}

Every skill that falls so in some seed. Of the seeds that do not ship such falls alone were kept: of
a skill that did not fall there only a least share is known, and the mean over seeds is "at least".
Difference: of the seed that loses most, in points, with Newcombe's 95 % interval for two shares of
as many items, drawn for each model by itself; both were asked the same ones, so it is rather wide.
Where it holds 0, the fall may be the draw of the items.

{falls}

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


def falls(skills: dict[str, Any]) -> list[dict[str, Any]]:
    """The skills that fall by more than a little."""
    return [
        {"skill": skill, "split": split.replace("_", " "), "share": ours, "parent": theirs}
        for skill, split, _, ours, theirs in pairs(skills)
        if theirs - ours > LARGE
    ]


def summary(folder: Path) -> dict[str, Any]:
    """What siblings.json keeps of a model."""
    growing, skills = read_records(folder)
    plan = growing["plan"]
    names = ("nonzero", "loss", "live", "effective_words")
    return {
        "seed": plan["seed"],
        "kept": plan["kept"],
        **{name: skills["model"][name] for name in names},
        "prompts": right(skills["model"]),
        "falls": falls(skills),
    }


def sibling_table(models: Sequence[dict[str, Any]]) -> str:
    """Other seeds and the control, a line each."""
    head = ("seed", "kept", "nonzero", "loss", "prompts right", "live neurons", "effective words")
    rows = [
        (
            *(one["seed"], "all (control)" if one["kept"] == 1 else f"1/{1 / one['kept']:g}"),
            *(f"{one['nonzero']:,}", f"{one['loss']:.4f}", one["prompts"], f"{one['live']:,}"),
            *(f"{one['effective_words']}", f"{len(one['falls'])}"),
        )
        for one in models
    ]
    return "\n".join(table((*head, "falls"), rows))


def fall_table(skills: dict[str, Any], models: Sequence[dict[str, Any]]) -> str:
    """The skills that fall in some seed: each seed's share, their mean, and the largest fall."""
    sparse = [one for one in models if one["kept"] < 1]
    by_seed = [{(f["skill"], f["split"]): f["share"] for f in one["falls"]} for one in sparse]
    head = ("skill", "split", "items", "sprout", *(one["seed"] for one in sparse), "mean")
    rows = []
    for skill, split, items, ours, theirs in pairs(skills):
        name = skill, split.replace("_", " ")
        fallen = [found[name] for found in by_seed if name in found]
        if not fallen:
            continue
        least = theirs - LARGE
        known = [ours, *(found.get(name) for found in by_seed[1:])]
        shares = ["≥ " * (one is None) + f"{least if one is None else one:.3f}" for one in known]
        mean = sum(least if one is None else one for one in known) / len(known)
        bound = "≥ " * (None in known) + f"{mean:.3f}"
        lost = theirs - min(fallen)
        low, high = newcombe(min(fallen), theirs, items)
        worst = " ".join([signed(-lost), f"[{signed(low)}, {signed(high)}]"])
        fewer = f"{round(lost * items)} (2 points: {LARGE * items:.1f})"
        rows.append((*name, f"{items}", f"{theirs:.3f}", *shares, bound, worst, fewer))
    return "\n".join(table((*head, "difference", "items fewer"), rows))


def signed(share: float) -> str:
    """A difference of shares in points."""
    return f"{100 * share:+.1f}".replace("-", "−")


def newcombe(ours: float, theirs: float, items: int) -> tuple[float, float]:
    """The 95 % interval of a difference of two shares of so many items each (Newcombe 1998, 10)."""
    one, other = (wilson(round(share * items), items) for share in (ours, theirs))
    down = math.hypot(ours - one.low, other.high - theirs)
    up = math.hypot(one.high - ours, theirs - other.low)
    return ours - theirs - down, ours - theirs + up


def bar_table(skills: dict[str, Any], models: Sequence[dict[str, Any]]) -> str:
    """What was asked, what came out, and whether that is enough."""
    lines = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in written_table().splitlines()
    ]
    (head,) = (cells for cells in lines if cells[1:2] == ["sprout"])
    rows = []
    for asked, bar, row, other in BARS:
        (cells,) = (cells for cells in lines if cells and cells[0].startswith(row))
        cell = cells[head.index(f"{other} : sparse")]
        value, low = (float(one) for one in re.findall(r"[\d.]+", cell)[:2])
        judged = "reached" if value >= bar and low > 1 else f"missed by {bar - value:.2f}"
        rows.append((asked, cell, judged))
    sparse = [one for one in models if one["kept"] < 1]
    most = max(one["loss"] for one in sparse) - skills["parent"]["loss"]
    rows.append(
        (
            f"loss at most +{LOSS}",
            f"{most:+.4f}".replace("-", "−"),
            "reached" if most <= LOSS else "missed",
        )
    )
    right = [one["prompts"] for one in sparse]
    is_right = all(one.split()[0] == one.split()[-1] for one in right)
    rows.append(
        ("all shipped prompts right", "; ".join(right), "reached" if is_right else "missed")
    )
    fallen = [f"{len(one['falls'])}" for one in sparse]
    kept = "reached" if {*fallen} == {"0"} else "missed"
    rows.append((f"no skill more than {LARGE:.0%} down", f"{', '.join(fallen)} skills", kept))
    return "\n".join(table(("asked", "measured", ""), rows))


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
    growing, skills = read_records(model)
    plan, found = growing["plan"], skills["model"]
    failed = found["prompts"]["failed"]
    others = json.loads(SIBLINGS.read_text(encoding="utf-8")) if SIBLINGS.is_file() else []
    models = [summary(model), *others]
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
        siblings=sibling_table(models),
        bars=bar_table(skills, models),
        falls=fall_table(skills, models),
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
