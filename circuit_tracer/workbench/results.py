"""Results for a prompt or a notebook: they print what the command prints, and hold the values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any, Generic, TypeVar

from rich.console import RenderableType

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs import new_file
from circuit_tracer.graphs.files.json_values import plain, to_json
from circuit_tracer.render.terminal import as_text
from circuit_tracer.workbench.arguments import check_arguments
from circuit_tracer.workbench.drawing import write_figure

T = TypeVar("T")
WIDTH = 100
"""Columns of a printed result."""


class Report(Generic[T]):
    """A result as the command of its name prints it.

    `result` is the value itself, `page` its tables; the result's fields are the report's, too:
    `g.trust().verdict` is `g.trust().result.verdict`.
    """

    def __init__(
        self, result: T, page: Sequence[RenderableType], record: Callable[[], Any] | None = None
    ) -> None:
        self.result, self.page = result, list(page)
        self._record: Callable[[], Any] | Any = record

    def record(self) -> Any:
        """The result as JSON values, as the command's `--json` gives them."""
        if self._record is not None:
            return self._record() if callable(self._record) else self._record
        own = getattr(self.result, "record", None)
        return plain(self.result) if own is None else own()

    def save(self, path: str | Path) -> Path:
        """Write the record as a .json file, in place of an earlier one."""
        check_arguments(Report.save, locals())
        final = Path(path)
        if final.suffix != ".json":
            raise UsageError(f"{final} is no JSON file; let it end in .json")
        with new_file(final, overwrite=True) as file:
            file.write_text(to_json(self.record()) + "\n", encoding="utf-8")
        return final

    def __getstate__(self) -> dict[str, Any]:
        """With the record itself in place of what makes it, which no pickle can hold."""
        made = self._record
        return {**vars(self), "_record": made() if callable(made) else made}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "result":
            raise AttributeError(name)
        return getattr(self.result, name)

    def __dir__(self) -> list[str]:
        own = [name for name in vars(type(self.result)) if not name.startswith("_")]
        return sorted(
            {"result", "record", "save", *own, *getattr(self.result, "__dataclass_fields__", ())}
        )

    def __repr__(self) -> str:
        return "\n\n".join(as_text(one, width=WIDTH).rstrip("\n") for one in self.page)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(repr(self))}</pre>"


class Listing(Report[Sequence[T]], Sequence[T]):
    """A report whose result is a sequence: it has a length, items and an order."""

    def __len__(self) -> int:
        return len(self.result)

    def __iter__(self) -> Iterator[T]:
        return iter(self.result)

    def __getitem__(self, which: Any) -> Any:
        return self.result[which]


class Figure(str):
    """A figure as the text of its SVG; notebooks draw it.

    >>> Figure("<svg></svg>").startswith("<svg")
    True
    """

    caption: str
    """What it shows, in words for a paper; "" where nothing is known of it."""

    def __new__(cls, svg: str, caption: str = "") -> Figure:
        """The text, with its caption beside it."""
        figure = super().__new__(cls, svg)
        figure.caption = caption
        return figure

    def save(self, path: str | Path, *, overwrite: bool = True) -> Path:
        """Write a .svg, .pdf or .png file, as the name ends; returns it."""
        check_arguments(Figure.save, locals())
        write_figure(str(self), Path(path), overwrite=overwrite)
        return Path(path)

    def _repr_svg_(self) -> str:
        return str(self)

    def __repr__(self) -> str:
        return f"Figure({len(self):,} characters of SVG)"
