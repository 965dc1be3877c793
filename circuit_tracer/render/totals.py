"""What each token does to a target: a table for the terminal, and what a figure says of it."""

from __future__ import annotations

from rich.console import RenderableType
from rich.table import Table

from circuit_tracer.graphs.graph import GraphInfo
from circuit_tracer.graphs.token_text import prompt_texts, target_texts
from circuit_tracer.render.numbers import percent
from circuit_tracer.render.terminal import LABEL_CELLS, note, plain_table, sign_style, titled
from circuit_tracer.render.text import shorten

MEANING = "Direct: past all features. Total: along all paths. Share: of all tokens' |total|."


def effects(info: GraphInfo, number: int = 0, *, limit: int | None = None) -> list[RenderableType]:
    """The table of a target under its heading, and what its columns mean."""
    words = shorten(target_texts(info.targets)[number], LABEL_CELLS)
    table = total_table(info, number, limit=limit)
    return titled(f'What each token does to "{words}"', table, note(MEANING))


def total_table(info: GraphInfo, number: int = 0, *, limit: int | None = None) -> Table:
    """Direct and total effect of every token on one target, in the prompt's order.

    `limit` keeps the tokens of largest |total|. The last lines are what else makes the value.
    """
    totals = info.totals[number]
    n, shares, words = len(totals.total), totals.shares, prompt_texts(info.tokens)
    strongest = sorted(range(n), key=lambda position: (-shares[position], position))
    shown = sorted(strongest if limit is None else strongest[:limit])
    caption = f"{len(shown)} of {n} tokens, those with most." if len(shown) < n else ""
    table = plain_table(caption).numbers("at").texts("token").numbers("direct", "total", "share")
    for position in shown:
        table.line(
            str(position),
            shorten(words[position], LABEL_CELLS),
            f"{totals.direct[position]:+.2f}",
            f"{totals.total[position]:+.2f}",
            percent(shares[position]),
            style=sign_style(totals.total[position]),
        )
    if len(shown) < n:
        rest = sum(totals.total) - sum(totals.total[position] for position in shown)
        table.line("", "other tokens", "", f"{rest:+.2f}", "")
    if totals.error:
        table.line("", "errors", "", f"{totals.error:+.2f}", "")
    table.line("", "constants", "", f"{totals.constant:+.2f}", "")
    table.line("", "value", "", f"{totals.value:+.2f}", "")
    return table


def below_tokens(info: GraphInfo) -> str:
    """What the numbers below a figure's tokens are; "" where it has none."""
    if not info.totals:
        return ""
    words = shorten(target_texts(info.targets)[0], LABEL_CELLS)
    return f'Below tokens: position, and effect on "{words}" along all paths.'
