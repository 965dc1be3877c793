"""What `runs show` prints: how far a run is, and what it says as a whole."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from circuit_tracer.render.fitted_table import FittedTable
from circuit_tracer.render.numbers import percent
from circuit_tracer.render.terminal import LABEL_CELLS, add_plain, plain_table
from circuit_tracer.render.text import printable, shorten

if TYPE_CHECKING:
    from rich.console import RenderableType

    from circuit_tracer.batch.run_file import RunInfo
    from circuit_tracer.batch.summary import FeatureLine, HeadLine, Progress, RouteLine
    from circuit_tracer.graphs.bootstrap import Interval

PROMPT_CELLS = 40
_SHARES = ("replacement", "completeness", "probability")


def _table(title: str) -> tuple[RenderableType, FittedTable]:
    """A table under its title, and the table to fill in."""
    from rich.console import Group
    from rich.text import Text

    table = plain_table()
    return Group(Text(title, style="bold"), table), table


def heading(name: str, info: RunInfo, stand: Progress) -> RenderableType:
    """What the run is, and how far."""
    from rich.text import Text

    lines = [
        f"{name}: {info.model.name} with {info.dictionary.name}, {stand.done:,} of "
        f"{stand.total:,} prompts traced, {stand.failed:,} failed, {stand.left:,} left",
    ]
    if stand.repeats:
        lines.append(f"{stand.repeats:,} lines repeat an earlier one and are traced once")
    if stand.seconds > 0:
        by = "1 process" if stand.writers == 1 else f"{stand.writers} processes"
        lines.append(f"{stand.rate:.1f} graphs a second of a process; {by}, last part {stand.last}")
    return Text("\n".join(lines))


def failures(rows: Sequence[Mapping[str, Any]], most: int) -> list[RenderableType]:
    """Lines that failed, and why."""
    from rich.text import Text

    if not rows or not most:
        return []
    text = Text("Failed\n")
    for row in rows[:most]:
        text.append(f"  line {row['line']} ({row['class']}): {printable(row['message'])}\n")
    if len(rows) > most:
        text.append(f"  and {len(rows) - most:,} more (failures/*.parquet has them all)\n")
    text.rstrip()
    return [text]


def scores(
    quantiles: Sequence[float], found: Mapping[str, Sequence[float]]
) -> list[RenderableType]:
    """Quantiles of the scores over all prompts."""
    if not found:
        return []
    shown, table = _table("Scores over prompts, by quantile")
    table.texts("score")
    for quantile in quantiles:
        name = {0.0: "least", 0.5: "median", 1.0: "most"}.get(quantile, percent(quantile))
        table.numbers(name)
    for name, values in found.items():
        share = name in _SHARES or name.endswith("_share")
        add_plain(table, name.replace("_", " "), *(_score(v, share=share) for v in values))
    return [shown]


def _score(value: float, *, share: bool) -> str:
    if share:
        return f"{value:.3f}"
    return f"{value:.0f}" if value >= 1 else f"{value:.1e}"


def features(lines: Sequence[FeatureLine]) -> list[RenderableType]:
    """One table a tag."""
    tables: list[RenderableType] = []
    for tag in dict.fromkeys(line.tag for line in lines):
        of = f'prompts tagged "{printable(tag)}"' if tag else "all prompts"
        shown, table = _table(
            f"Features with most influence in {of}: in how many of them, mean share of "
            "the targets' influence (95 % of a bootstrap over prompts)"
        )
        table.texts("feature", "label").numbers("prompts", "frequency", "influence")
        for line in (one for one in lines if one.tag == tag):
            add_plain(
                table,
                line.name,
                shorten(printable(line.label).strip(), LABEL_CELLS),
                f"{line.prompts:,}",
                _interval(line.frequency),
                _interval(line.influence),
            )
        tables.append(shown)
    return tables


def _interval(one: Interval) -> str:
    if math.isnan(one.low):
        return percent(one.value)
    return f"{percent(one.value)} ({percent(one.low)} to {percent(one.high)})"


def routes(lines: Sequence[RouteLine]) -> list[RenderableType]:
    """Routes that recur."""
    if not lines:
        return []
    shown, table = _table(
        "Routes that recur, by the features they pass, with their mean share of all paths"
    )
    table.texts("features", "labels").numbers("prompts", "share", "sign")
    for line in lines:
        labels = " → ".join(printable(label).strip() for label in line.labels)
        add_plain(
            table,
            line.route,
            shorten(labels, PROMPT_CELLS),
            f"{line.prompts:,}",
            percent(line.share),
            f"{line.sign:+.2f}",
        )
    return [shown]


def heads(lines: Sequence[HeadLine]) -> list[RenderableType]:
    """Heads that carry most."""
    if not lines:
        return []
    shown, table = _table("Attention heads: mean share of the kept influence that passes through")
    table.texts("head").numbers("prompts", "share")
    for line in lines:
        add_plain(table, line.name, f"{line.prompts:,}", _interval(line.share))
    return [shown]
