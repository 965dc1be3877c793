"""What interventions did, as tables in the terminal."""

from __future__ import annotations

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
    from circuit_tracer.interventions.ablation import Ablation, AblationRow
    from circuit_tracer.interventions.steering import Steered, Steering

NAME_CELLS, LABEL_CELLS = 22, 12
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
    freest = modes[-1]
    linear = any(row.predicted for row in ablation.rows)
    replaced = any(row.replaced for row in ablation.rows)
    words = (
        "Changes of the target's logit minus the mean logit. edge, sums: the graph's, directly and "
        "along all its routes, everything frozen. "
    )
    if linear:
        words += (
            "predicted: its features linear, norms and attention responding as they do in the "
            f"{freest} mode. "
        )
    if replaced:
        words += "repl.: the replacement model run for real, errors constant. "
    words += f"The others measured. Then what the model gives and says in the {freest} mode."
    table = plain_table(words)
    table.texts("changed", "label")
    predictions = ["predicted"] * linear + ["repl."] * replaced
    measured = (SHORT[mode] for mode in modes)
    table.numbers("edge", "sums", *predictions, *measured, "gives").texts("says")
    for row in ablation.rows:
        last = row.measured[freest]
        changes = [row.measured[mode].logits[which] for mode in modes]
        table.line(
            shorten(printable(row.name), NAME_CELLS),
            shorten(printable(row.label).strip(), LABEL_CELLS),
            *_sums(row, which),
            *(_cell(row.predicted.get(freest), which) for _ in range(linear)),
            *(_cell(row.replaced.get(freest), which) for _ in range(replaced)),
            *(f"{change:+.3f}" for change in changes),
            percent(last.probabilities[which]),
            shown(last.top),
            style=sign_style(changes[-1]),
        )
    return lines, table


def _sums(row: AblationRow, which: int) -> tuple[str, str]:
    return _cell(row.predicted_direct, which), _cell(row.predicted_total, which)


def _cell(changes: tuple[float, ...] | None, which: int) -> str:
    return "?" if changes is None else f"{changes[which]:+.3f}"


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
