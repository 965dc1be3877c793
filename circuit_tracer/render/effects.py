"""What interventions did, as tables in the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from circuit_tracer.graphs.token_text import shown, target_text
from circuit_tracer.render.dose import UNITS
from circuit_tracer.render.numbers import number, percent
from circuit_tracer.render.terminal import plain_table, sign_style
from circuit_tracer.render.text import printable, shorten

if TYPE_CHECKING:
    from circuit_tracer.interventions.ablation import Ablation
    from circuit_tracer.interventions.spec import Mode
    from circuit_tracer.interventions.steering import Steered, Steering

NAME_CELLS, LABEL_CELLS = 22, 22
MOST_MODES = 1
"""Beside the replacement model's predictions."""
SHORT = {"direct": "direct", "constrained": "constr.", "free": "free"}


def ablation_table(ablation: Ablation, which: int, *, how: str) -> tuple[Text, Table]:
    """One line an intervention: changes of one target's logit, predicted and measured."""
    target = ablation.targets[which]
    lines = Text(
        f"{target_text(target)} at position {target.position}: "
        f"{percent(ablation.probabilities[which])}, the model says {shown(ablation.top)}; "
        f"changed: {how}"
    )
    modes = list(ablation.rows[0].measured)
    columns = _predictions(ablation, which, modes)
    table = plain_table(" ".join([*_captions(columns, modes[-1])]))
    table.texts("changed", "label")
    table.numbers(*columns, *(SHORT[mode] for mode in modes), "gives").texts("says")
    for i, row in enumerate(ablation.rows):
        last = row.measured[modes[-1]]
        changes = [row.measured[mode].logits[which] for mode in modes]
        table.line(
            shorten(printable(row.name), NAME_CELLS),
            shorten(printable(row.label).strip(), LABEL_CELLS),
            *(cells[i] for cells in columns.values()),
            *(f"{change:+.3f}" for change in changes),
            percent(last.probabilities[which]),
            shown(last.top),
            style=sign_style(changes[-1]),
        )
    return lines, table


def _predictions(ablation: Ablation, which: int, modes: Sequence[Mode]) -> dict[str, list[str]]:
    """Columns of predictions, as many as fit beside the modes: an edge is what a direct run gives,
    and the replacement model's are for those who ask for one mode."""
    rows, last = ablation.rows, modes[-1]
    found = {
        "edge": [row.predicted_direct for row in rows],
        "sums": [row.predicted_total for row in rows],
        "predicted": [row.predicted.get(last) for row in rows],
        "repl.": [row.replaced.get(last) for row in rows],
    }
    hidden = {"edge"} if "direct" in modes else set()
    if len(modes) > MOST_MODES or not any(row.replaced for row in rows):
        hidden.add("repl.")
    if not any(row.predicted for row in rows):
        hidden.add("predicted")
    return {
        name: ["?" if one is None else f"{one[which]:+.3f}" for one in column]
        for name, column in found.items()
        if name not in hidden
    }


def _captions(columns: Iterable[str], last: Mode) -> Iterator[str]:
    """What the columns are."""
    words = {
        "edge": "edge: the graph's own, to the target.",
        "sums": "sums: the graph's, along all its routes, everything frozen.",
        "predicted": "predicted: its features linear, norms and attention responding as they do in "
        f"the {last} mode.",
        "repl.": "repl.: the replacement model run for real, errors constant.",
    }
    yield "Changes of the target's logit minus the mean logit."
    yield from (words[name] for name in columns)
    yield f"The others measured. Then what the model gives and says in the {last} mode."


def steering_page(steered: Steered) -> list[RenderableType]:
    """The features, and of every prompt the texts before and after and the dose curve."""
    lines = []
    for feature, share in zip_longest(steered.features, steered.shares):
        label = printable(feature.label).strip()
        maximum = "" if feature.maximum is None else f", maximum {number(feature.maximum)}"
        part = "" if share is None else f", {share:.3g} of the strength"
        lines.append(f"{feature.name}{f' {label}' if label else ''}{maximum}{part}")
    parts: list[RenderableType] = [Text("\n".join(lines))]
    unit = UNITS[steered.unit]
    for text, steering in steered.prompts:
        parts += _steering(text, steering, steered.amount, unit=unit, target=steered.target)
    return parts


def _steering(
    prompt: str, steering: Steering, asked: float, *, unit: str, target: str
) -> tuple[Table, Table]:
    """The texts before and after side by side, and the dose curve."""
    after = steering.at(asked).text
    texts = plain_table()
    texts.add_column("before", ratio=1, overflow="fold")
    texts.add_column(f"{unit} {asked:g}", ratio=1, overflow="fold")
    texts.line(
        f"{printable(prompt)}{_continuation(steering.before.text)}",
        f"{printable(prompt)}{_continuation(after.text)}",
    )
    followed = f"first, mean: probability of {shown(target)} as the next token, and over the "
    curve = plain_table(
        f"dose: {unit}; {f'{followed}new tokens; ' if target else ''}perplexity: of the new text "
        "under the unchanged model."
    )
    curve.numbers("dose", "first", "mean", "perplexity").texts("text")
    names = ["none", *(f"{dose.strength:g}" for dose in steering.doses)]
    for name, dose in zip(names, steering.curve, strict=True):
        curve.line(
            name,
            percent(dose.first) if dose.text.target else "",
            percent(dose.mean) if dose.text.target else "",
            number(dose.text.perplexity),
            shorten(printable(dose.text.text).strip(), 48),
        )
    return texts, curve


def _continuation(text: str) -> str:
    """New text after a prompt, with the blank that word tokenizers leave out."""
    new = printable(text)
    return new if new[:1] in ("", " ", "\n", ".", ",") else f" {new}"
