"""A table of plain values that prints, and turns into pandas, polars or Arrow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs import new_file
from circuit_tracer.render.numbers import number
from circuit_tracer.render.terminal import as_text, plain_table
from circuit_tracer.workbench.arguments import check_arguments

if TYPE_CHECKING:
    import pyarrow as pa

SHOWN = 20
"""Rows that are printed."""


class Table(Sequence[Mapping[str, Any]]):
    """Rows of a graph's nodes or edges: a sequence of dicts, a table for the eye, a data frame.

    >>> table = Table([{"name": "L3/117@4", "influence": 0.25}])
    >>> table[0]["name"], table.columns
    ('L3/117@4', ('name', 'influence'))
    >>> table.to_arrow().column("influence").to_pylist()
    [0.25]
    >>> table
     name      influence
     L3/117@4      0.250
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> None:
        """`columns` are those of a table without rows."""
        self.rows = list(rows)
        self._columns = tuple(columns)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(self.rows[0]) if self.rows else self._columns

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return iter(self.rows)

    def __getitem__(self, which: Any) -> Any:
        """The row of a number, a table of the rows of a slice, or the column of a name."""
        if isinstance(which, str):
            if which not in self.columns:
                raise UsageError(f'there is no column "{which}"; choose {", ".join(self.columns)}')
            return [row[which] for row in self.rows]
        if isinstance(which, slice):
            return Table(self.rows[which], self.columns)
        return self.rows[which]

    def to_arrow(self) -> pa.Table:
        """A `pyarrow.Table`."""
        import pyarrow as pa

        if not self.rows:
            return pa.table({name: pa.nulls(0) for name in self.columns})
        return pa.Table.from_pylist([dict(row) for row in self.rows])

    def to_pandas(self) -> Any:
        """A `pandas.DataFrame`; raises UsageError where pandas is not installed."""
        _check_installed("pandas")
        return self.to_arrow().to_pandas()

    def to_polars(self) -> Any:
        """A `polars.DataFrame`; raises UsageError where polars is not installed."""
        _check_installed("polars")
        import polars

        return polars.from_arrow(self.to_arrow())

    def save(self, path: str | Path) -> Path:
        """Write a .csv or .parquet file, as the name ends, in place of an earlier one."""
        import pyarrow.csv
        import pyarrow.parquet

        check_arguments(Table.save, locals())
        final = Path(path)
        writers = {".csv": pyarrow.csv.write_csv, ".parquet": pyarrow.parquet.write_table}
        if final.suffix not in writers:
            raise UsageError(f"{final} is no table; let it end in .csv or .parquet")
        with new_file(final, overwrite=True) as file:
            writers[final.suffix](self.to_arrow(), file)
        return final

    def __repr__(self) -> str:
        if not self.rows:
            return "an empty table"
        table = plain_table(_more(len(self)))
        for name in self.columns:
            is_number = all(isinstance(row[name], int | float | None) for row in self.rows)
            table = table.numbers(name) if is_number else table.texts(name)
        for row in islice(self.rows, SHOWN):
            table.line(*map(_cell, row.values()))
        return as_text(table, width=100).rstrip("\n")

    def _repr_html_(self) -> str:
        def line(tag: str, values: Iterator[str]) -> str:
            return "<tr>" + "".join(f"<{tag}>{escape(one)}</{tag}>" for one in values) + "</tr>"

        body = (line("td", map(_cell, row.values())) for row in islice(self.rows, SHOWN))
        head = line("th", iter(self.columns))
        return f"<table>{head}{''.join(body)}</table><p>{escape(_more(len(self)))}</p>"


def _more(count: int) -> str:
    return f"{count:,} rows, the first {SHOWN} shown" if count > SHOWN else ""


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return number(value) if isinstance(value, float) else str(value)


def _check_installed(package: str) -> None:
    if find_spec(package) is None:
        raise UsageError(
            f"{package} is not installed: pip install {package}, or take `to_arrow`, which needs "
            "nothing more"
        )
