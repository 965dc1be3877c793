"""Find in source text what lands on a device by default, or on one by its name.

A tensor made without `device=` is the host's, and works until it meets one of another device. Code
is read and not run, so that what no test runs is looked at as well.
"""

from __future__ import annotations

import ast

MAKERS = frozenset(
    "arange as_tensor asarray complex empty empty_strided eye full linspace logspace ones rand "
    "randint randn randperm range scalar_tensor tensor tril_indices triu_indices zeros "
    "Generator".split()
)
"""What torch makes on the host unless a device is named. `from_numpy` is the host's by name."""
OLD_MAKERS = frozenset(
    f"{kind}Tensor" for kind in ("", "Bool", "Byte", "Double", "Float", "Half", "Int", "Long")
)


def unnamed_devices(source: str) -> list[str]:
    """Line and text of every call that is at fault."""
    tree = ast.parse(source)
    torches, makers = {"torch"}, {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            torches |= {one.asname or one.name for one in node.names if one.name == "torch"}
        elif isinstance(node, ast.ImportFrom) and node.module == "torch":
            makers |= {one.asname or one.name: one.name for one in node.names}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _is_fault(node, torches, makers):
            found.append(f"{node.lineno}: {ast.unparse(node)}")
    return found


def _is_fault(call: ast.Call, torches: set[str], makers: dict[str, str]) -> bool:
    match call.func:
        case ast.Name(id=name):
            made = makers.get(name, "")
        case ast.Attribute(value=ast.Name(id=name), attr=attr) if name in torches:
            made = attr
        case ast.Attribute(value=ast.Call(func=ast.Attribute(attr="double")), attr="cpu"):
            return True  # widened before it leaves a device that may have no float64
        case ast.Attribute(attr="cuda"):
            return not call.args and not call.keywords
        case ast.Attribute(attr="to"):
            return any(isinstance(one, ast.Constant) and one.value == "cuda" for one in call.args)
        case _:
            return False
    named = any(keyword.arg in ("device", None) for keyword in call.keywords)
    return made in OLD_MAKERS or (made in MAKERS and not named)
