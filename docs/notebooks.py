"""Run the notebooks of this folder and write their outputs into them.

python docs/notebooks.py     after changing a cell, or what the cells call

A notebook is its own source: its code cells run in order in a temporary folder, and get what they
print and what their last line is as outputs, as Jupyter would show them.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
MIME = {"_repr_svg_": "image/svg+xml", "_repr_html_": "text/html"}


def executed(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook with the outputs of its cells, run one after the other in this process."""
    names: dict[str, Any] = {}
    cells = []
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for number, cell in enumerate(notebook["cells"]):
            if cell["cell_type"] == "code":
                outputs = _outputs("".join(cell["source"]), names, f"cell {number}")
                cell = cell | {"outputs": outputs, "execution_count": number}
            cells.append(cell)
    return notebook | {"cells": cells}


def _outputs(source: str, names: dict[str, Any], where: str) -> list[dict[str, Any]]:
    """What a cell prints, and its last line if that is an expression."""
    body = ast.parse(source)
    last = body.body.pop() if body.body and isinstance(body.body[-1], ast.Expr) else None
    printed = io.StringIO()
    value = None
    with contextlib.redirect_stdout(printed):
        exec(compile(body, where, "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), where, "eval"), names)
    outputs: list[dict[str, Any]] = []
    if printed.getvalue():
        outputs.append({"output_type": "stream", "name": "stdout", "text": printed.getvalue()})
    if value is not None:
        shown = {MIME[name]: getattr(value, name)() for name in MIME if hasattr(value, name)}
        data = {"text/plain": repr(value)} | shown
        outputs.append({"output_type": "execute_result", "data": data, "metadata": {}})
    return outputs


def main() -> None:
    """Rewrite every notebook."""
    for path in sorted(HERE.glob("*.ipynb")):
        notebook = executed(json.loads(path.read_text(encoding="utf-8")))
        for cell in notebook["cells"]:
            for output in cell.get("outputs", ()):
                if output["output_type"] == "execute_result":
                    output["execution_count"] = cell["execution_count"]
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    main()
