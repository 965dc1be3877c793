"""Supernodes in a small TOML file that people edit: a name, and the nodes that go by it.

    "banana → yellow" = [
      "L0/117@3",  # banana → yellow
      "L1/52@3",   # banana
    ]

Nodes are named as `show` prints them; the ids of the exchange form ("0_117_3") are understood, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from circuit_tracer.errors import GraphFileError
from circuit_tracer.graphs.files.atomic import new_file
from circuit_tracer.graphs.files.exchange import exchange_id
from circuit_tracer.graphs.files.json_values import whole_text
from circuit_tracer.graphs.graph import node_names
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.supernodes.grouping import Supernode
from circuit_tracer.reading import read_toml

SUPERNODES_FILE = "supernodes.toml"
LARGEST = 4 << 20
"""Bytes of a file that is read: a name for each of a hundred thousand nodes."""
_WRITE_AGAIN = "fix it, or write one with circuit-tracer supernodes GRAPH --out FILE"


def write_supernodes(
    pruned: PrunedGraph, groups: Sequence[Supernode], path: Path | str, *, overwrite: bool = False
) -> None:
    """Write the file, whole or not at all. Raises OutputError as `new_file` does."""
    with new_file(path, overwrite) as file:
        file.write_text(supernodes_toml(pruned, groups), encoding="utf-8")


def supernodes_toml(pruned: PrunedGraph, groups: Sequence[Supernode]) -> str:
    """The file's text: TOML, each node with its label as a comment."""
    names, labels = node_names(pruned.graph), pruned.graph.nodes.label
    lines = [
        f"# Supernodes of: {_comment(pruned.graph.info.prompt)}",
        "# A name, and the nodes that go by it. Rename, move and delete as you like; then give the",
        "# file to circuit-tracer supernodes --edit, or leave it beside the graph for export.",
    ]
    for group in groups:
        lines += ["", f"{quoted(group.name)} = ["]
        for row in group.rows:
            note = _comment(labels[row])
            lines.append(f"  {quoted(names[row])},{f'  # {note}' if note else ''}")
        lines.append("]")
    return "\n".join(lines) + "\n"


def read_supernodes(
    pruned: PrunedGraph, path: Path | str, *, pruned_away: str = "refuse"
) -> list[Supernode]:
    """The file's supernodes, in its order.

    Members that the pruning dropped are refused, or left out with `pruned_away` "leave out" (and
    supernodes with them that have no others). Raises GraphFileError that names what is wrong.
    """
    names = node_names(pruned.graph)
    rows = {exchange_id(pruned.graph, row): row for row in pruned.kept_rows.tolist()}
    rows |= {name: row for row, name in enumerate(names)}
    record = read_toml(Path(path), GraphFileError, _WRITE_AGAIN, LARGEST)
    lists = {name: _members(path, name, given, rows) for name, given in record.items()}
    for row, count in Counter(row for one in lists.values() for row in one).items():
        if count > 1:
            raise GraphFileError(
                f"{path} names {names[row]} {count} times; leave it in one supernode"
            )
    groups = []
    for name, members in lists.items():
        kept = [row for row in members if pruned.node_kept[row]]
        if len(kept) < len(members) and pruned_away == "refuse":
            gone = names[next(row for row in members if row not in kept)]
            raise GraphFileError(
                f'{path}: {gone} in "{name}" was pruned away; take it out, or raise the node '
                "threshold with circuit-tracer prune"
            )
        if kept:
            groups.append(Supernode(name, tuple(sorted(kept))))
    return groups


def _members(path: Path | str, name: str, given: Any, rows: dict[str, int]) -> tuple[int, ...]:
    """Rows of the nodes that one supernode lists."""
    shown = whole_text(name)[:60]
    is_list = isinstance(given, list) and all(isinstance(one, str) for one in given)
    if not name.strip() or not is_list or not given:
        raise GraphFileError(
            f'{path}: "{shown}" is no supernode; write a name and a list of nodes, as in '
            '"say yellow" = ["L3/117@4", "L4/20@4"]'
        )
    for node in given:
        if node not in rows:
            raise GraphFileError(
                f'{path}: "{whole_text(node)[:60]}" in "{shown}" is no node of this graph; '
                "circuit-tracer show lists their names"
            )
    return tuple(rows[node] for node in given)


_SHORT = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def quoted(text: str) -> str:
    """A TOML basic string on one line."""
    return '"' + "".join(_escaped(character) for character in whole_text(text)) + '"'


def _escaped(character: str) -> str:
    if character in _SHORT:
        return _SHORT[character]
    return character if character.isprintable() else f"\\U{ord(character):08X}"


def _comment(text: str) -> str:
    """Text that ends with its line: a comment has no escapes."""
    shown = "".join(c if c.isprintable() else " " for c in whole_text(text))
    return " ".join(shown.split())[:100]
