"""Imports point one way: which package of circuit_tracer may know of which."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "circuit_tracer"
MAY_IMPORT = {
    "graphs": set(),
    "render": {"graphs"},
    "models": {"graphs"},
    "transcoders": {"graphs", "models"},
    "attribution": {"graphs", "models", "transcoders"},
    "interventions": {"graphs", "models", "transcoders", "attribution"},
    "batch": {"graphs", "models", "transcoders", "attribution", "render"},
    "experiments": {"graphs", "models", "transcoders", "attribution", "interventions", "render"},
    "workbench": {
        *("graphs", "models", "transcoders", "attribution", "interventions", "render"),
        *("batch", "experiments"),
    },
}
"""Every package but the command line, which may import all; modules at the top are for everyone."""


def imported_packages(path: Path) -> set[str]:
    """Names of circuit_tracer's packages that a module imports from, but for types alone."""
    found = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = (
                [node.module]
                if node.module != "circuit_tracer"
                else [f"circuit_tracer.{alias.name}" for alias in node.names]
            )
        found |= {name.split(".")[1] for name in names if name.startswith("circuit_tracer.")}
    return {name for name in found if (PACKAGE / name).is_dir()}


def test_every_package_has_its_place_in_the_order() -> None:
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert packages == {*MAY_IMPORT, "cli"}


def test_imports_point_one_way() -> None:
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for package, allowed in MAY_IMPORT.items()
        for path in sorted((PACKAGE / package).rglob("*.py"))
        for name in sorted(imported_packages(path) - allowed - {package})
    ]
    assert wrong == []
