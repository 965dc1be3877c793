"""A run in the terminal: how far it is, and what it says as a whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.text import Text

from circuit_tracer.render.numbers import percent
from circuit_tracer.render.terminal import LABEL_CELLS, plain_table, titled
from circuit_tracer.render.text import printable, shorten

if TYPE_CHECKING:
    from circuit_tracer.batch.summary import FeatureLine, HeadLine, Overview, RouteLine
    from circuit_tracer.graphs.bootstrap import Interval

PROMPT_CELLS = 40
_SHARES = ("replacement", "completeness", "probability")


def page(
    overview: Overview, most_failures: int, wording: Callable[[str], str] = str
) -> list[RenderableType]:
    """The whole run, a table for each thing that is known; `wording` rewrites stored messages."""
    return [
        heading(overview),
        *failures(overview.run.failures.to_pylist(), most_failures, wording),
        *scores(overview.quantiles, overview.scores),
        *features(overview.features),
        *routes(overview.routes),
        *heads(overview.heads),
    ]


def heading(overview: Overview) -> Text:
    """What the run is, and how far."""
    info, stand = overview.run.info, overview.progress
    lines = [
        f"{overview.run.name}: {info.model.name} with {info.dictionary.name}, {stand.done:,} of "
        f"{stand.total:,} prompts traced, {stand.failed:,} failed, {stand.left:,} left",
    ]
    if stand.repeats:
        lines.append(f"{stand.repeats:,} lines repeat an earlier one and are traced once")
    if stand.seconds > 0:
        by = "1 process" if stand.writers == 1 else f"{stand.writers} processes"
        lines.append(f"{stand.rate:.1f} graphs a second of a process; {by}, last part {stand.last}")
    return Text("\n".join(lines))


def failures(
    rows: Sequence[Mapping[str, Any]], most: int, wording: Callable[[str], str] = str
) -> list[RenderableType]:
    """Lines that failed, and why, in the caller's `wording`."""
    if not rows or not most:
        return []
    text = Text("Failed\n")
    for row in rows[:most]:
        text.append(
            f"  line {row['line']} ({row['class']}): {printable(wording(row['message']))}\n"
        )
    if len(rows) > most:
        text.append(f"  and {len(rows) - most:,} more (failures/*.parquet has them all)\n")
    text.rstrip()
    return [text]


def scores(
    quantiles: Sequence[float], by_name: Mapping[str, Sequence[float]]
) -> list[RenderableType]:
    """Quantiles of the scores over all prompts."""
    if not by_name:
        return []
    table = plain_table().texts("score")
    for quantile in quantiles:
        name = {0.0: "least", 0.5: "median", 1.0: "most"}.get(quantile, percent(quantile))
        table.numbers(name)
    for name, values in by_name.items():
        share = name in _SHARES or name.endswith("_share")
        table.line(name.replace("_", " "), *(_score(v, share=share) for v in values))
    return [Group(*titled("Scores over prompts, by quantile", table))]


def _score(value: float, *, share: bool) -> str:
    if share:
        return f"{value:.3f}"
    return f"{value:.0f}" if value >= 1 else f"{value:.1e}"


def features(lines: Sequence[FeatureLine]) -> list[RenderableType]:
    """One table a tag."""
    tables: list[RenderableType] = []
    for tag in dict.fromkeys(line.tag for line in lines):
        of = f'prompts tagged "{printable(tag)}"' if tag else "all prompts"
        title = (
            f"Features with most influence in {of}: in how many of them, mean share of "
            "the targets' influence (95 % of a bootstrap over prompts)"
        )
        table = plain_table().texts("feature", "label")
        table.numbers("prompts", "frequency", "influence")
        for line in (one for one in lines if one.tag == tag):
            table.line(
                line.name,
                shorten(printable(line.label).strip(), LABEL_CELLS),
                f"{line.prompts:,}",
                _interval(line.frequency),
                _interval(line.influence),
            )
        tables.append(Group(*titled(title, table)))
    return tables


def _interval(one: Interval) -> str:
    if math.isnan(one.low):
        return percent(one.value)
    return f"{percent(one.value)} ({percent(one.low)} to {percent(one.high)})"


def routes(lines: Sequence[RouteLine]) -> list[RenderableType]:
    """Routes that recur."""
    if not lines:
        return []
    title = "Routes that recur, by the features they pass, with their mean share of all paths"
    table = plain_table().texts("features", "labels").numbers("prompts", "share", "sign")
    for line in lines:
        labels = " → ".join(printable(label).strip() for label in line.labels)
        table.line(
            line.route,
            shorten(labels, PROMPT_CELLS),
            f"{line.prompts:,}",
            percent(line.share),
            f"{line.sign:+.2f}",
        )
    return [Group(*titled(title, table))]


def heads(lines: Sequence[HeadLine]) -> list[RenderableType]:
    """Heads that carry most."""
    if not lines:
        return []
    title = "Attention heads: mean share of the kept influence that passes through"
    table = plain_table().texts("head").numbers("prompts", "share")
    for line in lines:
        table.line(line.name, f"{line.prompts:,}", _interval(line.share))
    return [Group(*titled(title, table))]
