"""What holds for every form of figure; and what render may import."""

import subprocess
import sys

import pytest

from circuit_tracer.render.dot import dot
from tests.render import builders
from tests.render.builders import svg


@pytest.mark.parametrize("make", [svg, dot])
def test_limits_reach_every_form(make) -> None:
    assert "5 of 14 kept" in make(builders.small(), max_nodes=5)


def test_render_imports_neither_torch_nor_anything_heavy() -> None:
    names = ("svg", "dot", "page_size", "terminal", "tree", "tables")
    modules = ", ".join(f"circuit_tracer.render.{name}" for name in names)
    program = (
        f"import sys, {modules};"
        "print([m for m in ('torch', 'nnsight', 'transformers', 'graphviz', 'typst')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
